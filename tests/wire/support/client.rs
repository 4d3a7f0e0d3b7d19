//! A client of ours against servers by hand.

use std::net::SocketAddr;

use futures_util::StreamExt;
use h2ws::client::ClientBuilder;
use h2ws::{Client, HttpVersion, Message, WebSocket};
use tokio::net::{TcpListener, TcpSocket};

use super::raw::{ENABLE_CONNECT_PROTOCOL, Raw};
use super::{tls, until, within};

/// HTTP/2 with prior knowledge.
pub(crate) fn http2() -> ClientBuilder {
    Client::builder()
        .tls(tls::none())
        .version(HttpVersion::Http2)
}

/// HTTP/1.1.
pub(crate) fn http1() -> ClientBuilder {
    Client::builder()
        .tls(tls::none())
        .version(HttpVersion::Http1)
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A raw server's end of the next connection, with RFC 8441 and these
/// settings.
pub(crate) async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Raw {
    let mut all = vec![(ENABLE_CONNECT_PROTOCOL, 1)];
    all.extend(settings);
    let mut raw = Raw::accept(within(listener.accept()).await.unwrap().0).await;
    raw.send_settings(&all).await;
    raw
}

/// Sends a message and expects it back.
pub(crate) async fn echo(ws: &mut WebSocket, text: &str) {
    within(ws.send(Message::text(text.to_owned())))
        .await
        .unwrap();
    let back = within(ws.next()).await.expect("open").unwrap();
    assert_eq!(back, Message::text(text.to_owned()));
}

/// Waits until no stream of the client's is open.
pub(crate) async fn no_stream_is_left(client: &Client) {
    until(|| client.connections().iter().all(|c| c.streams_open == 0)).await;
}

/// Waits until the client has reset so many streams in all.
pub(crate) async fn resets(client: &Client, resets: u64) {
    until(|| {
        let connections = client.connections();
        connections.iter().map(|c| c.resets_sent).sum::<u64>() >= resets
    })
    .await;
}

/// A listener whose connections buffer little.
pub(crate) fn narrow() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A client with one socket open on stream 1 of a raw server's connection,
/// which has to live through whatever happens on stream 3.
pub(crate) struct ClientFixture {
    pub(crate) client: Client,
    pub(crate) listener: TcpListener,
    pub(crate) peer: Raw,
    pub(crate) sibling: WebSocket,
    pub(crate) url: String,
}

impl ClientFixture {
    pub(crate) async fn new() -> Self {
        Self::with(http2().build().unwrap()).await
    }

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

    /// The sibling still works and closes, and no stream is left.
    pub(crate) async fn unharmed(mut self) {
        let (peer, sibling) = (&mut self.peer, &mut self.sibling);
        tokio::join!(peer.answer(1), echo(sibling, "still here"));
        let (closed, ()) = tokio::join!(sibling.close(None), peer.answer_close(1));
        closed.unwrap();
        no_stream_is_left(&self.client).await;
        assert_eq!(self.client.connections().len(), 1);
    }
}
