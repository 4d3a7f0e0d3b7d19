//! A server whose places are all taken: connections that are not used make way,
//! those in use stay.

use futures_util::StreamExt;
use h2ws::{Message, Server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::client::http2;
use crate::support::raw::Raw;
use crate::support::{server, within};

/// Connections of HTTP/2 without a stream, and ones that never said a word.
#[tokio::test]
async fn unused_connections_keep_nobody_out() {
    let server = server::echo(Server::builder().max_connections(3)).await;
    let mut used = Raw::connect(server.addr).await;
    used.open(1, "/used").await;
    let _idle = Raw::connect(server.addr).await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    for _ in 0..2 {
        let client = http2().build().unwrap();
        let mut socket = within(client.connect(&server.url("/"))).await.unwrap();
        socket.send(Message::text("in")).await.unwrap();
        assert!(within(socket.next()).await.unwrap().is_ok());
        std::mem::forget(socket);
        std::mem::forget(client);
    }
    used.echo(1, "not cut").await;
    assert_eq!(within(silent.read(&mut [0])).await.unwrap(), 0);
}

/// Of one client so many; what is beyond is closed, and what ends makes room.
#[tokio::test]
async fn a_client_has_so_many_connections() {
    let server = server::echo(Server::builder().max_connections_per_client(1)).await;
    let mut used = Raw::connect(server.addr).await;
    used.open(1, "/used").await;
    let mut beyond = TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(within(beyond.read(&mut [0])).await.unwrap(), 0);
    used.echo(1, "not cut").await;
    used.close(1).await;
    drop(used);
    let client = http2().build().unwrap();
    while within(client.connect(&server.url("/"))).await.is_err() {
        tokio::task::yield_now().await;
    }
}
