//! Clients and requests as the command line asks for them.

use std::time::Duration;

use h2ws::handshake::Target;
use h2ws::{Client, ClientBuilder, DeflateConfig, RequestBuilder};

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
        Ok(match (self.way.insecure, secure) {
            (true, _) => builder.tls(tls::insecure()?),
            (false, true) => builder.tls(tls::platform()?),
            (false, false) => builder,
        })
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
}
