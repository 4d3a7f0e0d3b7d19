//! Errors between a client and its proxy.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::transport::dial;
use bytes::Bytes;
use http::{Response, StatusCode};

/// Why a tunnel through a proxy could not be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// The given URL is not a valid proxy URL.
    Url(ProxyUrlError),
    /// The value of an environment variable is not a valid proxy URL.
    Environment {
        /// The name of the variable.
        variable: &'static str,
        /// Why its value is invalid.
        error: ProxyUrlError,
    },
    /// The TCP connection to the proxy failed.
    Connect(Arc<io::Error>),
    /// The TLS handshake with the proxy failed.
    Tls(Arc<io::Error>),
    /// The proxy rejected CONNECT: with 407 if it requires credentials or
    /// rejects those given, with 403 if its rules forbid the tunnel, with 502
    /// or 504 if it cannot reach the server. Holds the beginning of the body,
    /// up to
    /// [`ClientBuilder::max_rejection_body`](crate::client::ClientBuilder::max_rejection_body).
    Rejected(Box<Response<Bytes>>),
    /// A SOCKS5 proxy requires credentials or rejected those given.
    Login,
    /// A SOCKS5 proxy rejected the request with this reply code (RFC 1928 §6).
    Socks(u8),
    /// The host name is longer than the 255 bytes that SOCKS5 allows.
    Host,
    /// The proxy's response is neither HTTP nor SOCKS5, or it closed the
    /// connection.
    Protocol(Arc<io::Error>),
}

/// Why a proxy URL is invalid. Holds no part of the URL, which may contain a
/// password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// It is not a valid URL, or it has a path, query or fragment.
    Syntax,
    /// The scheme is not `http`, `https`, `socks5` or `socks5h`.
    Scheme,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The user name or the password has an invalid percent-encoding or cannot
    /// be sent: for HTTP a user name must not contain a colon (RFC 7617 §2),
    /// for SOCKS5 both must have 1 to 255 bytes (RFC 1929 §2).
    Login,
}

impl ProxyError {
    pub(super) fn broken(what: &'static str) -> Self {
        Self::Protocol(Arc::new(io::Error::new(io::ErrorKind::InvalidData, what)))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("the proxy setting cannot be used"),
            Self::Environment { variable, .. } => {
                write!(f, "the proxy setting in {variable} cannot be used")
            }
            Self::Connect(error) => match dial::destination(error) {
                Some(place) => write!(f, "cannot connect to {place}"),
                None => f.write_str("cannot connect to the proxy"),
            },
            Self::Tls(_) => f.write_str("TLS handshake with the proxy failed"),
            Self::Rejected(response) => {
                write!(f, "CONNECT rejected with {}", response.status())?;
                if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
                    write!(f, ": {CREDENTIALS}")?;
                }
                Ok(())
            }
            Self::Login => f.write_str(CREDENTIALS),
            Self::Socks(reply) => {
                write!(
                    f,
                    "request rejected with SOCKS5 reply {reply}: {}",
                    reply_text(*reply)
                )
            }
            Self::Host => f.write_str("the host name is longer than the 255 bytes of SOCKS5"),
            Self::Protocol(_) => f.write_str("protocol violation by the proxy"),
        }
    }
}

/// What to do about a 407 or a failed SOCKS5 login.
const CREDENTIALS: &str = "the proxy requires a valid user name and password";

/// Returns the meaning of a SOCKS5 reply code (RFC 1928 §6).
fn reply_text(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by the proxy's rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown",
    }
}

impl fmt::Display for ProxyUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "invalid proxy URL; expected one such as http://host:port",
            Self::Scheme => "invalid proxy URL: the scheme must be http, https, socks5 or socks5h",
            Self::Port => "invalid proxy URL: the port must be a number from 1 to 65535",
            Self::Login => {
                "invalid proxy URL: the user name or password is not percent-encoded or cannot be sent"
            }
        })
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) | Self::Environment { error, .. } => Some(error),
            Self::Connect(error) | Self::Tls(error) | Self::Protocol(error) => Some(&**error),
            Self::Rejected(_) | Self::Login | Self::Socks(_) | Self::Host => None,
        }
    }
}

impl std::error::Error for ProxyUrlError {}
