//! Messages in very many frames: honest short ones pass with default limits,
//! frames that bring nothing do not go on for ever (RFC 6455 §10.4).

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

fn cut_into(fragment_size: usize) -> WebSocketConfig {
    WebSocketConfig::default().limits(Limits::default().fragment_size(fragment_size))
}

/// Both ways: one end cuts what it sends, the other has default limits.
#[tokio::test]
async fn a_large_message_in_short_frames_passes_with_default_limits() {
    let message = Message::text("0123456789abcdef".repeat(4 << 16));
    for version in VERSIONS {
        for (at_client, at_server) in [(64, 128 << 10), (128 << 10, 64)] {
            let builder = Server::builder().socket(cut_into(at_server));
            let server = server::echo(builder).await;
            let client = client(version, cut_into(at_client));
            let mut socket = client.connect(&server.url("/")).await.unwrap();
            within(socket.send(message.clone())).await.unwrap();
            let back = within(socket.next()).await.unwrap().unwrap();
            assert!(back == message, "{version:?}, {at_client}, {at_server}");
        }
    }
}

/// Of frames that are too short to count for anything there may be some.
#[tokio::test]
async fn a_message_in_frames_of_a_byte_ends_with_1009() {
    for version in VERSIONS {
        let mut server = server::echo(Server::builder()).await;
        let client = client(version, cut_into(1));
        let mut socket = client.connect(&server.url("/")).await.unwrap();
        within(socket.send(Message::binary(vec![7; 16_000])))
            .await
            .unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap().len(), 16_000);
        // Refused before it is written to its end.
        let _ = within(socket.send(Message::binary(vec![7; 1_000_000]))).await;
        while let Some(Ok(_)) = within(socket.next()).await {}
        assert_eq!(socket.close_code(), Some(CloseCode::MESSAGE_TOO_BIG));
        let error = server.ended().await.error;
        let refused = ProtocolError::TooManyFragments { limit: 16_384 };
        assert!(
            matches!(&error, Some(Error::Protocol(error)) if *error == refused),
            "{version:?}: {error:?}"
        );
    }
}
