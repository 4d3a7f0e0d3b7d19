//! Tests of a connection that has used up its stream identifiers, with a limit far below 2^30.

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

async fn assert_echo(socket: &mut WebSocket) {
    socket.send(Message::text("hello")).await.unwrap();
    let back = socket.next().await.unwrap().unwrap();
    assert_eq!(back, Message::text("hello"));
}

/// RFC 9113 §5.1.1: a connection whose stream identifiers are used up is replaced by a new one,
/// and its open WebSockets continue.
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
    let connection_of = |socket: &WebSocket| match socket.transport() {
        crate::Transport::Http2 { connection, .. } => connection,
        other => panic!("{other}"),
    };
    let mut connections: Vec<_> = sockets.iter().map(connection_of).collect();
    connections.dedup();
    assert_eq!(connections.len(), 4);
    for socket in &mut sockets {
        assert_echo(socket).await;
    }
    // Concurrently, and one after another.
    let concurrent = (0..50).map(|_| client.connect(&url));
    for socket in futures_util::future::join_all(concurrent).await {
        assert_echo(&mut socket.unwrap()).await;
    }
    for _ in 0..10 {
        let mut socket = client.connect(&url).await.unwrap();
        assert_echo(&mut socket).await;
        socket.close(None).await.unwrap();
    }
    server.abort();
}
