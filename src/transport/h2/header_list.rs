//! Limits of header lists (RFC 9113 §6.5.2, §10.5.1).
//!
//! **The rule.** A peer may respond to a header list that is too large by
//! ending the connection, with all streams on it: peers built on the `h2` crate
//! do so at four times what they announce. So this side sends nothing larger
//! than the peer announced, or than [`PRUDENT`] if a server announced nothing,
//! and fails that one request instead. In the other direction it reads far
//! larger lists than it announced, up to [`TAKEN`] as a client and [`taken`] as
//! a server, and then rejects the one request whose list is larger than
//! announced. One user behind a proxy must not end the WebSockets of all others
//! that the proxy carries on the same connection.

use bytes::{Buf, BufMut, BytesMut};
use http::{HeaderMap, Method, Request, Response, Uri, request};

use crate::transport::{MAX_HEADER_FIELDS, StreamError};

/// The assumed limit of a server that announces none, in bytes. A server need
/// not announce its limit; 16 KiB is that of hyper, and smaller than that of
/// other known servers.
pub(crate) const PRUDENT: u32 = 16 * 1024;

/// Maximum size of a response's header list that does not end the connection,
/// in bytes: beyond it `h2` resets the stream, and beyond four times of it the
/// connection.
pub(crate) const TAKEN: u32 = 4 * 1024 * 1024;

/// Returns the counterpart of [`TAKEN`] for requests at a server that announces
/// `limit`. It is smaller because anyone may connect to a server, and each
/// connection may hold a list of this size until the handshake times out.
pub(super) fn taken(limit: u32) -> u32 {
    const LEAST: u32 = 1024 * 1024;
    limit.saturating_mul(4).max(LEAST)
}

/// The overhead that is counted per field, in bytes (RFC 9113 §6.5.2).
const FIELD: usize = 32;

/// A header list is larger than its receiver allows; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: u32,
}

impl TooLarge {
    pub(crate) fn check(size: usize, limit: u32) -> Result<(), Self> {
        if size as u64 > u64::from(limit) {
            return Err(Self { size, limit });
        }
        Ok(())
    }
}

fn field(name: usize, value: usize) -> usize {
    name + value + FIELD
}

/// Returns the size of these fields.
pub(crate) fn of_fields(fields: &HeaderMap) -> usize {
    let sizes = fields
        .iter()
        .map(|(name, value)| field(name.as_str().len(), value.len()));
    sizes.sum()
}

/// Returns the size of a request's header list, with `protocol` for an extended
/// CONNECT.
pub(crate) fn of_request<B>(request: &Request<B>, protocol: Option<&str>) -> usize {
    of_head(request.method(), request.uri(), request.headers(), protocol)
}

/// As [`of_request`], for a request without its body.
pub(super) fn of_parts(parts: &request::Parts, protocol: Option<&str>) -> usize {
    of_head(&parts.method, &parts.uri, &parts.headers, protocol)
}

fn of_head(method: &Method, uri: &Uri, fields: &HeaderMap, protocol: Option<&str>) -> usize {
    let protocol = protocol.map_or(0, |protocol| field(":protocol".len(), protocol.len()));
    pseudo(method, uri) + protocol + of_fields(fields)
}

fn pseudo(method: &Method, uri: &Uri) -> usize {
    let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let scheme = uri.scheme_str().map_or(0, str::len);
    field(":method".len(), method.as_str().len())
        + field(":scheme".len(), scheme)
        + field(":path".len(), path)
        + field(":authority".len(), authority)
}

/// Returns the size of a response's header list.
pub(crate) fn of_response<B>(response: &Response<B>) -> usize {
    field(":status".len(), "200".len()) + of_fields(response.headers())
}

/// Checks the size of a response's header list, and the number of its fields, which
/// the parser checks over HTTP/1.1.
pub(crate) fn check_response<B>(response: &Response<B>, limit: u32) -> Result<(), StreamError> {
    TooLarge::check(of_response(response), limit).map_err(StreamError::AnswerTooLarge)?;
    match response.headers().len() {
        ..=MAX_HEADER_FIELDS => Ok(()),
        count => Err(StreamError::TooManyFields(count)),
    }
}

/// The header of a frame, in bytes (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Changes SETTINGS_MAX_HEADER_LIST_SIZE in the first SETTINGS frame sent,
/// because `h2` has one setting for both the limit that it announces and the
/// limit that it enforces.
#[derive(Debug)]
pub(super) struct Announce {
    /// Bytes before the frame: a client's preface (RFC 9113 §3.4).
    preface: usize,
    limit: u32,
    /// The preface and the frame, as far as `h2` has written them.
    written: BytesMut,
}

impl Announce {
    pub(super) fn new(preface: usize, limit: u32) -> Self {
        Self {
            preface,
            limit,
            written: BytesMut::new(),
        }
    }

    /// Collects what is written. Returns all of it, modified, once the frame is
    /// complete.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Option<BytesMut> {
        self.written.extend_from_slice(bytes);
        let start = self.preface + HEADER;
        let mut head = self.written.get(self.preface..start)?;
        let length = head.get_uint(3) as usize;
        let payload = self.written.get_mut(start..start + length)?;
        for setting in payload.chunks_exact_mut(6) {
            if setting[..2] == [0, 6] {
                (&mut setting[2..]).put_u32(self.limit);
            }
        }
        Some(std::mem::take(&mut self.written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn sizes_are_those_of_rfc9113_6_5_2() {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "https://a.example/chat?x".parse().unwrap();
        let value = HeaderValue::from_static("12345");
        request.headers_mut().append("x-a", value.clone());
        request.headers_mut().append("x-a", value.clone());
        let expected = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "a.example"),
            (":path", "/chat?x"),
            (":protocol", "websocket"),
            ("x-a", "12345"),
            ("x-a", "12345"),
        ];
        let expected: usize = expected.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
        assert_eq!(of_request(&request, Some("websocket")), expected);
        let mut response = Response::new(());
        response.headers_mut().append("x-a", value);
        assert_eq!(of_response(&response), 7 + 3 + 32 + 3 + 5 + 32);
    }

    #[test]
    fn the_announced_limit_is_replaced_wherever_the_frame_is_split() {
        for preface in [0, 24] {
            let mut sent = vec![b'P'; preface];
            sent.extend([0, 0, 18, 4, 0, 0, 0, 0, 0]);
            sent.extend([0, 2, 0, 0, 0, 0, 0, 6, 0, 0x40, 0, 0, 0, 4, 0, 6, 0, 6]);
            let mut expected = sent.clone();
            expected[preface + HEADER + 8..][..4].copy_from_slice(&1_000u32.to_be_bytes());
            for size in 1..=sent.len() {
                let mut announce = Announce::new(preface, 1_000);
                let written: Vec<_> = sent.chunks(size).map(|c| announce.write(c)).collect();
                let (last, before) = written.split_last().unwrap();
                assert!(before.iter().all(Option::is_none), "in pieces of {size}");
                assert_eq!(last.as_deref(), Some(&expected[..]));
            }
        }
    }
}
