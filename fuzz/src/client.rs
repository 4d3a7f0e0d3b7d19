//! The bytes of a server, of either version of HTTP, to a real client: whatever they are, its calls
//! end, no message is larger than allowed, and nothing is left.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2ws::{Client, HttpVersion};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::connections::{self, MAX_MESSAGE, Manner, settle};
use super::input::Input;

/// SETTINGS with SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
const SETTINGS: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];

/// Where an input has this, the `Sec-WebSocket-Accept` of the request is put in its place.
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let version = input.choice(&[HttpVersion::Http1, HttpVersion::Http2]);
    let flags = input.byte();
    let manner = Manner::new(flags, input.byte());
    let deflated = flags & 8 == 0;
    let closes = flags & 16 == 0;
    let bytes: Arc<[u8]> = input.rest().into();
    connections::run(|limited| async move {
        let count = AtomicUsize::new(0);
        let client = Client::builder()
            .version(version)
            .http2(limited.http2())
            .socket(limited.socket())
            .deflate(deflated.then(|| limited.deflate()))
            .connector(move |_| {
                let (near, far) = duplex(1 << 12);
                let result = match count.fetch_add(1, Ordering::Relaxed) {
                    0..3 => Ok(near),
                    _ => Err(io::ErrorKind::ConnectionRefused.into()),
                };
                tokio::spawn(serve(far, version, manner, bytes.clone()));
                std::future::ready(result)
            })
            .build()
            .expect("valid settings");
        if let Ok(mut socket) = client.connect("ws://app.example/chat").await {
            let _ = socket.send("hello").await;
            while let Some(Ok(message)) = socket.recv().await {
                assert!(message.len() <= MAX_MESSAGE);
            }
            if closes {
                let _ = socket.close(None).await;
            }
        }
        client.shutdown().await;
    });
}

async fn serve(mut io: DuplexStream, version: HttpVersion, manner: Manner, bytes: Arc<[u8]>) {
    if version == HttpVersion::Http2 {
        if io.write_all(SETTINGS).await.is_ok() {
            // The client's request.
            settle().await;
            manner.behave(io, &bytes).await;
        }
        return;
    }
    let Some(key) = super::connections::request_key(&mut io).await else {
        return;
    };
    let accept = key.accept();
    let mut bytes = bytes.to_vec();
    let place = bytes
        .windows(ACCEPT.len())
        .position(|place| place == ACCEPT);
    if let Some(place) = place {
        bytes[place..place + ACCEPT.len()].copy_from_slice(accept.as_bytes());
    }
    manner.behave(io, &bytes).await;
}
