//! Limits on the number of connections: at the limit, unused connections are
//! closed to admit new ones, and connections in use are kept.

use futures_util::StreamExt;
use h2ws::{Message, Server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::client::http2;
use crate::support::raw::Raw;
use crate::support::{server, within};

/// Unused are HTTP/2 connections without a stream, and connections on which the
/// client has not sent anything.
#[tokio::test]
async fn unused_connections_are_closed_to_admit_new_ones() {
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

/// A connection above the limit of its client is closed. When a connection ends,
/// another is admitted.
#[tokio::test]
async fn the_connections_of_one_client_are_limited() {
    let server = server::echo(Server::builder().max_connections_per_client(1)).await;
    let mut used = Raw::connect(server.addr).await;
    used.open(1, "/used").await;
    let mut above_limit = TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(within(above_limit.read(&mut [0])).await.unwrap(), 0);
    used.echo(1, "not cut").await;
    used.close(1).await;
    drop(used);
    let client = http2().build().unwrap();
    while within(client.connect(&server.url("/"))).await.is_err() {
        tokio::task::yield_now().await;
    }
}
