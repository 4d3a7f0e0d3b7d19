//! Servers and clients in the process of the tests, for what the program's own do not do.

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{Client, HttpVersion, Message, WebSocket};
use tokio::runtime::Runtime;

/// Starts a server without TLS. It stops when the runtime is dropped. Returns its URL.
pub(crate) fn server<F>(handler: fn(WebSocketRequest) -> F) -> (Runtime, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = Runtime::new().expect("a runtime");
    let url = runtime.block_on(async {
        let server = h2ws::Server::builder().bind("127.0.0.1:0").await;
        let server = server.expect("a free port");
        let address = server.local_addr().expect("an address");
        tokio::spawn(server.serve(handler).into_future());
        format!("ws://{address}/")
    });
    (runtime, url)
}

pub(crate) fn client(version: HttpVersion) -> Client {
    let builder = Client::builder().version(version);
    builder.build().expect("a client")
}

pub(crate) async fn assert_echo(socket: &mut WebSocket, text: &'static str) {
    socket.send(Message::text(text)).await.expect("sent");
    let echo = socket.next().await.expect("an echo").expect("no error");
    assert_eq!(echo, Message::text(text));
}

/// Waits until the condition holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, holds)
        .await
        .expect("the condition holds");
}
