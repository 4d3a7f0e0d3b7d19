//! The response to a request that hyper cannot parse.

use std::fmt::Write;

use http::StatusCode;

use super::MAX_HEAD;
use crate::transport::MAX_HEADER_FIELDS;

/// Describes the error without repeating anything that the client sent.
pub(super) fn why(status: StatusCode, error: &hyper::Error) -> String {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => format!(
            "the request has more than {MAX_HEADER_FIELDS} header fields, or a head of more than \
             {MAX_HEAD} bytes"
        ),
        StatusCode::URI_TOO_LONG => "the request's target is too long".to_owned(),
        _ => format!("the request cannot be parsed: {error}"),
    }
}

/// Returns the complete response, which is the last one of the connection.
pub(super) fn answer(status: StatusCode, why: &str) -> Vec<u8> {
    let mut answer = String::new();
    let length = why.len() + 1;
    // Writing to a `String` cannot fail.
    let _ = write!(
        answer,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {length}\r\n\r\n{why}\n"
    );
    answer.into_bytes()
}
