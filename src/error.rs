//! What can go wrong, for those who call.

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
use crate::transport::h2::error_code;
use crate::transport::proxy::ProxyError;

/// An error of a client, a server or a WebSocket.
///
/// A WebSocket that ends by the closing handshake is no error: its stream of
/// messages ends.
///
/// What a variant holds is part of its text, so [`source`](std::error::Error::source)
/// goes on below it, and those who print the whole chain read nothing twice.
///
/// # Trying again
///
/// A [`Client`](crate::Client) itself repeats what a server certainly has not
/// acted on, and nothing else. Whether another attempt may succeed:
///
/// ```
/// use h2ws::Error;
/// use std::io::ErrorKind;
///
/// fn may_pass(error: &Error) -> bool {
///     match error {
///         // The network, the server's machine, or the time that they took.
///         Error::Connect(_) | Error::Io(_) | Error::Timeout(_) | Error::Proxy(_) => true,
///         Error::Reset { .. } | Error::GoAway { .. } | Error::Abnormal => true,
///         Error::Overloaded | Error::Closed => true,
///         // A certificate stays bad; a connection that broke is another matter.
///         Error::Tls(error) => error.kind() != ErrorKind::InvalidData,
///         Error::Rejected(refusal) => matches!(refusal.status.as_u16(), 408 | 429 | 500..=599),
///         // A mistake of the caller's, or what the server is.
///         _ => false,
///     }
/// }
/// # assert!(may_pass(&Error::Abnormal) && !may_pass(&Error::NoExtendedConnect));
/// ```
///
/// Wait before it, longer each time and by chance, for many come back at once
/// (RFC 6455 §7.2.3). A socket that the server closed by
/// [`GOING_AWAY`](crate::CloseCode::GOING_AWAY) (1001) or
/// [`TRY_AGAIN_LATER`](crate::CloseCode::TRY_AGAIN_LATER) (1013) is no error,
/// and worth opening again as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URL, a header or a subprotocol given by the caller is unusable, or
    /// the server's answer breaks RFC 6455 §4 or RFC 8441 §5.
    Handshake(HandshakeError),
    /// A header field given by the caller is no header field.
    Header(Arc<http::Error>),
    /// The server answered, but not with a WebSocket.
    Rejected(Box<RejectedResponse>),
    /// The server speaks HTTP/2 without RFC 8441 (or not HTTP/2 at all), and
    /// HTTP/2 was asked for.
    NoExtendedConnect,
    /// No connection to the server could be made.
    Connect(Arc<io::Error>),
    /// There is no tunnel to the server through the proxy.
    Proxy(ProxyError),
    /// The TLS handshake failed.
    Tls(Arc<io::Error>),
    /// A setting has a value that it cannot have.
    Setting(InvalidSetting),
    /// The configuration of TLS is unusable.
    TlsConfig(rustls::Error),
    /// Something took longer than its limit.
    Timeout(Timeout),
    /// The peer broke the protocol; it was told so with this error's
    /// [close code](ProtocolError::close_code).
    Protocol(ProtocolError),
    /// The message cannot be sent (any more).
    Send(SendError),
    /// The stream was reset (RFC 9113 §6.4).
    Reset {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer did it.
        by_peer: bool,
    },
    /// The connection ended with GOAWAY and an error code (RFC 9113 §6.8).
    GoAway {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer did it.
        by_peer: bool,
        /// What is known about it, with the peer's debug data.
        text: Arc<str>,
    },
    /// The sockets of the HTTP/2 connection held more than
    /// [`Http2Config::connection_buffer`](crate::Http2Config::connection_buffer)
    /// of what the peer sent, and this one most of it: it was closed with
    /// [`CloseCode::TRY_AGAIN_LATER`](crate::CloseCode::TRY_AGAIN_LATER) (1013).
    Overloaded,
    /// The connection broke.
    Io(Arc<io::Error>),
    /// The stream ended without a Close frame: close code 1006 (RFC 6455
    /// §7.1.5).
    Abnormal,
    /// The socket, connection, client or server is closed.
    Closed,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// Making the TCP or TLS connection.
    Connect,
    /// The answer to the opening handshake.
    Handshake,
    /// The peer's part of the closing handshake (RFC 6455 §7.1.1).
    Close,
    /// Any sign of life from the peer, which was asked for one: by PING of
    /// HTTP/2 ([`Http2Config::keep_alive_timeout`](crate::Http2Config::keep_alive_timeout))
    /// or by Ping of WebSocket ([`WebSocketConfig::ping_timeout`](crate::WebSocketConfig::ping_timeout)).
    KeepAlive,
}

/// An answer to the opening handshake that is not a WebSocket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RejectedResponse {
    /// The version of HTTP that it came by.
    pub version: http::Version,
    /// The status, such as 403.
    pub status: StatusCode,
    /// The header fields, such as `www-authenticate` or `location`.
    pub headers: HeaderMap,
    /// The beginning of the body, as far as the configured limit.
    pub body: Bytes,
    /// The [early messages](crate::client::RequestBuilder::early) of the request,
    /// which no application has taken.
    pub early_messages: Vec<Message>,
}

impl Error {
    /// Whether the WebSocket broke without a closing handshake: what RFC 6455
    /// §7.1.5 calls close code 1006.
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

    /// What a handshake that fails by this is counted as.
    pub(crate) fn handshake(&self) -> Handshake {
        match self {
            Self::Rejected(refusal) => Handshake::Refused(refusal.status),
            Self::Timeout(_) => Handshake::Timeout,
            _ => Handshake::Failed,
        }
    }

    /// What a socket that ends by this is counted as.
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

    /// The refusal, if the server answered with something else than a
    /// WebSocket.
    #[must_use]
    pub fn rejected_response(&self) -> Option<&RejectedResponse> {
        match self {
            Self::Rejected(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => write!(f, "opening handshake: {error}"),
            Self::Header(error) => write!(f, "header field: {error}"),
            Self::Rejected(refusal) => write!(f, "the server answered {}", refusal.status),
            Self::NoExtendedConnect => {
                f.write_str("the server does not take WebSockets over HTTP/2 (RFC 8441)")
            }
            Self::Connect(error) => write!(f, "cannot connect to {error}"),
            Self::Proxy(error) => write!(f, "proxy: {error}"),
            Self::Tls(error) => write!(f, "TLS handshake: {error}"),
            Self::Setting(error) => write!(f, "configuration: {error}"),
            Self::TlsConfig(error) => write!(f, "TLS configuration: {error}"),
            Self::Timeout(Timeout::Connect) => f.write_str("connecting took too long"),
            Self::Timeout(Timeout::Handshake) => {
                f.write_str("the server did not answer the opening handshake in time")
            }
            Self::Timeout(Timeout::Close) => f.write_str("the peer did not close its side in time"),
            Self::Timeout(Timeout::KeepAlive) => f.write_str("the peer gives no sign of life"),
            Self::Protocol(error) => write!(f, "the peer broke the protocol: {error}"),
            Self::Send(error) => write!(f, "cannot send: {error}"),
            Self::Reset { code, by_peer } => {
                let who = if *by_peer { "the peer" } else { "this side" };
                write!(f, "{who} reset the stream: {}", error_code(*code))
            }
            Self::GoAway { text, .. } => write!(f, "the connection was given up: {text}"),
            Self::Overloaded => {
                f.write_str("the connection's sockets held too much unread, this one most of it")
            }
            Self::Io(error) => write!(f, "the connection broke: {error}"),
            Self::Abnormal => f.write_str("the stream ended without a Close frame (1006)"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => error.source(),
            Self::Header(error) => error.source(),
            Self::Connect(error) | Self::Tls(error) | Self::Io(error) => error.source(),
            Self::Proxy(error) => error.source(),
            Self::TlsConfig(error) => error.source(),
            Self::Protocol(error) => error.source(),
            Self::Send(error) => error.source(),
            _ => None,
        }
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

    /// As programs print errors: each with those below it.
    fn chain(error: &dyn std::error::Error) -> Vec<String> {
        let below = error.source().map(chain).unwrap_or_default();
        [vec![error.to_string()], below].concat()
    }

    #[test]
    fn nothing_is_said_twice_in_a_chain() {
        let io = || Arc::new(io::Error::other("a broken cable"));
        let header = http::HeaderName::from_bytes(b"a b").unwrap_err();
        for error in [
            Error::Handshake(HandshakeError::Url(UrlError::Scheme)),
            Error::Handshake(HandshakeError::Deflate(DeflateError::Missing("x"))),
            Error::Header(Arc::new(header.into())),
            Error::Connect(io()),
            Error::Tls(io()),
            Error::Io(io()),
            Error::TlsConfig(rustls::Error::DecryptError),
            Error::Proxy(ProxyError::Connect(io())),
            Error::Proxy(ProxyError::Url(crate::proxy::ProxyUrlError::Port)),
            Error::Protocol(ProtocolError::InvalidUtf8),
            Error::Send(SendError::Closed),
        ] {
            let chain = chain(&error);
            for (index, text) in chain.iter().enumerate() {
                let above = &chain[..index];
                assert!(!above.iter().any(|above| above.contains(text)), "{chain:?}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_text_is_below_it() {
        let error = Error::from(HandshakeError::Url(UrlError::Port));
        let [above, below] = &chain(&error)[..] else {
            panic!("{:?}", chain(&error));
        };
        assert!(
            above.contains("the URL is not valid for a WebSocket"),
            "{above}"
        );
        assert_eq!(below, &UrlError::Port.to_string());
    }
}
