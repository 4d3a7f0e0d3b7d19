//! A client's request for a WebSocket, as parsed by a server.

use http::header::{HeaderMap, HeaderValue};

use super::request_fields::RequestFields;
use super::syntax::Field;
use super::{
    AllowedHosts, AllowedOrigins, DeflateConfig, Extension, HandshakeKind, HostPort, Negotiated,
    Rejection, extensions, subprotocol,
};

/// A valid request for a WebSocket.
///
/// It may still have to be rejected: [`check_origin`](Self::check_origin) and
/// [`check_authority`](Self::check_authority) have not been called yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsedRequest {
    /// The kind of handshake.
    pub kind: HandshakeKind,
    /// The host that the request is for, from `:authority` or `host`.
    pub authority: HostPort,
    /// The `origin` header, which browsers send: the origin of the page that opens the WebSocket.
    pub origin: Option<HeaderValue>,
    /// The `sec-websocket-accept` of the response. Over HTTP/2 it is present only if the client
    /// sent a key: some do, and insist on it.
    pub accept: Option<HeaderValue>,
    /// The offered subprotocols, in the client's order of preference.
    pub subprotocols: Vec<String>,
    /// The offered extensions, in the client's order of preference.
    pub extensions: Vec<Extension>,
}

impl ParsedRequest {
    pub(super) fn read(
        kind: HandshakeKind,
        authority: HostPort,
        accept: Option<HeaderValue>,
        found: &RequestFields<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, Rejection> {
        let origin = match found.origin {
            Field::Absent => None,
            Field::Once(origin) => Some(origin.clone()),
            // It is ambiguous which of them access control should check (RFC 6454 §7.3).
            Field::Repeated => return Err(Rejection::Origin),
        };
        let subprotocols = if found.has_subprotocols {
            subprotocol::parse(headers)?
        } else {
            Vec::new()
        };
        let extensions = if found.has_extensions {
            extensions::parse(headers).map_err(|_| Rejection::Extensions)?
        } else {
            Vec::new()
        };
        Ok(Self {
            kind,
            authority,
            origin,
            accept,
            subprotocols,
            extensions,
        })
    }

    /// Checks that the request's origin is allowed.
    ///
    /// # Errors
    /// [`Rejection::Origin`] if it is not.
    pub fn check_origin(&self, allowed: &AllowedOrigins) -> Result<(), Rejection> {
        allowed.check_for(self.origin.as_ref(), &self.authority)
    }

    /// Checks that the request's host is allowed; `default_port` is as in [`AllowedHosts::check`].
    ///
    /// # Errors
    /// [`Rejection::Authority`] if it is not.
    pub fn check_authority(
        &self,
        allowed: &AllowedHosts,
        default_port: u16,
    ) -> Result<(), Rejection> {
        allowed.check(&self.authority, default_port)
    }

    /// Selects the first offered subprotocol that is `supported`, and permessage-deflate if an offer
    /// is compatible with the configuration. `None` disables permessage-deflate.
    #[must_use]
    pub fn negotiate(
        &self,
        supported: &[impl AsRef<str>],
        deflate: Option<&DeflateConfig>,
    ) -> Negotiated {
        let deflate = deflate.and_then(|config| config.accept(&self.extensions));
        let (deflate, extension) = deflate.unzip();
        Negotiated {
            subprotocol: subprotocol::select(&self.subprotocols, supported).map(str::to_owned),
            extensions: extension.into_iter().collect(),
            deflate,
        }
    }
}
