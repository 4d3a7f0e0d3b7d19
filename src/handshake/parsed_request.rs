//! What a server learns from a request that opens a socket.

use http::header::{HeaderMap, HeaderValue};

use super::request_fields::RequestFields;
use super::syntax::Field;
use super::{
    AllowedHosts, AllowedOrigins, DeflateConfig, Extension, HandshakeKind, HostPort, Negotiated,
    Rejection, extensions, subprotocol,
};

/// A valid request for a socket, as a server sees it.
///
/// Valid is not allowed: whether the [origin](ParsedRequest::check_origin) may ask, and whether the
/// [host](ParsedRequest::check_authority) is served here, remains to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsedRequest {
    /// Which handshake it is.
    pub via: HandshakeKind,
    /// The host it is for, from `:authority` or `host`.
    pub authority: HostPort,
    /// The `origin` of the page that asks; absent if no browser asks.
    pub origin: Option<HeaderValue>,
    /// The `sec-websocket-accept` to answer with; over HTTP/2 only if a key came, as some
    /// clients send one there too and insist on the answer.
    pub accept: Option<HeaderValue>,
    /// The subprotocols offered, the client's favourite first.
    pub subprotocols: Vec<String>,
    /// The extensions offered, the client's favourite first.
    pub extensions: Vec<Extension>,
}

impl ParsedRequest {
    pub(super) fn read(
        via: HandshakeKind,
        authority: HostPort,
        accept: Option<HeaderValue>,
        found: &RequestFields<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, Rejection> {
        let origin = match found.origin {
            Field::Absent => None,
            Field::Once(origin) => Some(origin.clone()),
            // Nobody can tell which of them a rule was meant for (RFC 6454 §7.3).
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
            via,
            authority,
            origin,
            accept,
            subprotocols,
            extensions,
        })
    }

    /// Whether the page that asks may.
    ///
    /// # Errors
    /// [`Rejection::Origin`] if not.
    pub fn check_origin(&self, allowed: &AllowedOrigins) -> Result<(), Rejection> {
        allowed.check_for(self.origin.as_ref(), &self.authority)
    }

    /// Whether the request is for a host of ours; `default_port` as in
    /// [`AllowedHosts::check`].
    ///
    /// # Errors
    /// [`Rejection::Authority`] if not.
    pub fn check_authority(
        &self,
        allowed: &AllowedHosts,
        default_port: u16,
    ) -> Result<(), Rejection> {
        allowed.check(&self.authority, default_port)
    }

    /// Picks the first offered subprotocol that is `supported`, and takes up permessage-deflate
    /// if it is offered in a way that suits the configuration; with `None`, never.
    #[must_use]
    pub fn agree(
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
