//! Errors of the opening handshake.

use std::error::Error;
use std::fmt;

use http::{HeaderName, StatusCode};

use super::deflate::DeflateError;

/// A URL that is not valid for a WebSocket (RFC 6455 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a valid URL.
    Syntax,
    /// White space before or after the URL.
    Blank,
    /// A host with non-ASCII characters (RFC 3987). They are not converted here.
    NotAscii,
    /// An IPv6 address with a zone (RFC 6874), which has no meaning to the server.
    Zone,
    /// A scheme other than `ws`, `wss`, `http` and `https`, each also with `+unix`, or none.
    Scheme,
    /// A user name or password. These belong in an `authorization` header.
    UserInfo,
    /// A fragment. A `#` that belongs to the path is written `%23`.
    Fragment,
    /// A missing or invalid host.
    Host,
    /// A port that is not a number from 1 to 65535.
    Port,
    /// The path of a Unix socket that is missing, relative, or has a query.
    UnixPath,
    /// The path of a Unix socket that is longer than the operating system allows.
    UnixPathLength,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a valid URL such as wss://example.com/chat",
            Self::Blank => "white space before or after the URL; remove it",
            Self::NotAscii => {
                "the URL's host has non-ASCII characters; write it in its ASCII form, such as \
                 xn--bcher-kva.example for b\u{fc}cher.example"
            }
            Self::Zone => {
                "the URL's IPv6 address has a zone; remove % and what follows, and select the \
                 interface by a route"
            }
            Self::Scheme => "the URL's scheme is not ws, wss, http or https; expected a URL such as wss://example.com/chat",
            Self::UserInfo => "the URL has user info; send an authorization header instead",
            Self::Fragment => "the URL has a fragment; write # as %23 if it belongs to the path",
            Self::Host => "the URL's host is missing or invalid",
            Self::Port => "the URL's port is not a number from 1 to 65535",
            Self::UnixPath => {
                "the URL has no absolute path of a Unix socket; expected e.g. \
                 ws+unix:/run/app.sock:/chat?room=1"
            }
            Self::UnixPathLength => {
                "the path of the URL's Unix socket is too long: Linux allows 107 bytes, other \
                 systems 103"
            }
        })
    }
}

impl Error for UrlError {}

/// An opening handshake that could not be made, or that a client must fail (RFC 6455 §4.1).
///
/// There are two kinds. [`is_invalid_request`](Self::is_invalid_request) returns true for the first:
///
/// - The caller asked for something that cannot be sent, and nothing was sent: [`Url`](Self::Url),
///   [`ReservedHeader`](Self::ReservedHeader), [`InvalidSubprotocol`](Self::InvalidSubprotocol),
///   [`DuplicateSubprotocol`](Self::DuplicateSubprotocol),
///   [`RequestTooLarge`](Self::RequestTooLarge). The same request always fails again.
/// - The response of the server breaks the rules of the handshake: all others. A server that
///   accepts a WebSocket gets [`UnofferedSubprotocol`](Self::UnofferedSubprotocol) and
///   [`UnofferedExtension`](Self::UnofferedExtension), too, if it selected what the client did not
///   offer.
///
/// A server that rejects the handshake with another status has not broken any rule: that is not
/// this error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The URL is not valid for a WebSocket.
    Url(UrlError),
    /// The caller set a header that belongs to the handshake or to one connection.
    ReservedHeader(HeaderName),
    /// An offered subprotocol is not a token (RFC 6455 §4.1).
    InvalidSubprotocol(String),
    /// A subprotocol was offered twice (RFC 6455 §4.1).
    DuplicateSubprotocol(String),
    /// The size in bytes of the request's header list (RFC 9113 §6.5.2), and the server's smaller
    /// limit. The request was not sent, as the server might close the connection because of it.
    RequestTooLarge(usize, u32),
    /// The size in bytes of the response's header list (RFC 9113 §6.5.2), and this side's smaller
    /// limit.
    AnswerTooLarge(usize, u32),
    /// The number of the response's header fields, and this side's smaller limit.
    TooManyFields(usize, usize),
    /// The response has a transfer coding other than `chunked` (RFC 9112 §6.1), so its body cannot
    /// be read.
    TransferCoding,
    /// The status of the response does not accept the handshake.
    Status(StatusCode),
    /// A 101 response of an HTTP version other than 1.1.
    HttpVersion,
    /// A 101 response without `upgrade: websocket`.
    Upgrade,
    /// A 101 response without `connection: upgrade`.
    Connection,
    /// A 101 response without `sec-websocket-accept`, or with more than one.
    MissingAccept,
    /// A 101 response whose `sec-websocket-accept` does not match the key.
    WrongAccept,
    /// A header of the response does not follow its grammar.
    MalformedHeader(HeaderName),
    /// The response selects more than one subprotocol.
    SeveralSubprotocols,
    /// The selected subprotocol was not offered.
    UnofferedSubprotocol(String),
    /// The selected extension was not offered.
    UnofferedExtension(String),
    /// The response has an extension twice.
    RepeatedExtension(String),
    /// The response's permessage-deflate parameters do not match any offer (RFC 7692 §7.1).
    Deflate(DeflateError),
}

impl HandshakeError {
    /// Returns whether the caller's request was at fault, not the server's response. Nothing was
    /// sent then, and the request fails in the same way until it is changed.
    #[must_use]
    pub fn is_invalid_request(&self) -> bool {
        matches!(
            self,
            Self::Url(_)
                | Self::ReservedHeader(_)
                | Self::InvalidSubprotocol(_)
                | Self::DuplicateSubprotocol(_)
                | Self::RequestTooLarge(..)
        )
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("the URL is not valid for a WebSocket"),
            Self::ReservedHeader(name) => {
                write!(
                    f,
                    "header {name} is reserved for the WebSocket handshake and cannot be set"
                )
            }
            Self::InvalidSubprotocol(name) => write!(f, "the subprotocol {name:?} is not a token"),
            Self::DuplicateSubprotocol(name) => {
                write!(f, "the subprotocol {name:?} is offered twice")
            }
            Self::RequestTooLarge(size, limit) => write!(
                f,
                "the request's header list of {size} bytes exceeds the server's limit of {limit}"
            ),
            Self::AnswerTooLarge(size, limit) => write!(
                f,
                "the response's header list of {size} bytes exceeds this side's limit of {limit}"
            ),
            Self::TooManyFields(count, limit) => write!(
                f,
                "the response has {count} header fields, more than this side's limit of {limit}"
            ),
            Self::TransferCoding => {
                f.write_str("the response has a transfer coding other than chunked")
            }
            Self::Status(status) => write!(
                f,
                "the response status {status} does not accept a WebSocket"
            ),
            Self::HttpVersion => f.write_str("the 101 response is not HTTP/1.1"),
            Self::Upgrade => f.write_str("the response lacks upgrade: websocket"),
            Self::Connection => f.write_str("the response lacks connection: upgrade"),
            Self::MissingAccept => f.write_str("the response lacks a single sec-websocket-accept"),
            Self::WrongAccept => {
                f.write_str("the response's sec-websocket-accept does not match the key")
            }
            Self::MalformedHeader(name) => write!(f, "the response's header {name} is malformed"),
            Self::SeveralSubprotocols => f.write_str("the response selects several subprotocols"),
            Self::UnofferedSubprotocol(name) => {
                write!(f, "the subprotocol {name:?} was not offered")
            }
            Self::UnofferedExtension(name) => write!(f, "the extension {name:?} was not offered"),
            Self::RepeatedExtension(name) => {
                write!(f, "the response has the extension {name:?} twice")
            }
            Self::Deflate(_) => {
                f.write_str("the response's permessage-deflate parameters match no offer")
            }
        }
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Deflate(error) => Some(error),
            _ => None,
        }
    }
}

impl From<UrlError> for HandshakeError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<DeflateError> for HandshakeError {
    fn from(error: DeflateError) -> Self {
        Self::Deflate(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_is_wrong_and_their_source() {
        let url = HandshakeError::from(UrlError::UserInfo);
        assert_eq!(
            url.source().unwrap().to_string(),
            UrlError::UserInfo.to_string()
        );
        let deflate = HandshakeError::from(DeflateError::Missing("x"));
        assert!(deflate.source().unwrap().to_string().contains('x'));
        assert!(HandshakeError::Upgrade.source().is_none());
        assert!(url.is_invalid_request());
        assert!(!deflate.is_invalid_request() && !HandshakeError::Upgrade.is_invalid_request());

        let name = HeaderName::from_static("x-name");
        for (error, part) in [
            (url, "URL"),
            (deflate, "permessage-deflate"),
            (HandshakeError::ReservedHeader(name.clone()), "x-name"),
            (
                HandshakeError::InvalidSubprotocol("a\nb".into()),
                "\"a\\nb\"",
            ),
            (
                HandshakeError::DuplicateSubprotocol("chat".into()),
                "\"chat\"",
            ),
            (HandshakeError::Status(StatusCode::FORBIDDEN), "403"),
            (HandshakeError::Upgrade, "upgrade: websocket"),
            (HandshakeError::Connection, "connection: upgrade"),
            (HandshakeError::MissingAccept, "lacks"),
            (HandshakeError::WrongAccept, "does not match"),
            (HandshakeError::MalformedHeader(name), "x-name"),
            (HandshakeError::SeveralSubprotocols, "several"),
            (
                HandshakeError::UnofferedSubprotocol("chat".into()),
                "\"chat\"",
            ),
            (HandshakeError::UnofferedExtension("x".into()), "\"x\""),
            (HandshakeError::RepeatedExtension("x".into()), "twice"),
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
        for (error, part) in [
            (UrlError::Syntax, "valid"),
            (UrlError::Blank, "white space"),
            (UrlError::NotAscii, "xn--"),
            (UrlError::Zone, "zone"),
            (UrlError::Scheme, "wss://"),
            (UrlError::Fragment, "%23"),
            (UrlError::Host, "host"),
            (UrlError::Port, "65535"),
            (UrlError::UnixPath, "ws+unix:/run/app.sock"),
            (UrlError::UnixPathLength, "107"),
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
