//! Messages in very many frames: reasonably short frames pass with default limits,
//! and the number of tiny frames per message is limited (RFC 6455 §10.4).

use futures_util::StreamExt;
use h2ws::Limits;
use h2ws::frame::ProtocolError;
use h2ws::{Client, CloseCode, Error, HttpVersion, Message, Server, WebSocketConfig};

use crate::support::{server, tls, within};

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

fn client(version: HttpVersion, socket: WebSocketConfig) -> Client {
    let builder = Client::builder().tls(tls::none()).version(version);
    builder.socket(socket).build().unwrap()
}

fn fragmented(fragment_size: usize) -> WebSocketConfig {
    WebSocketConfig::default().limits(Limits::default().fragment_size(fragment_size))
}

/// In each direction: one end fragments its messages, the other has default limits.
#[tokio::test]
async fn a_large_message_in_short_frames_passes_with_default_limits() {
    let message = Message::text("0123456789abcdef".repeat(4 << 16));
    for version in VERSIONS {
        for (at_client, at_server) in [(64, 128 << 10), (128 << 10, 64)] {
            let builder = Server::builder().socket(fragmented(at_server));
            let server = server::echo(builder).await;
            let client = client(version, fragmented(at_client));
            let mut socket = client.connect(&server.url("/")).await.unwrap();
            within(socket.send(message.clone())).await.unwrap();
            let back = within(socket.next()).await.unwrap().unwrap();
            assert!(back == message, "{version:?}, {at_client}, {at_server}");
        }
    }
}

/// A limited number of frames of one byte is accepted.
#[tokio::test]
async fn a_long_message_in_frames_of_one_byte_is_closed_with_1009() {
    for version in VERSIONS {
        let mut server = server::echo(Server::builder()).await;
        let client = client(version, fragmented(1));
        let mut socket = client.connect(&server.url("/")).await.unwrap();
        within(socket.send(Message::binary(vec![7; 16_000])))
            .await
            .unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap().len(), 16_000);
        // The server closes before the message is sent completely.
        let _ = within(socket.send(Message::binary(vec![7; 1_000_000]))).await;
        while let Some(Ok(_)) = within(socket.next()).await {}
        assert_eq!(socket.close_code(), Some(CloseCode::MESSAGE_TOO_BIG));
        let error = server.ended().await.error;
        let expected = ProtocolError::TooManyFragments { limit: 16_384 };
        assert!(
            matches!(&error, Some(Error::Protocol(error)) if *error == expected),
            "{version:?}: {error:?}"
        );
    }
}
