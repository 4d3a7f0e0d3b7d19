//! A client of ours against servers by hand.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use h2ws::{Client, ClientBuilder, HttpVersion, Message, WebSocket};
use tokio::net::TcpListener;

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
