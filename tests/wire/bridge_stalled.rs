//! A bridge between two sides of which one does not read.

use std::time::Duration;

use h2ws::HttpVersion;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::support::bridge::{Beside, Bridging, to, to_raw};
use crate::support::frames::{BINARY, frame, from_server};
use crate::support::raw::{CANCEL, DATA, PING, WINDOW_UPDATE};
use crate::support::within;

/// A client that does not read stops the reading from its backend: the bridge
/// holds a window and a buffer, not what the backend would like to say.
#[tokio::test]
async fn a_client_that_never_reads_stops_its_backend() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let mut beside = Beside::on(bridging, listener).await;
    let mut backend = beside.open().await;

    let payload = vec![7; 60_000];
    let message = frame(0x82, false, &payload);
    let mut written = 0;
    // Until the kernel's buffers are full too, and stay so.
    while let Ok(all) =
        tokio::time::timeout(Duration::from_millis(300), backend.io.write_all(&message)).await
    {
        all.unwrap();
        written += message.len();
        assert!(written < 64 << 20, "nothing stops the backend");
    }
    // Of these some megabytes the kernel holds most: it may take 6 MB for a
    // receiver (net.ipv4.tcp_rmem).
    assert!(
        written < 12 << 20,
        "{written} bytes for a client that reads none"
    );
    drop(backend);
    beside.client.reset(3, CANCEL).await;
    // It opened no window beyond the first 65,535 bytes.
    let mut received = 0;
    beside.client.barrier().await;
    for _ in 0..beside.client.pending() {
        let frame = beside.client.on(3).await.unwrap();
        if frame.kind == DATA {
            received += frame.payload.len();
        }
    }
    assert!(received <= 65_535, "{received}");
}

/// The same towards an RFC 8441 upstream, to the byte: what it may send is the
/// stream's window and what the bridge's buffer and the client's window took.
#[tokio::test]
async fn a_client_that_never_reads_stops_its_upstream_stream() {
    let (_bridging, mut client, mut upstream) = to_raw().await;
    let message = from_server(BINARY, &vec![7; 16_000]);
    let mut window: usize = 256 * 1024;
    let mut sent = 0;
    loop {
        while window >= message.len() {
            upstream.data(1, &message).await;
            window -= message.len();
            sent += message.len();
        }
        // What has been handed back by the time that all was read.
        let before = window;
        for _ in 0..20 {
            upstream.send(PING, 0, 0, b"windows?").await;
            loop {
                let frame = within(upstream.read()).await.expect("open");
                match frame.kind {
                    PING => break,
                    WINDOW_UPDATE if frame.stream == 1 => {
                        let step: [u8; 4] = frame.payload[..].try_into().unwrap();
                        window += u32::from_be_bytes(step) as usize;
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if window == before {
            break;
        }
        assert!(sent < 8 << 20, "nothing stops the upstream");
    }
    // Its window; the client's; the buffer, and a chunk beyond it; what `h2`
    // holds of it.
    let bound = (256 + 64 + 128 + 128 + 128) * 1024;
    assert!(sent <= bound, "{sent} bytes for a client that reads none");
    client.barrier().await;
}
