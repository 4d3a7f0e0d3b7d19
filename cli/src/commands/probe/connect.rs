//! The way to a server: its addresses, TCP or a tunnel, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2ws::handshake::Target;
use h2ws::{Client, Error, Timeout};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::facts::{Facts, Link};
use super::finding::{Finding, Step};
use super::tls;

/// Addresses tried; who has more is not better tested by all of them.
const ADDRESSES: usize = 6;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
pub(super) type BoxIo = Box<dyn Io>;

/// How servers are reached.
pub(super) struct Way {
    /// Knows the proxy.
    pub(super) client: Client,
    pub(super) tls: ClientConfig,
    /// Asked behind the one that takes certificates down.
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) insecure: bool,
    /// Of each step.
    pub(super) timeout: Duration,
}

/// What ALPN says (RFC 7301 §3.1).
pub(super) const H2: &str = "h2";
pub(super) const HTTP1: &str = "http/1.1";

impl Way {
    /// Looks up where `facts.target` is.
    pub(super) async fn resolve(&self, facts: &mut Facts) -> Result<(), Finding> {
        let url = facts.target.to_string();
        facts.proxy = self.client.proxy_for(&url).ok().flatten();
        if facts.proxy.is_some() {
            return Ok(());
        }
        let (host, port) = (facts.target.host().to_owned(), facts.target.port());
        let lookup = tokio::net::lookup_host((host, port));
        let addresses = match timeout(self.timeout, lookup).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(Finding::Resolve(error.to_string())),
            Err(_) => return Err(Finding::Resolve("no answer in time".into())),
        };
        facts.addresses = addresses.collect();
        Ok(())
    }

    /// Connects, offering `alpn` where there is TLS. What was seen is in
    /// `link` also where that fails.
    pub(super) async fn connect(
        &self,
        facts: &Facts,
        alpn: &[&str],
        link: &mut Link,
    ) -> Result<BoxIo, Finding> {
        let began = Instant::now();
        let io = if facts.proxy.is_some() {
            self.tunnel(&facts.target).await?
        } else {
            // A second connection goes where the first went.
            let known = facts.first.as_ref().and_then(|first| first.peer);
            let known = known.as_ref().map(std::slice::from_ref);
            let (stream, peer) = self.tcp(known.unwrap_or(&facts.addresses)).await?;
            link.peer = Some(peer);
            Box::new(stream)
        };
        link.connect = began.elapsed();
        if !facts.target.secure() {
            return Ok(io);
        }
        let tls = link.tls.insert(Default::default());
        tls::handshake(self, facts.target.host(), alpn, io, tls).await
    }

    async fn tunnel(&self, target: &Target) -> Result<BoxIo, Finding> {
        match self.client.dial(&target.to_string()).await {
            Ok(io) => Ok(Box::new(io)),
            Err(Error::Timeout(Timeout::Connect)) => Err(Finding::Silent(Step::Proxy)),
            Err(error) => Err(Finding::Tunnel(with_causes(&error))),
        }
    }

    /// The first address that answers. One after the other: a person who asks
    /// about a server wants to know which of its addresses are dead.
    async fn tcp(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Finding> {
        let mut failed = Vec::new();
        for address in addresses.iter().take(ADDRESSES) {
            let error = match timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A request for speed: without it nothing is wrong.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, *address));
                }
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            failed.push(format!("{address}: {error}"));
        }
        Err(Finding::Unreachable(failed.join("; ")))
    }
}

/// An error and what caused it, in a line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
