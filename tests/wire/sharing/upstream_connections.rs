//! Which WebSockets of a bridge share HTTP/2 connections to an upstream: those of
//! all clients, up to `max_shared_sockets` of each. Further ones have connections
//! of their client alone.

use h2ws::{Client, HttpVersion, WebSocket};

use crate::support::bridge::{Bridging, to};
use crate::support::client::{echo, http1, http2};
use crate::support::h2peer::EchoServer;
use crate::support::{until, within};

struct Setup {
    /// The bridge's client.
    upstreams: Client,
    bridging: Bridging,
    _server: EchoServer,
}

impl Setup {
    async fn sharing(sockets: Option<usize>) -> Self {
        let server = EchoServer::start(|_| ()).await;
        let upstreams = http2().build().unwrap();
        let builder = to("ws", server.addr, HttpVersion::Http2)
            .client(upstreams.clone())
            .max_shared_sockets(sockets);
        let bridging = Bridging::start(builder).await;
        Self {
            upstreams,
            bridging,
            _server: server,
        }
    }

    async fn open(&self, client: &Client, sockets: usize) -> Vec<WebSocket> {
        let mut opened = Vec::new();
        for _ in 0..sockets {
            let mut ws = within(client.connect(&self.bridging.url())).await.unwrap();
            echo(&mut ws, "open").await;
            opened.push(ws);
        }
        opened
    }

    /// Returns the number of sockets on each connection to the upstream, the
    /// fewest first.
    fn sockets(&self) -> Vec<u64> {
        let connections = self.upstreams.connections();
        let mut open: Vec<_> = connections.iter().map(|c| c.streams_open).collect();
        open.sort_unstable();
        open
    }
}

#[tokio::test]
async fn what_a_client_may_not_share_has_a_connection_of_its_own() {
    let setup = Setup::sharing(Some(2)).await;
    let (busy, quiet) = (http2().build().unwrap(), http2().build().unwrap());
    let sockets = setup.open(&busy, 5).await;
    assert_eq!(setup.sockets(), [2, 3]);
    let _quiet = setup.open(&quiet, 1).await;
    let _quiet_http1 = setup.open(&http1().build().unwrap(), 1).await;
    assert_eq!(setup.sockets(), [3, 4], "they share with two of the five");
    drop(sockets);
    until(|| setup.sockets() == [0, 2]).await;
    let _others = setup.open(&http2().build().unwrap(), 6).await;
    assert_eq!(setup.sockets(), [4, 4], "the idle connection is used again");
}

/// Each socket over HTTP/1.1 has a connection to the bridge of its own.
#[tokio::test]
async fn over_http1_an_address_is_a_client() {
    let setup = Setup::sharing(Some(2)).await;
    let _sockets = setup.open(&http1().build().unwrap(), 5).await;
    let _more = setup.open(&http1().build().unwrap(), 1).await;
    assert_eq!(setup.sockets(), [2, 4]);
    let _other = setup.open(&http2().build().unwrap(), 1).await;
    assert_eq!(setup.sockets(), [3, 4]);
}

#[tokio::test]
async fn without_a_limit_all_sockets_share_a_connection() {
    let setup = Setup::sharing(None).await;
    let _sockets = setup.open(&http2().build().unwrap(), 5).await;
    assert_eq!(setup.sockets(), [5]);
}
