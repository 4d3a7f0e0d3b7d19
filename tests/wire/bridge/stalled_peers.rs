//! A bridge with a client or an upstream that does not read.

use std::io::ErrorKind;
use std::time::Duration;

use h2ws::bridge::Bridge;
use h2ws::handshake::AllowedOrigins;
use h2ws::server::ShutdownReport;
use h2ws::{Http2Config, HttpVersion, Server, WebSocketConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::bridge::{BridgeFixture, Bridging, closes, open_to_raw, to, to_raw};
use crate::support::client::{listen, narrow};
use crate::support::frames::{BINARY, frame, from_client, from_server};
use crate::support::raw::{CANCEL, DATA, ENHANCE_YOUR_CALM, PING, RST_STREAM, Raw, WINDOW_UPDATE};
use crate::support::within;

/// If a client does not read, the bridge stops reading from the upstream. It holds a
/// window and a buffer, not everything that the upstream would send.
#[tokio::test]
async fn a_client_that_never_reads_blocks_its_http1_upstream() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let mut fixture = BridgeFixture::on(bridging, listener).await;
    let mut backend = fixture.open().await;

    let payload = vec![7; 60_000];
    let message = frame(0x82, false, &payload);
    let mut written = 0;
    // Write until the kernel's buffers are full too, and stay full.
    while let Ok(all) =
        tokio::time::timeout(Duration::from_millis(300), backend.io.write_all(&message)).await
    {
        all.unwrap();
        written += message.len();
        assert!(written < 64 << 20, "the upstream is not blocked");
    }
    // The kernel holds most of these bytes: up to 6 MB for a receiver
    // (net.ipv4.tcp_rmem).
    assert!(
        written < 12 << 20,
        "{written} bytes accepted for a client that does not read"
    );
    drop(backend);
    fixture.client.reset(3, CANCEL).await;
    // The client's window stays at the initial 65,535 bytes.
    let mut received = 0;
    fixture.client.barrier().await;
    for _ in 0..fixture.client.pending() {
        let frame = fixture.client.on(3).await.unwrap();
        if frame.kind == DATA {
            received += frame.payload.len();
        }
    }
    assert!(received <= 65_535, "{received}");
}

/// Sends until the peer opens its window no further. Returns the number of bytes
/// sent.
async fn fill(peer: &mut Raw, message: &[u8]) -> usize {
    let mut window: usize = 256 * 1024;
    let mut sent = 0;
    loop {
        while window >= message.len() {
            peer.data(1, message).await;
            window -= message.len();
            sent += message.len();
        }
        // Give the bridge time to read everything and to update the window.
        let before = window;
        for _ in 0..20 {
            peer.send(PING, 0, 0, b"windows?").await;
            loop {
                let frame = within(peer.read()).await.expect("open");
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
            return sent;
        }
        assert!(sent < 8 << 20, "the sender is not blocked");
    }
}

/// The same for an RFC 8441 upstream, with an exact bound: it may send its stream's
/// window, and what the bridge's buffer and the client's window have taken.
#[tokio::test]
async fn a_client_that_never_reads_blocks_its_http2_upstream() {
    let (_bridging, mut client, mut upstream) = to_raw().await;
    let message = from_server(BINARY, &vec![7; 16_000]);
    let sent = fill(&mut upstream, &message).await;
    // The upstream's window; the client's; the buffer, and a chunk beyond it; what
    // `h2` holds of it.
    let bound = (256 + 64 + 128 + 128 + 128) * 1024;
    assert!(
        sent <= bound,
        "{sent} bytes accepted for a client that does not read"
    );
    client.barrier().await;
}

/// Starts a bridge whose upstream does not read and whose buffers are full. Returns
/// both ends of the socket.
async fn stalled(config: WebSocketConfig, drain_timeout: Duration) -> (Bridge, Bridging, Raw, Raw) {
    let (listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http2).build().unwrap();
    let bridging = Bridging::with_grace(&bridge, config, drain_timeout).await;
    let (mut client, upstream) = open_to_raw(&bridging, &listener).await;
    fill(&mut client, &from_client(BINARY, &vec![7; 16_000])).await;
    (bridge, bridging, client, upstream)
}

/// Even if the bridge does not read from a client because the upstream does not read,
/// the client is sent a Close, and the close timeout applies.
#[tokio::test]
async fn a_drain_reaches_a_socket_whose_upstream_does_not_read() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_millis(200));
    let drain_timeout = Duration::from_secs(600);
    let (_bridge, mut bridging, mut client, mut upstream) = stalled(config, drain_timeout).await;
    bridging.drain();
    closes(&mut client, 1, 1001).await;
    assert_eq!(upstream.reset_code(1).await, CANCEL);
    assert_eq!(bridging.drained().await, ShutdownReport::default());
}

/// Such a socket does not outlive the server's drain timeout either.
#[tokio::test]
async fn a_socket_whose_upstream_does_not_read_is_cut_after_the_drain_timeout() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_secs(600));
    let drain_timeout = Duration::from_millis(50);
    let (bridge, mut bridging, _client, mut upstream) = stalled(config, drain_timeout).await;
    bridging.drain();
    assert_eq!(bridging.drained().await.sockets_cut, 1);
    within(bridge.idle()).await;
    assert_eq!(upstream.reset_code(1).await, CANCEL);
}

/// A bridge buffers a client's data on two connections, and many clients share the
/// second. All of it counts toward `connection_buffer` of the client's own
/// connection. Here, the window and the buffer are each below this limit, but not
/// their sum.
#[tokio::test]
async fn data_buffered_for_an_upstream_counts_toward_the_clients_connection_buffer() {
    let (listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http2).build().unwrap();
    let http2 = Http2Config::default().connection_buffer(400 * 1024);
    let server = Server::builder().http2(http2);
    let bridging = Bridging::behind(server, &bridge, Duration::from_secs(600)).await;
    let (mut client, mut upstream) = open_to_raw(&bridging, &listener).await;
    let message = from_client(BINARY, &vec![7; 16_000]);
    let mut window: usize = 256 * 1024;
    let code = loop {
        while window >= message.len() {
            client.data(1, &message).await;
            window -= message.len();
        }
        let frame = within(client.read())
            .await
            .expect("the connection stays open");
        let number = || u32::from_be_bytes(frame.payload[..].try_into().unwrap());
        match (frame.kind, frame.stream) {
            (WINDOW_UPDATE, 1) => window += number() as usize,
            (RST_STREAM, 1) => break number(),
            _ => {}
        }
    };
    assert!([CANCEL, ENHANCE_YOUR_CALM].contains(&code), "{code}");
    assert_eq!(upstream.reset_code(1).await, CANCEL);
    within(bridge.idle()).await;
    client.barrier().await;
}

/// A reset overtakes the data that was sent before it and is still unread.
#[tokio::test]
async fn a_reset_reaches_an_upstream_that_does_not_read() {
    let (bridge, _bridging, mut client, mut upstream) =
        stalled(WebSocketConfig::default(), Duration::from_secs(600)).await;
    client.reset(1, CANCEL).await;
    assert_eq!(upstream.reset_code(1).await, CANCEL);
    within(bridge.idle()).await;
}

/// After an upstream's reset, a client that does not read is reset after the close
/// timeout, even if it continues to send.
#[tokio::test]
async fn an_upstream_reset_reaches_a_client_that_sends_but_does_not_read() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_millis(200));
    let (listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http2).build().unwrap();
    let bridging = Bridging::with_grace(&bridge, config, Duration::from_secs(600)).await;
    let (mut client, mut upstream) = open_to_raw(&bridging, &listener).await;
    fill(&mut upstream, &from_server(BINARY, &vec![7; 16_000])).await;
    upstream.reset(1, CANCEL).await;
    let send_forever = async {
        loop {
            // Small enough that the window is never exhausted.
            client.data(1, &from_client(BINARY, b"and on")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = send_forever => {}
        () = within(bridge.idle()) => {}
    }
    assert_eq!(client.reset_code(1).await, CANCEL);
}

/// Starts a bridge whose TCP target does not read and whose buffers are full. Returns
/// both ends.
async fn stalled_tcp(config: WebSocketConfig) -> (Bridge, Bridging, Raw, TcpStream) {
    let (listener, addr) = narrow();
    let builder = to("tcp", addr, HttpVersion::Auto).allowed_origins(AllowedOrigins::any());
    let bridge = builder.build().unwrap();
    let bridging = Bridging::of(&bridge, config).await;
    let mut client = Raw::connect(bridging.addr).await;
    let (target, ()) = tokio::join!(within(listener.accept()), client.open(1, "/"));
    fill(&mut client, &from_client(BINARY, &vec![7; 16_000])).await;
    (bridge, bridging, client, target.unwrap().0)
}

#[tokio::test]
async fn a_reset_reaches_a_tcp_target_that_does_not_read() {
    let (bridge, _bridging, mut client, target) = stalled_tcp(WebSocketConfig::default()).await;
    client.reset(1, CANCEL).await;
    within(bridge.idle()).await;
    // The data that has arrived is incomplete, so it ends with a TCP reset.
    let mut read = vec![0; 1 << 20];
    let ended = within(async {
        loop {
            target.readable().await?;
            match target.try_read(&mut read) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    });
    assert_eq!(ended.await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_drain_reaches_a_socket_whose_tcp_target_does_not_read() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_millis(200));
    let config = config.linger(Duration::from_millis(50));
    let (bridge, mut bridging, mut client, _target) = stalled_tcp(config).await;
    bridging.drain();
    closes(&mut client, 1, 1001).await;
    within(bridge.idle()).await;
    assert_eq!(bridging.drained().await, ShutdownReport::default());
}
