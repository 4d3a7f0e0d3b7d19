//! What can go wrong between a client and its proxy.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

/// Why there is no tunnel through a proxy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// The URL given names no proxy.
    Url(ProxyUrlError),
    /// An environment variable names no proxy.
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with its value.
        error: ProxyUrlError,
    },
    /// No TCP connection to the proxy could be made.
    Connect(Arc<io::Error>),
    /// The TLS handshake with the proxy failed.
    Tls(Arc<io::Error>),
    /// The proxy answered CONNECT, and not with 2xx: 407 if it wants (other)
    /// credentials, 403 for what it forbids, 502 and 504 if it does not get to
    /// the server. With the beginning of the body, as far as
    /// `ClientBuilder::max_rejection_body` allows.
    Refused(Box<Response<Bytes>>),
    /// A SOCKS5 proxy wants credentials, or others.
    Login,
    /// A SOCKS5 proxy refused, by this reply (RFC 1928 §6).
    Socks(u8),
    /// A SOCKS5 proxy cannot be told this host: the name is longer than 255
    /// bytes.
    Host,
    /// What the proxy answered is neither HTTP nor SOCKS5, or it hung up.
    Protocol(Arc<io::Error>),
}

/// Why a URL names no proxy. It does not say more: the URL may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// It is no URL, or it has a path, query or fragment.
    Syntax,
    /// The scheme is none of `http`, `https`, `socks5` and `socks5h`.
    Scheme,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The user name or the password is wrongly percent-encoded, or cannot be
    /// sent: with a colon in the user name for HTTP (RFC 7617 §2), and empty
    /// or longer than 255 bytes for SOCKS5 (RFC 1929 §2).
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
            Self::Url(error) => error.fmt(f),
            Self::Environment { variable, error } => write!(f, "{variable}: {error}"),
            Self::Connect(error) => write!(f, "cannot connect to {error}"),
            Self::Tls(error) => write!(f, "TLS handshake with it: {error}"),
            Self::Refused(answer) => {
                write!(f, "it answered {}", answer.status())?;
                if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
                    f.write_str(": it wants credentials, or others")?;
                }
                Ok(())
            }
            Self::Login => f.write_str("it wants credentials, or others"),
            Self::Socks(reply) => write!(f, "it answered {reply}: {}", reply_text(*reply)),
            Self::Host => f.write_str("the server's name is too long for SOCKS5"),
            Self::Protocol(error) => write!(f, "it broke the protocol: {error}"),
        }
    }
}

/// RFC 1928 §6.
fn reply_text(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
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
            Self::Syntax => "not the URL of a proxy, such as http://host:port",
            Self::Scheme => "the URL's scheme is none of http, https, socks5, socks5h",
            Self::Port => "the URL's port is not a number from 1 to 65535",
            Self::Login => "the URL's user name or password cannot be sent",
        })
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // What these hold is in the text.
            Self::Url(error) | Self::Environment { error, .. } => error.source(),
            Self::Connect(error) | Self::Tls(error) | Self::Protocol(error) => error.source(),
            _ => None,
        }
    }
}

impl std::error::Error for ProxyUrlError {}
