//! Clients and requests as the command line asks for them.

use std::sync::Arc;
use std::time::Duration;

use h2ws::handshake::Target;
use h2ws::tls::Identity;
use h2ws::{Client, ClientBuilder, DeflateConfig, RequestBuilder};
use rustls::client::danger::ServerCertVerifier;

use crate::args::{RequestArgs, WayArgs};
use crate::{Failure, tls};

/// How long the program waits, before it exits, for its last frames to leave.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Ends a client's connections in order.
pub(crate) async fn shutdown(client: &Client) {
    // Whoever holds out longer is cut off by the exit.
    let _ = tokio::time::timeout(LAST_FRAMES, client.shutdown()).await;
}

impl RequestArgs {
    /// For requests to `url`.
    pub(crate) fn client(&self, url: &str) -> Result<ClientBuilder, Failure> {
        let mut builder = self.way.client().version(self.version.version());
        if self.deflate {
            builder = builder.deflate(DeflateConfig::default());
        }
        // Cleartext works on a machine that trusts nobody.
        let secure = url.parse::<Target>().is_ok_and(|target| target.secure());
        if !secure && !self.way.insecure && self.way.cacert.is_none() {
            return Ok(builder);
        }
        let tls = tls::verified_by(self.way.verifier()?, self.way.identity()?)?;
        Ok(builder.tls(tls))
    }

    pub(crate) fn request(&self, client: &Client, url: &str) -> RequestBuilder {
        let mut request = client.request(url);
        for (name, value) in &self.way.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        for name in &self.way.subprotocol {
            request = request.subprotocol(name);
        }
        if let Some(origin) = &self.way.origin {
            request = request.origin(origin.as_str());
        }
        request
    }
}

impl WayArgs {
    /// Through the proxy that was asked for.
    pub(crate) fn client(&self) -> ClientBuilder {
        let builder = Client::builder();
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
