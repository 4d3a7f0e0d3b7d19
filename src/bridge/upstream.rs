//! Where sockets go on to.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;

use crate::client::HttpVersion;
use crate::handshake::{HostPort, Target, UrlError};

/// A server that stands behind the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) kind: Kind,
    /// Connects here instead of resolving the name.
    pub(super) address: Option<SocketAddr>,
}

/// What is spoken to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A WebSocket of either version. The path is what requests' own paths are
    /// put behind.
    WebSocket {
        target: Target,
        version: HttpVersion,
    },
    /// The bytes of binary messages.
    Tcp { host: String, port: u16 },
}

impl Upstream {
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp { .. })
    }

    pub(super) fn over(mut self, forced: HttpVersion) -> Self {
        if let Kind::WebSocket { version, .. } = &mut self.kind {
            *version = forced;
        }
        self
    }
}

/// The URL that a request for `path` has at an upstream.
pub(super) fn url(upstream: &Target, path_and_query: &str) -> String {
    let scheme = if upstream.secure() { "wss" } else { "ws" };
    let base = upstream.path_and_query().trim_end_matches('/');
    format!("{scheme}://{}{base}{path_and_query}", upstream.authority())
}

/// `ws`, `wss`, `http` and `https` URLs, and `tcp://host:port`.
impl FromStr for Upstream {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let kind = match url.get(..6) {
            Some(scheme) if scheme.eq_ignore_ascii_case("tcp://") => tcp(url)?,
            _ => Kind::WebSocket {
                target: url.parse()?,
                version: HttpVersion::Auto,
            },
        };
        if let Kind::WebSocket { target, .. } = &kind
            && target.path_and_query().contains('?')
        {
            return Err(UrlError::Syntax);
        }
        Ok(Self {
            kind,
            address: None,
        })
    }
}

fn tcp(url: &str) -> Result<Kind, UrlError> {
    let uri: Uri = url.parse().map_err(|_| UrlError::Syntax)?;
    if uri.path_and_query().is_some_and(|path| path != "/") || url.contains('#') {
        return Err(UrlError::Syntax);
    }
    let authority = uri.authority().ok_or(UrlError::Host)?.as_str();
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    let authority: HostPort = authority.parse().map_err(|_| UrlError::Host)?;
    Ok(Kind::Tcp {
        host: authority.host().to_owned(),
        // There is none that goes without saying.
        port: authority.port().ok_or(UrlError::Port)?,
    })
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::WebSocket { target, .. } => target.fmt(f),
            Kind::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Kind::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_by_their_urls() {
        for (url, shown, is_tcp) in [
            ("ws://127.0.0.1:9000", "ws://127.0.0.1:9000/", false),
            ("https://a/base/", "wss://a/base/", false),
            ("tcp://[::1]:6379", "tcp://[::1]:6379", true),
            ("TCP://Redis:6379/", "tcp://redis:6379", true),
        ] {
            let upstream: Upstream = url.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(upstream.is_tcp(), is_tcp);
        }
        for (url, error) in [
            ("tcp://redis", UrlError::Port),
            ("tcp://redis:0", UrlError::Host),
            ("tcp://me@redis:1", UrlError::UserInfo),
            ("tcp://redis:1/path", UrlError::Syntax),
            ("tcp://", UrlError::Syntax),
            ("tcp://redis:1#x", UrlError::Syntax),
            ("udp://redis:1", UrlError::Scheme),
            ("ws://a/?query", UrlError::Syntax),
            ("\u{e4}\u{e4}\u{e4}\u{e4}", UrlError::Syntax),
        ] {
            assert_eq!(url.parse::<Upstream>(), Err(error), "{url}");
        }
    }

    #[test]
    fn paths_are_put_behind_the_upstreams_own() {
        for (upstream, path, whole) in [
            ("ws://a:1", "/", "ws://a:1/"),
            ("ws://a:1/", "/chat?x=1", "ws://a:1/chat?x=1"),
            ("wss://a/base", "/chat", "wss://a/base/chat"),
            ("wss://a/base/", "/", "wss://a/base/"),
        ] {
            assert_eq!(url(&upstream.parse().unwrap(), path), whole);
        }
    }
}
