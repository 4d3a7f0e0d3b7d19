//! Lines for what a server refuses by itself, before any handler sees it.
//!
//! They have the keys of a bridge's lines, where there is something to say: the
//! reason always, and the party at fault. What a peer says of itself is cut at
//! [`LONGEST`] bytes.
//!
//! | what is refused | level |
//! |---|---|
//! | a request: its host, its origin, its form | info |
//! | a connection for a certificate: the client's, or ours by the client | info |
//! | a connection that fails otherwise, as those of port scanners do | debug |

use std::fmt::Display;
use std::net::SocketAddr;

use http::header::{HOST, HeaderName, ORIGIN, USER_AGENT};
use http::{StatusCode, request};
use rustls::AlertDescription;

use crate::error::Error;

/// Bytes of a value.
const LONGEST: usize = 256;

pub(super) fn request(
    peer: SocketAddr,
    parts: &request::Parts,
    status: Option<StatusCode>,
    reason: impl Display,
) {
    let field = |name: HeaderName| parts.headers.get(name).map(|value| cut(value.as_bytes()));
    let authority = parts.uri.authority();
    let authority = authority.map(|authority| cut(authority.as_str().as_bytes()));
    tracing::info!(
        target: "h2ws::access",
        %peer,
        version = ?parts.version,
        method = parts.method.as_str(),
        authority = authority.or_else(|| field(HOST)),
        path = cut(parts.uri.path().as_bytes()),
        origin = field(ORIGIN),
        user_agent = field(USER_AGENT),
        status = status.map(|status| status.as_u16()),
        closed_by = "server",
        closed = "refused",
        %reason,
        "refused",
    );
}

pub(super) fn connection(peer: SocketAddr, error: &Error) {
    match of_certificate(error) {
        Some(closed_by) => tracing::info!(
            target: "h2ws::access",
            %peer,
            closed_by,
            closed = "refused",
            reason = %error,
            "connection",
        ),
        None => tracing::debug!(%peer, %error, "connection failed"),
    }
}

/// The party that refused the other's certificate, if that is what happened.
fn of_certificate(error: &Error) -> Option<&'static str> {
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
            // A signature that is not the authority's.
            | AlertDescription::DecryptError,
        ) => Some("client"),
        _ => None,
    }
}

pub(super) fn cut(bytes: &[u8]) -> String {
    if bytes.len() <= LONGEST {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let text = String::from_utf8_lossy(&bytes[..LONGEST]);
    format!("{text}…")
}
