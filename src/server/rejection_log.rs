//! Logs what a server rejects by itself, before a handler sees it.
//!
//! The lines have the keys of a bridge's access lines, as far as they apply: always the
//! reason, and the side at fault. Values sent by the peer are truncated to [`MAX_VALUE`]
//! bytes.
//!
//! | what is rejected | level |
//! |---|---|
//! | a request, because of its host, its origin or its syntax, or for lack of TLS | info |
//! | a connection, because either side rejected the other's certificate | info |
//! | a connection that begins with a PROXY header, as all of a load balancer do | warn |
//! | a connection that fails otherwise, as port scanners cause it | debug |

use std::fmt::Display;
use std::net::SocketAddr;

use http::header::{HOST, HeaderName, ORIGIN, USER_AGENT};
use http::{StatusCode, Version, request};
use rustls::AlertDescription;

use crate::error::{Chain, Error};
use crate::transport::prefix::UnexpectedProxyHeader;

/// Maximum length of a value, in bytes.
const MAX_VALUE: usize = 256;

pub(super) fn request(
    peer: SocketAddr,
    parts: &request::Parts,
    status: Option<StatusCode>,
    reason: impl Display,
) {
    let field = |name: HeaderName| parts.headers.get(name).map(|value| cut(value.as_bytes()));
    let is_redirect = status.is_some_and(|status| status.is_redirection());
    let authority = parts.uri.authority();
    let authority = authority.map(|authority| cut(authority.as_str().as_bytes()));
    tracing::info!(
        target: "h2ws::access",
        %peer,
        version = version_name(parts.version),
        method = parts.method.as_str(),
        authority = authority.or_else(|| field(HOST)),
        path = cut(parts.uri.path().as_bytes()),
        origin = field(ORIGIN),
        user_agent = field(USER_AGENT),
        status = status.map(|status| status.as_u16()),
        closed_by = "server",
        closed = if is_redirect { "answered" } else { "rejected" },
        %reason,
        "{}",
        if is_redirect { "redirected" } else { "rejected" },
    );
}

/// Logs a request that could not be parsed.
pub(super) fn unparsed(peer: SocketAddr, status: StatusCode, reason: &str) {
    tracing::info!(
        target: "h2ws::access",
        %peer,
        version = version_name(Version::HTTP_11),
        status = status.as_u16(),
        closed_by = "server",
        closed = "rejected",
        reason,
        "rejected",
    );
}

pub(super) fn connection(peer: SocketAddr, error: &Error) {
    if let Error::Tls(error) = error
        && let Some(error) = error.get_ref()
        && error.is::<UnexpectedProxyHeader>()
    {
        // All connections fail until a setting is changed.
        tracing::warn!(from = %peer, "connection closed, PROXY protocol: {error}");
        return;
    }
    match rejected_certificate(error) {
        Some(closed_by) => tracing::info!(
            target: "h2ws::access",
            %peer,
            closed_by,
            closed = "rejected",
            reason = %Chain(error),
            "connection",
        ),
        None => tracing::debug!(%peer, error = %Chain(error), "connection failed"),
    }
}

/// Returns the side that rejected the other's certificate, if one did.
fn rejected_certificate(error: &Error) -> Option<&'static str> {
    let Error::Tls(error) = error else {
        return None;
    };
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Some("server")
        }
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // A signature that the authority did not make.
            | AlertDescription::DecryptError,
        ) => Some("client"),
        _ => None,
    }
}

/// Returns the name of an HTTP version in log lines.
pub(crate) fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "unknown",
    }
}

/// Returns at most [`MAX_VALUE`] bytes as text.
pub(super) fn cut(bytes: &[u8]) -> String {
    if bytes.len() <= MAX_VALUE {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let text = String::from_utf8_lossy(&bytes[..MAX_VALUE]);
    format!("{text}…")
}
