//! The bytes of a client, behind the HTTP/2 preface or as HTTP/1.1, to a real server: whatever they
//! are, the connection ends, no message is larger than allowed, and nothing is left.

use h2ws::Server;
use h2ws::server::WebSocketRequest;
use tokio::io::duplex;

use super::connections::{self, MAX_MESSAGE, Manner};
use super::input::Input;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let over_http2 = input.boolean();
    let flags = input.byte();
    let manner = Manner::new(flags, input.byte());
    let deflated = flags & 8 == 0;
    let drains = flags & 16 != 0;
    let mut bytes = Vec::new();
    if over_http2 {
        bytes.extend_from_slice(PREFACE);
        bytes.extend_from_slice(EMPTY_SETTINGS);
    }
    bytes.extend_from_slice(input.rest());
    connections::run(|limited| async move {
        let server = Server::builder()
            .http2(limited.http2())
            .socket(limited.socket())
            .deflate(deflated.then(|| limited.deflate()))
            .unbound()
            .expect("valid settings");
        let connections = server.serve(echo).connections();
        let (near, far) = duplex(1 << 12);
        let peer = "192.0.2.1:1".parse().expect("an address");
        let serving = tokio::spawn(connections.serve_connection(far, peer));
        manner.behave(near, &bytes).await;
        if drains {
            connections.shutdown().await;
        }
        // How it failed is up to the client.
        let _ = serving.await.expect("no panic");
    });
}

async fn echo(request: WebSocketRequest) {
    let Ok(mut socket) = request.accept().await else {
        return;
    };
    while let Some(Ok(message)) = socket.recv().await {
        assert!(message.len() <= MAX_MESSAGE);
        if socket.send(message).await.is_err() {
            break;
        }
    }
}
