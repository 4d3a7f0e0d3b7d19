//! Connects to a server: name resolution, TCP or a proxy's tunnel, TLS.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use h2ws::handshake::{HostPort, Target};
use h2ws::{Client, Error, Timeout};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::facts::{Facts, Link};
use super::finding::{Finding, Step};
use super::io::BoxIo;
use super::tls::{self, TlsOptions};
use crate::error::with_causes;

/// Maximum number of addresses that are tried.
const ADDRESSES: usize = 6;

pub(super) struct Connector {
    /// Selects the proxy, and opens tunnels through it.
    pub(super) client: Client,
    /// Where to connect instead of to the URL's host.
    pub(super) connect_to: Option<HostPort>,
    pub(super) tls: TlsOptions,
    /// Time limit of each step.
    pub(super) timeout: Duration,
}

impl Connector {
    /// Resolves the host of `facts.target`, or finds the proxy for it.
    pub(super) async fn resolve(&self, facts: &mut Facts) -> Result<(), Finding> {
        let (host, port) = match &self.connect_to {
            Some(place) => (place.host().to_owned(), place.port().unwrap_or_default()),
            None => {
                let url = facts.target.to_string();
                facts.proxy = self.client.proxy_for(&url).ok().flatten();
                if facts.proxy.is_some() || facts.target.unix_path().is_some() {
                    return Ok(());
                }
                (facts.target.host().to_owned(), facts.target.port())
            }
        };
        let lookup = tokio::net::lookup_host((&*host, port));
        let unresolved = |why: &dyn Display| Finding::Resolve(format!("{host}: {why}"));
        let addresses = match timeout(self.timeout, lookup).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(unresolved(&error)),
            Err(_) => return Err(unresolved(&"timed out")),
        };
        facts.addresses = addresses.collect();
        Ok(())
    }

    /// Connects, offering `alpn` if the URL asks for TLS. Stores in `link` what was learned, even on
    /// failure.
    pub(super) async fn connect(
        &self,
        facts: &Facts,
        alpn: &[&str],
        link: &mut Link,
    ) -> Result<BoxIo, Finding> {
        let began = Instant::now();
        let io = if facts.proxy.is_some() {
            self.tunnel(&facts.target).await?
        } else if self.connect_to.is_none() && facts.target.unix_path().is_some() {
            self.unix(&facts.target).await?
        } else {
            // The second connection uses the address of the first.
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
        tls::handshake(&self.tls, self.timeout, facts.target.host(), alpn, io, tls).await
    }

    async fn tunnel(&self, target: &Target) -> Result<BoxIo, Finding> {
        match self.client.dial(&target.to_string()).await {
            Ok(io) => Ok(Box::new(io)),
            Err(Error::Timeout(Timeout::Connect)) => Err(Finding::Silent(Step::Proxy)),
            Err(error) => Err(Finding::Tunnel(with_causes(&error))),
        }
    }

    async fn unix(&self, target: &Target) -> Result<BoxIo, Finding> {
        match self.client.dial(target).await {
            Ok(io) => Ok(Box::new(io)),
            Err(error) => Err(Finding::Unreachable(with_causes(&error))),
        }
    }

    /// Connects to the first address that accepts. Tries one after the other, so that the report can
    /// name the addresses that do not respond.
    async fn tcp(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Finding> {
        let mut failed = Vec::new();
        for address in addresses.iter().take(ADDRESSES) {
            let error = match timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Only an optimization, so a failure does not matter.
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
