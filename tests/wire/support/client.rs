//! An h2ws client against hand-written servers.

use std::net::SocketAddr;

use futures_util::StreamExt;
use h2ws::client::ClientBuilder;
use h2ws::{Client, HttpVersion, Message, WebSocket};
use tokio::net::{TcpListener, TcpSocket};

use super::raw::{ENABLE_CONNECT_PROTOCOL, Raw};
use super::{tls, until, within};

/// Configures a client for HTTP/2 with prior knowledge.
pub(crate) fn http2() -> ClientBuilder {
    Client::builder()
        .tls(tls::none())
        .version(HttpVersion::Http2)
}

/// Configures a client for HTTP/1.1.
pub(crate) fn http1() -> ClientBuilder {
    Client::builder()
        .tls(tls::none())
        .version(HttpVersion::Http1)
}

/// Binds a listener on a free port of the loopback interface.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Accepts the next connection as a raw server that supports RFC 8441 and sends
/// these settings.
pub(crate) async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Raw {
    let mut all = vec![(ENABLE_CONNECT_PROTOCOL, 1)];
    all.extend(settings);
    let mut raw = Raw::accept(within(listener.accept()).await.unwrap().0).await;
    raw.send_settings(&all).await;
    raw
}

/// Sends a message and asserts that the peer echoes it.
pub(crate) async fn echo(ws: &mut WebSocket, text: &str) {
    within(ws.send(Message::text(text.to_owned())))
        .await
        .unwrap();
    let back = within(ws.next()).await.expect("open").unwrap();
    assert_eq!(back, Message::text(text.to_owned()));
}

/// Waits until the client has no open streams.
pub(crate) async fn no_stream_is_left(client: &Client) {
    until(|| client.connections().iter().all(|c| c.streams_open == 0)).await;
}

/// Waits until the client has reset at least `resets` streams in total.
pub(crate) async fn resets(client: &Client, resets: u64) {
    until(|| {
        let connections = client.connections();
        connections.iter().map(|c| c.resets_sent).sum::<u64>() >= resets
    })
    .await;
}

/// Binds a listener whose connections have small socket buffers.
pub(crate) fn narrow() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// An h2ws client connected to a hand-written server.
///
/// A healthy sibling socket is open on stream 1 of their connection. The test
/// opens stream 3 by connecting to `url` again, does to it whatever it wants to
/// test, and ends with [`unharmed`](Self::unharmed).
pub(crate) struct ClientFixture {
    pub(crate) client: Client,
    pub(crate) listener: TcpListener,
    pub(crate) peer: Raw,
    pub(crate) sibling: WebSocket,
    pub(crate) url: String,
}

impl ClientFixture {
    /// Uses the client of [`http2`] with its defaults.
    pub(crate) async fn new() -> Self {
        Self::with(http2().build().unwrap()).await
    }

    /// Opens the sibling with a client of the caller's.
    pub(crate) async fn with(client: Client) -> Self {
        let (listener, addr) = listen().await;
        let url = format!("ws://{addr}/");
        let (sibling, peer) = tokio::join!(client.connect(&url), async {
            let mut peer = accept(&listener, &[]).await;
            peer.take(1).await;
            peer
        });
        Self {
            client,
            listener,
            peer,
            sibling: sibling.unwrap(),
            url,
        }
    }

    /// Ends the test: asserts that the sibling still echoes and closes cleanly,
    /// that the client has no open streams left, and that it has used one
    /// connection throughout.
    pub(crate) async fn unharmed(mut self) {
        let (peer, sibling) = (&mut self.peer, &mut self.sibling);
        tokio::join!(peer.answer(1), echo(sibling, "still here"));
        let (closed, ()) = tokio::join!(sibling.close(None), peer.answer_close(1));
        closed.unwrap();
        no_stream_is_left(&self.client).await;
        assert_eq!(self.client.connections().len(), 1);
    }
}
