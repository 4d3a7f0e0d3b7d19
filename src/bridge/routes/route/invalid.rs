//! The errors of invalid routes.

use std::fmt;

use http::HeaderName;

use crate::setting::InvalidSetting;

/// An invalid route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// The route has no upstream.
    NoUpstream,
    /// An upstream was added twice.
    UpstreamTwice(String),
    /// The route has both `tcp` and WebSocket upstreams.
    TcpAmongOthers,
    /// A `tcp` route without [allowed origins](crate::bridge::RouteBuilder::allowed_origins): any page in
    /// a browser that can reach the bridge could use it.
    TcpWithoutOrigins,
    /// A `tcp` route with an HTTP check.
    HttpCheckOfTcp,
    /// A `tcp` route with [`websockets_only(false)`](crate::bridge::RouteBuilder::websockets_only).
    PlainHttpToTcp,
    /// A `tcp` route with [Pings](crate::bridge::Pings::upstream) to the upstream.
    PingsToTcp,
    /// A [preface](crate::bridge::RouteBuilder::tcp_preface) for upstreams that are not `tcp`.
    PrefaceToHttp,
    /// The name for `Via` is not a token (RFC 9110 §5.6.2).
    Via(String),
    /// The field for the request ID is reserved.
    RequestId(HeaderName),
    /// The server name for TLS is not a host.
    ServerName(String),
    /// A setting has an invalid value.
    Setting(InvalidSetting),
}

impl fmt::Display for InvalidRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpstream => f.write_str("the route has no upstream"),
            Self::UpstreamTwice(url) => write!(f, "duplicate upstream {url}"),
            Self::TcpAmongOthers => {
                f.write_str("a route cannot have both tcp and WebSocket upstreams")
            }
            Self::HttpCheckOfTcp => {
                f.write_str("a tcp route cannot have an HTTP check; use a TCP check")
            }
            Self::PingsToTcp => f.write_str(
                "a tcp upstream cannot get WebSocket Pings; keep-alive of TCP finds dead ones",
            ),
            Self::PrefaceToHttp => f.write_str(
                "only tcp and unix upstreams can be sent a PROXY header or another preface; HTTP \
                 servers get the client's address in Forwarded",
            ),
            Self::Via(name) => write!(
                f,
                "invalid name for Via {name:?}; expected a token such as edge-1"
            ),
            Self::ServerName(name) => {
                write!(
                    f,
                    "invalid server name {name:?}; expected a host such as app.example.com"
                )
            }
            Self::RequestId(field) => write!(
                f,
                "the field {field} is reserved and cannot carry the request ID"
            ),
            Self::Setting(error) => error.fmt(f),
            Self::PlainHttpToTcp => f.write_str(
                "a tcp route cannot forward plain HTTP requests; remove websockets_only = false",
            ),
            Self::TcpWithoutOrigins => f.write_str(
                "a tcp route needs allowed origins, or any page could use it; \"*\" allows all",
            ),
        }
    }
}

impl std::error::Error for InvalidRoute {}
