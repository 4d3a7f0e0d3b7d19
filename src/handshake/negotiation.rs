//! What a client asks for beyond the bare socket, and what both sides then go by.

use http::header::{
    HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};

use super::deflate::{self, DeflateConfig, DeflateParams};
use super::extensions::{self, Extension};
use super::{HandshakeError, subprotocol, syntax};

/// What a client offers; nothing, by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Offer {
    /// Subprotocols, the preferred one first. Checked when the request is made.
    pub subprotocols: Vec<String>,
    /// Extensions, the preferred one first; the same one may be offered with several sets of
    /// parameters.
    pub extensions: Vec<Extension>,
}

impl Offer {
    /// Adds a subprotocol.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Adds an extension.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Adds permessage-deflate (RFC 7692).
    #[must_use]
    pub fn deflate(self, config: &DeflateConfig) -> Self {
        self.extension(config.offer().to_extension())
    }

    /// Writes the fields that both handshakes have in common.
    pub(super) fn write(&self, headers: &mut HeaderMap) -> Result<(), HandshakeError> {
        subprotocol::check_offer(&self.subprotocols)?;
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        write_lists(headers, &self.subprotocols, &self.extensions);
        Ok(())
    }

    /// Reads what the server made of it.
    pub(super) fn answered(&self, headers: &HeaderMap) -> Result<Negotiated, HandshakeError> {
        let subprotocol = subprotocol::check_answer(headers, &self.subprotocols)?;
        let extensions = extensions::parse(headers)
            .map_err(|_| HandshakeError::MalformedHeader(SEC_WEBSOCKET_EXTENSIONS))?;
        check_offered(&extensions, &self.extensions)?;
        let deflate = extensions
            .iter()
            .find(|extension| extension.name() == deflate::NAME)
            .map(|answer| deflate::check_answer(answer, &self.extensions))
            .transpose()?;
        Ok(Negotiated {
            subprotocol,
            extensions,
            deflate,
        })
    }
}

/// What holds for an open socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Negotiated {
    /// The subprotocol, if there is one.
    pub subprotocol: Option<String>,
    /// The extensions as the server answers them, in the order in which they apply to a message
    /// (RFC 6455 §9.1).
    pub extensions: Vec<Extension>,
    /// What permessage-deflate among them means for the compressors.
    pub deflate: Option<DeflateParams>,
}

impl Negotiated {
    /// Writes the response's fields, having checked that the client offered everything in them.
    pub(super) fn write(
        &self,
        offered_subprotocols: &[String],
        offered_extensions: &[Extension],
        headers: &mut HeaderMap,
    ) -> Result<(), HandshakeError> {
        if let Some(name) = &self.subprotocol
            && !offered_subprotocols.contains(name)
        {
            return Err(HandshakeError::UnofferedSubprotocol(name.clone()));
        }
        check_offered(&self.extensions, offered_extensions)?;
        let subprotocol = self.subprotocol.as_slice();
        write_lists(headers, subprotocol, &self.extensions);
        Ok(())
    }
}

fn write_lists(headers: &mut HeaderMap, subprotocols: &[String], extensions: &[Extension]) {
    if !subprotocols.is_empty() {
        headers.extend(syntax::join(subprotocols).map(|list| (SEC_WEBSOCKET_PROTOCOL, list)));
    }
    if !extensions.is_empty() {
        headers.extend(syntax::join(extensions).map(|list| (SEC_WEBSOCKET_EXTENSIONS, list)));
    }
}

/// An answer holds no extension that was not offered, and none twice (RFC 6455 §4.1, §9.1).
fn check_offered(answered: &[Extension], offered: &[Extension]) -> Result<(), HandshakeError> {
    for (index, extension) in answered.iter().enumerate() {
        let is_same = |other: &Extension| other.name() == extension.name();
        let name = || extension.name().to_owned();
        if !offered.iter().any(is_same) {
            return Err(HandshakeError::UnofferedExtension(name()));
        }
        if answered[..index].iter().any(is_same) {
            return Err(HandshakeError::RepeatedExtension(name()));
        }
    }
    Ok(())
}
