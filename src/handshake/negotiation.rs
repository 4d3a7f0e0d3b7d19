//! Negotiates subprotocols and extensions.

use http::header::{
    HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};

use super::deflate::{self, DeflateConfig, DeflateParams};
use super::extensions::{self, Extension};
use super::{HandshakeError, subprotocol, syntax};

/// The subprotocols and extensions that a client offers. Default: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Offer {
    /// Subprotocols in order of preference. They are validated when the request is made.
    pub subprotocols: Vec<String>,
    /// Extensions in order of preference. The same extension may be offered several times with
    /// different parameters.
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

    /// Validates the offer and writes its headers, which are the same in both handshakes.
    pub(super) fn write(&self, headers: &mut HeaderMap) -> Result<(), HandshakeError> {
        subprotocol::check_offer(&self.subprotocols)?;
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        write_lists(headers, &self.subprotocols, &self.extensions);
        Ok(())
    }

    /// Reads the server's selection from the headers of its response.
    pub(super) fn read_answer(&self, headers: &HeaderMap) -> Result<Negotiated, HandshakeError> {
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

/// The result of the negotiation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Negotiated {
    /// The selected subprotocol, if any.
    pub subprotocol: Option<String>,
    /// The selected extensions, as in the server's response and in the order in which they apply to
    /// messages (RFC 6455 §9.1).
    pub extensions: Vec<Extension>,
    /// The parameters of permessage-deflate, if it is among them.
    pub deflate: Option<DeflateParams>,
}

impl Negotiated {
    /// Checks that everything selected was offered, and writes the headers of the response.
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
