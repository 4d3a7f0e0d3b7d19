//! What `connect`, `probe` and `bench` share: clients and requests made from the options, and the
//! explanation of a failed connection attempt.

use std::sync::Arc;
use std::time::Duration;

use h2ws::client::{ClientBuilder, RequestBuilder};
use h2ws::handshake::DeflateConfig;
use h2ws::handshake::{HandshakeError, Key, Offer, Target, UrlError, extended_connect, upgrade};
use h2ws::proxy::ProxyError;
use h2ws::tls::Identity;
use h2ws::{Client, Error};
use http::HeaderMap;
use http::header::ORIGIN;
use rustls::client::danger::ServerCertVerifier;

use crate::args::{ConnectionArgs, RequestArgs};
use crate::error::{Failure, Usage, with_causes};
use crate::tls;

/// How long the program waits for its last frames to be sent before it exits.
pub(crate) const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Closes a client's connections in order, as far as peers allow within [`LAST_FRAMES`].
pub(crate) async fn shutdown(client: &Client) {
    let _ = tokio::time::timeout(LAST_FRAMES, client.shutdown()).await;
}

/// Builds a client. An invalid proxy URL is bad usage.
pub(crate) fn build(builder: ClientBuilder) -> Result<Client, Failure> {
    builder.build().map_err(|error| match error {
        Error::Proxy(ProxyError::Url(error)) => Usage::option("--proxy", &error).into(),
        error => error.into(),
    })
}

/// Explains why `url` could not be opened: what failed, where, and what to try.
///
/// | error | added to it |
/// |---|---|
/// | rejected by the server | the response's body, which often gives the reason |
/// | invalid certificate | why, and the option that skips verification |
/// | the server of a `wss://` URL does not use TLS | to write `ws://` |
/// | the server of a `ws://` URL does not respond with HTTP | to try `wss://` |
/// | timeout | the address |
pub(crate) fn connect_error(error: Error, url: &str) -> Failure {
    let target = url.parse::<Target>().ok();
    let is_clear = target.as_ref().is_some_and(|target| !target.secure());
    match &error {
        Error::Rejected(response) => {
            let body = String::from_utf8_lossy(&response.body);
            match body.trim() {
                "" => error.into(),
                body => format!("{error}: {body}").into(),
            }
        }
        Error::Tls(io) => match tls::advice(io) {
            Some(advice) => format!("TLS handshake failed: {advice}").into(),
            None => error.into(),
        },
        Error::Timeout(h2ws::Timeout::Connect) => match target {
            Some(target) => {
                let place = match target.unix_path() {
                    Some(path) => path.display().to_string(),
                    None => format!("{}:{}", target.host(), target.port()),
                };
                format!("timed out connecting to {place}").into()
            }
            None => error.into(),
        },
        Error::Io(_) | Error::GoAway { by_peer: false, .. } | Error::Closed if is_clear => {
            let text = with_causes(&error);
            format!("{text} (if the server uses TLS on this port, try wss:// instead of ws://)")
                .into()
        }
        _ => error.into(),
    }
}

impl RequestArgs {
    /// Returns a client for requests to `url`.
    pub(crate) fn client(&self, url: &str) -> Result<ClientBuilder, Failure> {
        let target = self.connection.target(url)?;
        let mut builder = self.connection.client().version(self.version.version());
        if self.deflate {
            builder = builder.deflate(DeflateConfig::default());
        }
        // A machine without trusted certificates must be able to use cleartext.
        if !target.secure() && !self.connection.insecure && self.connection.cacert.is_none() {
            return Ok(builder);
        }
        let tls = tls::verified_by(self.connection.verifier()?, self.connection.identity()?)?;
        Ok(builder.tls(tls))
    }

    pub(crate) fn request(&self, client: &Client, url: &str) -> RequestBuilder {
        let mut request = client.request(url);
        for (name, value) in &self.connection.headers {
            request = request.header(name, value);
        }
        for name in &self.connection.subprotocol {
            request = request.subprotocol(name);
        }
        if let Some(origin) = &self.connection.origin {
            request = request.origin(origin);
        }
        request
    }
}

impl ConnectionArgs {
    /// Returns the header fields to send.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers: HeaderMap = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        if let Some(origin) = &self.origin {
            headers.insert(ORIGIN, origin.clone());
        }
        headers
    }

    /// Parses the URL, and checks that a valid request can be made from the options, before
    /// connecting.
    pub(crate) fn target(&self, url: &str) -> Result<Target, Usage> {
        // The error does not quote the URL, which may contain a password.
        let target: Target = url
            .parse()
            .map_err(|error: UrlError| Usage::options(&error))?;
        let offer = self
            .subprotocol
            .iter()
            .fold(Offer::default(), Offer::subprotocol);
        let made = || -> Result<(), HandshakeError> {
            extended_connect::request(&target, self.headers(), &offer, None)?;
            upgrade::request(&target, self.headers(), &offer, &Key::new([0; 16]))?;
            Ok(())
        };
        made().map_err(|error| Usage::options(&error))?;
        Ok(target)
    }

    /// Returns a client that uses the proxy of the options or the environment.
    pub(crate) fn client(&self) -> ClientBuilder {
        let builder = Client::builder().websocket_key(self.websocket_key);
        match &self.proxy {
            Some(proxy) => builder.proxy(&proxy.0),
            None if self.no_proxy => builder.no_proxy(),
            None => builder.proxy_from_env(),
        }
    }

    /// Returns the verifier of the server's certificate.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
        tls::verifier(self.insecure, self.cacert.as_deref())
    }

    /// Returns the certificate for servers that ask for one.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, Failure> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => tls::identity(cert, key).map(Some),
            _ => Ok(None),
        }
    }
}
