//! Why an extractor found no WebSocket request: [`UpgradeRejection`].

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::handshake::{HandshakeKind, Rejection};

/// A request that cannot become a WebSocket, with the response that says why.
///
/// The statuses are kept apart as axum does: 400 for a handshake with a fault,
/// 405 for a wrong method, 426 where the request is not a WebSocket handshake or
/// the server cannot upgrade its connection, 403 for an origin that is not
/// allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRejection(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Handshake(Rejection, HandshakeKind),
    NotUpgradable,
    Extracted,
}

impl UpgradeRejection {
    pub(super) fn handshake(rejection: Rejection, via: HandshakeKind) -> Self {
        Self(Kind::Handshake(rejection, via))
    }

    /// The server has not made the connection upgradable: HTTP/1.0, or a server
    /// without upgrades.
    pub(super) fn not_upgradable() -> Self {
        Self(Kind::NotUpgradable)
    }

    /// Another extractor has taken the request.
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
            // To an extractor over HTTP/2, too, "not a WebSocket request" is the client's
            // wrong way to ask, so it has a status of its own.
            Kind::Handshake(rejection, via) => rejection.status(*via),
            Kind::NotUpgradable => StatusCode::UPGRADE_REQUIRED,
            Kind::Extracted => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The response: a status, the header fields that belong to it, and a line of
    /// text that holds nothing the client sent.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        if let Kind::Handshake(rejection, via) = &self.0 {
            return rejection.to_response(*via);
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
