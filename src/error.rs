//! The error of clients, servers and WebSockets.
//!
//! One rule for every public error of the crate: `Display` describes the error itself, and
//! `source` returns its cause, which `Display` never repeats. So a chain printed from the top
//! contains each fact once, and the cause can be downcast. Code that prints an error as one line,
//! such as for a log, wraps it in [`Chain`].

mod cause;
mod retry_after;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::frame::{Message, ProtocolError, SendError};
use crate::handshake::HandshakeError;
use crate::metrics::Handshake;
use crate::metrics::SocketEnd;
use crate::setting::InvalidSetting;
use crate::transport::MAX_HEADER_FIELDS;
use crate::transport::dial;
use crate::transport::h2::error_code;
use crate::transport::proxy::ProxyError;

pub use self::cause::DisconnectCause;

/// An error of a client, a server or a WebSocket.
///
/// A WebSocket that ends by the closing handshake is not an error: its stream of messages ends
/// with `None`.
///
/// `Display` describes the error without its cause;
/// [`source`](std::error::Error::source) returns the cause, such as an [`io::Error`], which can be
/// downcast. Print the whole chain, as `anyhow` and `eyre` do.
///
/// # Reconnecting
///
/// A [`Client`](crate::Client) repeats a request by itself only if the server has certainly not
/// acted on it. For everything else, [`is_retryable`](Self::is_retryable) reports whether another
/// attempt may succeed, and [`CloseCode::is_retryable`](crate::CloseCode::is_retryable) does so
/// for a WebSocket that the server closed. Wait before each attempt, longer each time and with
/// jitter, because after a failure many clients come back at once (RFC 6455 §7.2.3).
/// [`ReconnectingWebSocket`](crate::client::ReconnectingWebSocket) does all of this.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller's URL, header field or subprotocol cannot be used, or the server's response
    /// violates RFC 6455 §4 or RFC 8441 §5.
    Handshake(HandshakeError),
    /// A header field given by the caller is invalid.
    Header(Arc<http::Error>),
    /// The server responded, but did not open a WebSocket.
    Rejected(Box<RejectedResponse>),
    /// HTTP/2 was required, and the server supports neither RFC 8441 nor, possibly, HTTP/2.
    NoExtendedConnect,
    /// No TCP connection to the server could be made.
    Connect(Arc<io::Error>),
    /// The proxy made no tunnel to the server.
    Proxy(ProxyError),
    /// The TLS handshake failed.
    Tls(Arc<io::Error>),
    /// A setting has an invalid value.
    Setting(InvalidSetting),
    /// The TLS configuration cannot be used.
    TlsConfig(rustls::Error),
    /// A time limit was exceeded.
    Timeout(Timeout),
    /// The peer violated the WebSocket protocol, or exceeded a limit on frames and messages. It
    /// was sent a Close frame with this error's [close code](ProtocolError::close_code).
    Protocol(ProtocolError),
    /// The message or Close frame itself cannot be sent. The WebSocket stays as it was.
    Send(SendError),
    /// The HTTP/2 stream was reset (RFC 9113 §6.4).
    Reset {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer reset it.
        by_peer: bool,
    },
    /// The HTTP/2 connection ended with GOAWAY and an error code (RFC 9113 §6.8).
    GoAway {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer ended it.
        by_peer: bool,
        /// A description, with the peer's debug data if it sent any.
        text: Arc<str>,
    },
    /// The WebSockets of an HTTP/2 connection held more received data than
    /// [`Http2Config::connection_buffer`](crate::Http2Config::connection_buffer), and this one
    /// held the most. It was closed with
    /// [`CloseCode::TRY_AGAIN_LATER`](crate::CloseCode::TRY_AGAIN_LATER) (1013).
    Overloaded,
    /// The connection broke.
    Io(Arc<io::Error>),
    /// The stream ended without a Close frame: close code 1006 (RFC 6455 §7.1.5).
    Abnormal,
    /// The WebSocket is closing or closed, or the connection, client or server is closed. Every
    /// attempt to send on such a WebSocket fails with this error.
    Closed,
    /// A [`ReconnectingWebSocket`](crate::client::ReconnectingWebSocket) ended because it has made
    /// its [maximum number of
    /// attempts](crate::client::ReconnectingBuilder::max_attempts), or because the server closed the
    /// first WebSocket during
    /// [`after_connect`](crate::client::ReconnectingBuilder::after_connect).
    GaveUp {
        /// Number of attempts in a row.
        attempts: u32,
        /// How the last one failed, or how its WebSocket ended.
        last: Box<DisconnectCause>,
    },
}

/// What exceeded its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// Making the TCP or TLS connection.
    Connect,
    /// The response to the opening handshake.
    Handshake,
    /// The peer's part of the closing handshake (RFC 6455 §7.1.1).
    Close,
    /// The peer's answer to a keep-alive PING of HTTP/2
    /// ([`Http2Config::keep_alive_timeout`](crate::Http2Config::keep_alive_timeout)) or Ping of
    /// WebSocket ([`WebSocketConfig::ping_timeout`](crate::WebSocketConfig::ping_timeout)).
    KeepAlive,
    /// A hook of a [`ReconnectingWebSocket`](crate::client::ReconnectingWebSocket)
    /// ([`hook_timeout`](crate::client::ReconnectingBuilder::hook_timeout)).
    Hook,
}

/// A response to the opening handshake that does not open a WebSocket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RejectedResponse {
    /// The version of HTTP that it was sent over.
    pub version: http::Version,
    /// The status, such as 403.
    pub status: StatusCode,
    /// The header fields, such as `www-authenticate` or `location`.
    pub headers: HeaderMap,
    /// The start of the body, up to
    /// [`ClientBuilder::max_rejection_body`](crate::client::ClientBuilder::max_rejection_body)
    /// bytes.
    pub body: Bytes,
    /// The [early messages](crate::client::RequestBuilder::early_message) of the request, which no
    /// application has received.
    pub early_messages: Vec<Message>,
}

impl Error {
    /// Returns whether the WebSocket broke without a closing handshake, which RFC 6455 §7.1.5
    /// calls close code 1006.
    #[must_use]
    pub fn is_abnormal_closure(&self) -> bool {
        matches!(
            self,
            Self::Abnormal
                | Self::Reset { .. }
                | Self::GoAway { .. }
                | Self::Io(_)
                | Self::Timeout(Timeout::KeepAlive)
        )
    }

    /// Returns whether the same request may succeed if it is made again later.
    ///
    /// True for failures of the network and of the server's machine, exceeded time limits, and
    /// responses with status 408, 425, 429 or 5xx. False for mistakes of the caller, for what a
    /// server does not support, for invalid certificates and for violations of the protocol.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Io(_)
            | Self::Timeout(_)
            | Self::Reset { .. }
            | Self::GoAway { .. }
            | Self::Abnormal
            | Self::Overloaded
            | Self::Closed
            | Self::GaveUp { .. } => true,
            // A certificate stays invalid; a connection that broke may work next time.
            Self::Tls(error) => error.kind() != io::ErrorKind::InvalidData,
            Self::Rejected(response) => is_temporary(response.status),
            Self::Proxy(error) => match error {
                ProxyError::Connect(_) | ProxyError::Protocol(_) => true,
                ProxyError::Tls(error) => error.kind() != io::ErrorKind::InvalidData,
                ProxyError::Rejected(response) => is_temporary(response.status()),
                // RFC 1928 §6: the network, the host or its port cannot be reached.
                ProxyError::Socks(reply) => matches!(reply, 1 | 3..=6),
                _ => false,
            },
            Self::Handshake(_)
            | Self::Header(_)
            | Self::NoExtendedConnect
            | Self::Setting(_)
            | Self::TlsConfig(_)
            | Self::Protocol(_)
            | Self::Send(_) => false,
        }
    }

    /// Returns whether a time limit was exceeded: one of ours, or one of the operating system.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let io = match self {
            Self::Timeout(_) => return true,
            Self::Connect(error)
            | Self::Tls(error)
            | Self::Io(error)
            | Self::Proxy(
                ProxyError::Connect(error) | ProxyError::Tls(error) | ProxyError::Protocol(error),
            ) => error,
            _ => return false,
        };
        io.kind() == io::ErrorKind::TimedOut
    }

    /// Returns whether there was no connection to the server: TCP, TLS or the proxy failed before
    /// anything was requested.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::Tls(_) | Self::Proxy(_) | Self::Timeout(Timeout::Connect)
        )
    }

    /// Returns the server's response if it did not open a WebSocket.
    #[must_use]
    pub fn rejected_response(&self) -> Option<&RejectedResponse> {
        match self {
            Self::Rejected(response) => Some(response),
            _ => None,
        }
    }

    /// How the metrics count a handshake that fails with this error.
    pub(crate) fn handshake(&self) -> Handshake {
        match self {
            Self::Rejected(response) => Handshake::Refused(response.status),
            Self::Timeout(_) => Handshake::Timeout,
            _ => Handshake::Failed,
        }
    }

    /// How the metrics count a WebSocket that ends with this error.
    pub(crate) fn socket_end(&self) -> SocketEnd {
        match self {
            Self::Protocol(error) => SocketEnd::Failed(error.close_code()),
            Self::Abnormal => SocketEnd::Abnormal,
            Self::Reset { code, by_peer } => SocketEnd::Reset {
                code: *code,
                by_peer: *by_peer,
            },
            Self::Overloaded => SocketEnd::Overloaded,
            Self::Timeout(_) => SocketEnd::Timeout,
            _ => SocketEnd::ConnectionLost,
        }
    }
}

/// Returns whether a status says that the server or a proxy may answer differently later.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500..=599)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake(_) => "opening handshake failed",
            Self::Header(_) => "invalid header field",
            Self::Rejected(response) => {
                return write!(f, "the server answered {}", response.status);
            }
            Self::NoExtendedConnect => {
                "the server does not support WebSockets over HTTP/2 (RFC 8441)"
            }
            Self::Connect(error) => return cannot_connect(error, f),
            Self::Proxy(_) => "no tunnel through the proxy",
            Self::Tls(_) => "TLS handshake failed",
            Self::Setting(_) => "invalid setting",
            Self::TlsConfig(_) => "invalid TLS configuration",
            Self::Timeout(Timeout::Connect) => "timed out connecting",
            Self::Timeout(Timeout::Handshake) => {
                "timed out waiting for the response to the opening handshake"
            }
            Self::Timeout(Timeout::Close) => "timed out waiting for the peer's Close frame",
            Self::Timeout(Timeout::KeepAlive) => "timed out waiting for any answer from the peer",
            Self::Timeout(Timeout::Hook) => "timed out in a hook of a reconnecting WebSocket",
            Self::Protocol(_) => "the peer violated the WebSocket protocol",
            Self::Send(_) => "the message cannot be sent",
            Self::Reset { code, by_peer } => {
                let side = if *by_peer { "the peer" } else { "this side" };
                return write!(f, "{side} reset the stream: {}", error_code(*code));
            }
            Self::GoAway { text, .. } => return write!(f, "the connection was ended: {text}"),
            Self::Overloaded => {
                "the connection exceeded its receive buffer, and this WebSocket held the most"
            }
            Self::Io(_) => "the connection broke",
            Self::Abnormal => "the stream ended without a Close frame (1006)",
            Self::Closed => "the WebSocket or its connection is closed",
            Self::GaveUp { attempts, last } => {
                let plural = if *attempts == 1 { "" } else { "s" };
                write!(f, "gave up after {attempts} attempt{plural}")?;
                return match &**last {
                    // The cause, which is not displayed here.
                    DisconnectCause::Error(_) => Ok(()),
                    closed @ DisconnectCause::Closed(_) => write!(f, ": {closed}"),
                };
            }
        })
    }
}

/// Describes a failure to connect by where to, which the cause does not contain.
fn cannot_connect(error: &io::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match dial::destination(error) {
        Some(place) => write!(f, "cannot connect to {place}"),
        None => f.write_str("cannot connect"),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::Header(error) => Some(&**error),
            Self::Connect(error) | Self::Tls(error) | Self::Io(error) => Some(&**error),
            Self::Proxy(error) => Some(error),
            Self::Setting(error) => Some(error),
            Self::TlsConfig(error) => Some(error),
            Self::Protocol(error) => Some(error),
            Self::Send(error) => Some(error),
            Self::GaveUp { last, .. } => match &**last {
                DisconnectCause::Error(error) => Some(error),
                DisconnectCause::Closed(_) => None,
            },
            Self::Rejected(_)
            | Self::NoExtendedConnect
            | Self::Timeout(_)
            | Self::Reset { .. }
            | Self::GoAway { .. }
            | Self::Overloaded
            | Self::Abnormal
            | Self::Closed => None,
        }
    }
}

/// Displays an error and its causes on one line, separated by colons.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<crate::transport::StreamError> for Error {
    fn from(error: crate::transport::StreamError) -> Self {
        use crate::transport::StreamError;
        match error {
            StreamError::Reset { code, by_peer } => Self::Reset { code, by_peer },
            StreamError::GoAway {
                code,
                by_peer,
                text,
            } => Self::GoAway {
                code,
                by_peer,
                text,
            },
            StreamError::KeepAlive => Self::Timeout(Timeout::KeepAlive),
            StreamError::Overloaded => Self::Overloaded,
            StreamError::RequestTooLarge(large) => {
                HandshakeError::RequestTooLarge(large.size, large.limit).into()
            }
            StreamError::AnswerTooLarge(large) => {
                HandshakeError::AnswerTooLarge(large.size, large.limit).into()
            }
            StreamError::TooManyFields(count) => {
                HandshakeError::TooManyFields(count, MAX_HEADER_FIELDS).into()
            }
            StreamError::Io(error) => Self::Io(error),
            StreamError::Closed => Self::Closed,
        }
    }
}

impl From<ProxyError> for Error {
    fn from(error: ProxyError) -> Self {
        Self::Proxy(error)
    }
}

impl From<InvalidSetting> for Error {
    fn from(error: InvalidSetting) -> Self {
        Self::Setting(error)
    }
}

impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

/// [`SendError::Closed`] becomes [`Error::Closed`].
impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed => Self::Closed,
            error => Self::Send(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::UrlError;
    use crate::handshake::deflate::DeflateError;
    use crate::proxy::ProxyUrlError;

    /// An error and its causes, each as a line.
    fn chain(error: &dyn std::error::Error) -> Vec<String> {
        let below = error.source().map(chain).unwrap_or_default();
        [vec![error.to_string()], below].concat()
    }

    fn broken() -> Arc<io::Error> {
        Arc::new(io::Error::other("a broken cable"))
    }

    fn of_kind(kind: io::ErrorKind) -> Arc<io::Error> {
        Arc::new(kind.into())
    }

    fn response(status: u16) -> StatusCode {
        StatusCode::from_u16(status).unwrap()
    }

    fn rejected(status: u16) -> Error {
        Error::Rejected(Box::new(RejectedResponse {
            version: http::Version::HTTP_2,
            status: response(status),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            early_messages: Vec::new(),
        }))
    }

    fn proxy(status: u16) -> Error {
        let mut answer = http::Response::new(Bytes::new());
        *answer.status_mut() = response(status);
        ProxyError::Rejected(Box::new(answer)).into()
    }

    #[test]
    fn each_cause_is_below_its_error_and_nowhere_else() {
        let header = http::HeaderName::from_bytes(b"a b").unwrap_err();
        for error in [
            Error::Handshake(HandshakeError::Url(UrlError::Scheme)),
            Error::Handshake(HandshakeError::Deflate(DeflateError::Missing("x"))),
            Error::Header(Arc::new(header.into())),
            Error::Setting(crate::setting::some("Http2Config::write_buffer", 0).unwrap_err()),
            Error::Connect(broken()),
            Error::Tls(broken()),
            Error::Io(broken()),
            Error::TlsConfig(rustls::Error::DecryptError),
            Error::Proxy(ProxyError::Connect(broken())),
            Error::Proxy(ProxyError::Tls(broken())),
            Error::Proxy(ProxyError::Protocol(broken())),
            Error::Proxy(ProxyError::Url(ProxyUrlError::Port)),
            Error::Protocol(ProtocolError::InvalidUtf8),
            Error::Send(SendError::ControlTooLong),
        ] {
            let chain = chain(&error);
            assert!(chain.len() > 1, "{chain:?}");
            for (index, text) in chain.iter().enumerate() {
                let above = &chain[..index];
                assert!(!above.iter().any(|above| above.contains(text)), "{chain:?}");
            }
            assert_eq!(Chain(&error).to_string(), chain.join(": "));
        }
    }

    #[test]
    fn causes_can_be_downcast() {
        use std::error::Error as _;
        let error = Error::Connect(of_kind(io::ErrorKind::ConnectionRefused));
        let cause = error.source().unwrap().downcast_ref::<io::Error>();
        assert_eq!(cause.unwrap().kind(), io::ErrorKind::ConnectionRefused);
        let error = Error::Proxy(ProxyError::Tls(broken()));
        let proxy = error.source().unwrap().downcast_ref::<ProxyError>();
        let cause = proxy.unwrap().source().unwrap();
        assert!(cause.downcast_ref::<io::Error>().is_some());
    }

    #[test]
    fn retryable_timeout_and_connect() {
        use io::ErrorKind::{ConnectionReset, InvalidData, TimedOut};
        let reset = Error::Reset {
            code: 8,
            by_peer: true,
        };
        let go_away = Error::GoAway {
            code: 11,
            by_peer: true,
            text: "calm".into(),
        };
        let url = ProxyError::Url(ProxyUrlError::Port);
        // Each error, and whether it is retryable, a timeout, and a failure to connect.
        for (error, expected) in [
            (Error::Connect(broken()), [true, false, true]),
            (Error::Connect(of_kind(TimedOut)), [true, true, true]),
            (Error::Tls(of_kind(ConnectionReset)), [true, false, true]),
            (Error::Tls(of_kind(InvalidData)), [false, false, true]),
            (Error::Timeout(Timeout::Connect), [true, true, true]),
            (Error::Timeout(Timeout::Handshake), [true, true, false]),
            (Error::Timeout(Timeout::KeepAlive), [true, true, false]),
            (Error::Io(broken()), [true, false, false]),
            (Error::Io(of_kind(TimedOut)), [true, true, false]),
            (ProxyError::Connect(broken()).into(), [true, false, true]),
            (
                ProxyError::Tls(of_kind(InvalidData)).into(),
                [false, false, true],
            ),
            (ProxyError::Login.into(), [false, false, true]),
            (ProxyError::Socks(2).into(), [false, false, true]),
            (ProxyError::Socks(5).into(), [true, false, true]),
            (url.into(), [false, false, true]),
            (proxy(407), [false, false, true]),
            (proxy(502), [true, false, true]),
            (rejected(403), [false, false, false]),
            (rejected(429), [true, false, false]),
            (rejected(503), [true, false, false]),
            (reset, [true, false, false]),
            (go_away, [true, false, false]),
            (Error::Abnormal, [true, false, false]),
            (Error::Overloaded, [true, false, false]),
            (Error::Closed, [true, false, false]),
            (Error::NoExtendedConnect, [false, false, false]),
            (
                Error::Protocol(ProtocolError::InvalidUtf8),
                [false, false, false],
            ),
            (SendError::Busy.into(), [false, false, false]),
            (HandshakeError::WrongAccept.into(), [false, false, false]),
        ] {
            let is = [error.is_retryable(), error.is_timeout(), error.is_connect()];
            assert_eq!(is, expected, "{error:?}");
        }
    }

    #[test]
    fn closed_is_one_error() {
        assert!(matches!(SendError::Closed.into(), Error::Closed));
    }
}
