//! Clients and requests as the command line asks for them.

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

use crate::args::{RequestArgs, WayArgs};
use crate::{Failure, Usage, tls};

/// How long the program waits, before it exits, for its last frames to leave.
pub(crate) const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Ends a client's connections in order.
pub(crate) async fn shutdown(client: &Client) {
    // Whoever holds out longer is cut off by the exit.
    let _ = tokio::time::timeout(LAST_FRAMES, client.shutdown()).await;
}

/// A client, if there is such a proxy.
pub(crate) fn build(builder: ClientBuilder) -> Result<Client, Failure> {
    builder.build().map_err(|error| match error {
        Error::Proxy(ProxyError::Url(error)) => Usage::of("--proxy", &error).into(),
        error => error.into(),
    })
}

/// Why there is no socket to `url`: what failed, where, and what to try.
///
/// | what happened | in addition to it |
/// |---|---|
/// | a refusal | its body, which says why more often than its status does |
/// | a certificate that is not good | why, once, and the option that ignores it |
/// | no TLS where `wss://` is spoken | the other scheme |
/// | no HTTP where `ws://` is spoken | the other scheme |
/// | no connection in time | to where |
pub(crate) fn unopened(error: Error, url: &str) -> Failure {
    let target = url.parse::<Target>().ok();
    let is_clear = target.as_ref().is_some_and(|target| !target.secure());
    match &error {
        Error::Rejected(refusal) => {
            let body = String::from_utf8_lossy(&refusal.body);
            match body.trim() {
                "" => error.into(),
                body => format!("{error}: {body}").into(),
            }
        }
        Error::Tls(io) => match tls::advice(io) {
            Some(advice) => format!("TLS handshake: {advice}").into(),
            None => error.into(),
        },
        Error::Timeout(h2ws::Timeout::Connect) => match target {
            Some(target) => {
                let place = format!("{}:{}", target.host(), target.port());
                format!("connecting to {place} took too long").into()
            }
            None => error.into(),
        },
        Error::Io(_) | Error::GoAway { by_peer: false, .. } | Error::Closed if is_clear => {
            format!("{error} (if the server speaks TLS there, it is a wss:// URL)").into()
        }
        _ => error.into(),
    }
}

impl RequestArgs {
    /// For requests to `url`.
    pub(crate) fn client(&self, url: &str) -> Result<ClientBuilder, Failure> {
        // Not shown where it is wrong: there may be a password in it.
        let target: Target = url
            .parse()
            .map_err(|error: UrlError| Usage::options(&error))?;
        self.way.check(&target)?;
        let mut builder = self.way.client().version(self.version.version());
        if self.deflate {
            builder = builder.deflate(DeflateConfig::default());
        }
        // Cleartext works on a machine that trusts nobody.
        if !target.secure() && !self.way.insecure && self.way.cacert.is_none() {
            return Ok(builder);
        }
        let tls = tls::verified_by(self.way.verifier()?, self.way.identity()?)?;
        Ok(builder.tls(tls))
    }

    pub(crate) fn request(&self, client: &Client, url: &str) -> RequestBuilder {
        let mut request = client.request(url);
        for (name, value) in &self.way.headers {
            request = request.header(name, value);
        }
        for name in &self.way.subprotocol {
            request = request.subprotocol(name);
        }
        if let Some(origin) = &self.way.origin {
            request = request.origin(origin);
        }
        request
    }
}

impl WayArgs {
    /// The header fields to send.
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

    /// Whether a request can be made of what the command line says, before
    /// anybody is asked.
    pub(crate) fn check(&self, target: &Target) -> Result<(), Usage> {
        let offer = self
            .subprotocol
            .iter()
            .fold(Offer::default(), Offer::subprotocol);
        let made = || -> Result<(), HandshakeError> {
            extended_connect::request(target, self.headers(), &offer, None)?;
            upgrade::request(target, self.headers(), &offer, &Key::new([0; 16]))?;
            Ok(())
        };
        made().map_err(|error| Usage::options(&error))
    }

    /// Through the proxy that was asked for.
    pub(crate) fn client(&self) -> ClientBuilder {
        let builder = Client::builder().websocket_key(self.websocket_key);
        match &self.proxy {
            Some(proxy) => builder.proxy(&proxy.0),
            None if self.no_proxy => builder.no_proxy(),
            None => builder.proxy_from_env(),
        }
    }

    /// Who says whether the server's certificate is good.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
        tls::verifier(self.insecure, self.cacert.as_deref())
    }

    /// What the program shows if the server asks for a certificate.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, Failure> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => tls::identity(cert, key).map(Some),
            _ => Ok(None),
        }
    }
}
