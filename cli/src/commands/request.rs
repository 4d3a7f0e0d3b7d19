//! Clients and requests as the command line asks for them.

use std::time::Duration;

use h2ws::handshake::Target;
use h2ws::{Client, ClientBuilder, DeflateConfig, RequestBuilder};

use crate::args::RequestArgs;
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
        let mut builder = Client::builder().version(self.version.version());
        if self.deflate {
            builder = builder.deflate(DeflateConfig::default());
        }
        builder = match &self.proxy {
            Some(proxy) => builder.proxy(&proxy.0),
            None if self.no_proxy => builder.no_proxy(),
            None => builder.proxy_from_env(),
        };
        // Cleartext works on a machine that trusts nobody.
        let secure = url.parse::<Target>().is_ok_and(|target| target.secure());
        if !secure && !self.insecure && self.cacert.is_none() {
            return Ok(builder);
        }
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(tls::identity(cert, key)?),
            _ => None,
        };
        Ok(builder.tls(if self.insecure {
            tls::insecure(identity)?
        } else {
            tls::client_config(self.cacert.as_deref(), identity)?
        }))
    }

    pub(crate) fn request(&self, client: &Client, url: &str) -> RequestBuilder {
        let mut request = client.request(url);
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        for name in &self.subprotocol {
            request = request.subprotocol(name);
        }
        if let Some(origin) = &self.origin {
            request = request.origin(origin.as_str());
        }
        request
    }
}
