//! Tests that would otherwise take 2^30 WebSockets.

use futures_util::StreamExt;

use super::{Client, HttpVersion};
use crate::server::WebSocketRequest;
use crate::{Message, Server, WebSocket};

async fn echo(request: WebSocketRequest) {
    let Ok(mut socket) = request.accept().await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let _ = socket.send(message).await;
    }
}

async fn echoes(socket: &mut WebSocket) {
    socket.send(Message::text("hello")).await.unwrap();
    let back = socket.next().await.unwrap().unwrap();
    assert_eq!(back, Message::text("hello"));
}

/// RFC 9113 §5.1.1: a connection whose stream identifiers are used up is replaced by another,
/// and its WebSockets continue.
#[tokio::test]
async fn a_connection_is_replaced_when_its_stream_identifiers_run_out() {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", server.local_addr().unwrap());
    let server = tokio::spawn(server.serve(echo).into_future());
    let mut builder = Client::builder().version(HttpVersion::Http2);
    builder.settings.max_streams = 3;
    // A replaced connection does not count towards `max_connections`.
    let client = builder.max_connections(1).build().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(client.connect(&url).await.unwrap());
    }
    let of = |socket: &WebSocket| match socket.transport() {
        crate::Transport::Http2 { connection, .. } => connection,
        other => panic!("{other}"),
    };
    let mut connections: Vec<_> = sockets.iter().map(of).collect();
    connections.dedup();
    assert_eq!(connections.len(), 4);
    for socket in &mut sockets {
        echoes(socket).await;
    }
    // Concurrently, and one after another.
    let together = (0..50).map(|_| client.connect(&url));
    for socket in futures_util::future::join_all(together).await {
        echoes(&mut socket.unwrap()).await;
    }
    for _ in 0..10 {
        let mut socket = client.connect(&url).await.unwrap();
        echoes(&mut socket).await;
        socket.close(None).await.unwrap();
    }
    server.abort();
}
