//! Why a socket could not be asked for, or its answer not be taken.

use std::error::Error;
use std::fmt;

use http::{HeaderName, StatusCode};

use super::deflate::DeflateError;

/// Why a URL names no WebSocket (RFC 6455 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It is no URL.
    Syntax,
    /// It begins or ends with white space.
    Blank,
    /// Its host has letters beyond ASCII (RFC 3987), which are not converted here.
    NotAscii,
    /// Its IPv6 address has a zone (RFC 6874), which means nothing to the server.
    Zone,
    /// The scheme is missing, or none of `ws`, `wss`, `http` and `https`.
    Scheme,
    /// It carries a user name or a password: these belong into an `authorization` field.
    UserInfo,
    /// It has a fragment; a `#` that belongs to the path is written `%23`.
    Fragment,
    /// The host is missing or invalid.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a valid URL such as wss://example.com/chat",
            Self::Blank => "there is white space before or behind the URL; remove it",
            Self::NotAscii => {
                "the URL's host has letters beyond ASCII; write it in its ASCII form, such as \
                 xn--bcher-kva.example for b\u{fc}cher.example"
            }
            Self::Zone => {
                "the URL's IPv6 address has a zone; leave out % and what follows, and choose the \
                 interface by a route"
            }
            Self::Scheme => "the URL begins with none of ws://, wss://, http://, https://",
            Self::UserInfo => "the URL carries user info; send an authorization field instead",
            Self::Fragment => "the URL has a fragment; write # as %23 if it belongs to the path",
            Self::Host => "the URL's host is missing or invalid",
            Self::Port => "the URL's port is not a number from 1 to 65535",
        })
    }
}

impl Error for UrlError {}

/// Why a handshake could not be written, or why a client must fail it (RFC 6455 §4.1).
///
/// A server that merely says no is no such error: its status and body are the caller's to report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The URL names no WebSocket.
    Url(UrlError),
    /// The caller set a field that is the handshake's own, or that belongs to one hop.
    ReservedHeader(HeaderName),
    /// A subprotocol is not a token (RFC 6455 §4.1).
    InvalidSubprotocol(String),
    /// A subprotocol is offered twice (RFC 6455 §4.1).
    DuplicateSubprotocol(String),
    /// The request's header list has this size in bytes (RFC 9113 §6.5.2), and the server takes
    /// so many. It was not sent: the server could have ended the connection by it.
    RequestTooLarge(usize, u32),
    /// The answer's header list has this size in bytes (RFC 9113 §6.5.2), and this side takes so
    /// many.
    AnswerTooLarge(usize, u32),
    /// The answer's status is not the one that accepts.
    Status(StatusCode),
    /// A 101 that is not of HTTP/1.1.
    HttpVersion,
    /// A 101 without `upgrade: websocket`.
    Upgrade,
    /// A 101 without `connection: upgrade`.
    Connection,
    /// A 101 without `sec-websocket-accept`, or with more than one.
    MissingAccept,
    /// A 101 whose `sec-websocket-accept` answers another key.
    WrongAccept,
    /// A field of the answer does not follow its grammar.
    MalformedHeader(HeaderName),
    /// The answer names more than one subprotocol.
    SeveralSubprotocols,
    /// The subprotocol was not offered.
    UnofferedSubprotocol(String),
    /// The extension was not offered.
    UnofferedExtension(String),
    /// The answer holds an extension twice.
    RepeatedExtension(String),
    /// The answer's permessage-deflate does not fit any offer (RFC 7692 §7.1).
    Deflate(DeflateError),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("the URL cannot be opened as a WebSocket"),
            Self::ReservedHeader(name) => {
                write!(
                    f,
                    "the field {name} is the handshake's own and cannot be set"
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
                "the answer's header list of {size} bytes exceeds the limit of {limit}"
            ),
            Self::Status(status) => write!(f, "the status {status} does not accept a WebSocket"),
            Self::HttpVersion => f.write_str("the 101 is not of HTTP/1.1"),
            Self::Upgrade => f.write_str("the answer lacks upgrade: websocket"),
            Self::Connection => f.write_str("the answer lacks connection: upgrade"),
            Self::MissingAccept => f.write_str("the answer lacks a single sec-websocket-accept"),
            Self::WrongAccept => f.write_str("the sec-websocket-accept does not match the key"),
            Self::MalformedHeader(name) => write!(f, "the answer's field {name} is malformed"),
            Self::SeveralSubprotocols => f.write_str("the answer names several subprotocols"),
            Self::UnofferedSubprotocol(name) => {
                write!(f, "the subprotocol {name:?} was not offered")
            }
            Self::UnofferedExtension(name) => write!(f, "the extension {name:?} was not offered"),
            Self::RepeatedExtension(name) => write!(f, "the extension {name:?} is there twice"),
            Self::Deflate(_) => f.write_str("the answer's permessage-deflate fits no offer"),
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
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
