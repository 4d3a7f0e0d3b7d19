//! [`UpgradeRejection`]: why a request was not extracted as a WebSocket request.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::handshake::{HandshakeKind, Rejection};

/// A request that cannot become a WebSocket, with the response that reports the reason.
///
/// The statuses are those of axum: 400 for an invalid handshake, 405 for a wrong method,
/// 426 if the request is not a WebSocket handshake (over HTTP/2, which has no upgrade,
/// 400) or the server cannot upgrade its connection, 403 for an origin that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRejection(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Handshake(Rejection, HandshakeKind),
    NotUpgradable,
    Extracted,
}

impl UpgradeRejection {
    pub(super) fn handshake(rejection: Rejection, kind: HandshakeKind) -> Self {
        Self(Kind::Handshake(rejection, kind))
    }

    /// The server does not offer to upgrade the connection, for example because of
    /// HTTP/1.0.
    pub(super) fn not_upgradable() -> Self {
        Self(Kind::NotUpgradable)
    }

    /// Another extractor has taken the request already.
    pub(super) fn extracted() -> Self {
        tracing::warn!(
            "a WebSocket request was extracted twice: use one extractor per handler, and none in its layers"
        );
        Self(Kind::Extracted)
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Kind::Handshake(rejection, kind) => rejection.status(*kind),
            Kind::NotUpgradable => StatusCode::UPGRADE_REQUIRED,
            Kind::Extracted => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the response: a status, the header fields that belong to it, and a line of
    /// text that contains nothing sent by the client.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        if let Kind::Handshake(rejection, kind) = &self.0 {
            return rejection.to_response(*kind);
        }
        let mut response = Response::new(Bytes::from_static(self.reason().as_bytes()));
        *response.status_mut() = self.status();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }

    fn reason(&self) -> &'static str {
        match &self.0 {
            Kind::Handshake(rejection, _) => rejection.reason(),
            Kind::NotUpgradable => "the connection cannot be upgraded to a WebSocket\n",
            Kind::Extracted => "the WebSocket request was extracted twice\n",
        }
    }
}

impl fmt::Display for UpgradeRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason().trim_end())
    }
}

impl std::error::Error for UpgradeRejection {}
