//! A bridge between two sides of which one does not read.

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
    let mut beside = BridgeFixture::on(bridging, listener).await;
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

/// Sends until no window comes back; returns the bytes.
async fn fill(peer: &mut Raw, message: &[u8]) -> usize {
    let mut window: usize = 256 * 1024;
    let mut sent = 0;
    loop {
        while window >= message.len() {
            peer.data(1, message).await;
            window -= message.len();
            sent += message.len();
        }
        // What has been handed back by the time that all was read.
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
        assert!(sent < 8 << 20, "nothing stops the peer");
    }
}

/// The same towards an RFC 8441 upstream, to the byte: what it may send is the
/// stream's window and what the bridge's buffer and the client's window took.
#[tokio::test]
async fn a_client_that_never_reads_stops_its_upstream_stream() {
    let (_bridging, mut client, mut upstream) = to_raw().await;
    let message = from_server(BINARY, &vec![7; 16_000]);
    let sent = fill(&mut upstream, &message).await;
    // Its window; the client's; the buffer, and a chunk beyond it; what `h2`
    // holds of it.
    let bound = (256 + 64 + 128 + 128 + 128) * 1024;
    assert!(sent <= bound, "{sent} bytes for a client that reads none");
    client.barrier().await;
}

/// A bridge whose upstream has stopped to read, and the ends of its socket.
async fn stalled(config: WebSocketConfig, grace: Duration) -> (Bridge, Bridging, Raw, Raw) {
    let (listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http2).build().unwrap();
    let bridging = Bridging::with_grace(&bridge, config, grace).await;
    let (mut client, upstream) = open_to_raw(&bridging, &listener).await;
    fill(&mut client, &from_client(BINARY, &vec![7; 16_000])).await;
    (bridge, bridging, client, upstream)
}

/// A client that is not read because its upstream does not read is asked to
/// close all the same, and waited for no longer than any other.
#[tokio::test]
async fn a_drain_reaches_a_socket_whose_upstream_does_not_read() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_millis(200));
    let grace = Duration::from_secs(600);
    let (_bridge, mut bridging, mut client, mut upstream) = stalled(config, grace).await;
    bridging.drain();
    closes(&mut client, 1, 1001).await;
    assert_eq!(upstream.reset_code(1).await, CANCEL);
    assert_eq!(bridging.drained().await, ShutdownReport::default());
}

/// Nor does such a socket outlive the server's grace.
#[tokio::test]
async fn a_socket_whose_upstream_does_not_read_is_cut_after_the_grace() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_secs(600));
    let grace = Duration::from_millis(50);
    let (bridge, mut bridging, _client, mut upstream) = stalled(config, grace).await;
    bridging.drain();
    assert_eq!(bridging.drained().await.sockets_cut, 1);
    within(bridge.idle()).await;
    assert_eq!(upstream.reset_code(1).await, CANCEL);
}

/// What a bridge holds for a client it holds on two connections, of which many
/// clients share the second: all of it counts on the client's own. A window here
/// and a buffer there are each less than this client may have held.
#[tokio::test]
async fn what_waits_for_an_upstream_counts_on_the_connection_of_its_client() {
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
        let frame = within(client.read()).await.expect("the connection stays");
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

/// A reset is heard although what was sent before it is not.
#[tokio::test]
async fn a_reset_reaches_an_upstream_that_does_not_read() {
    let (bridge, _bridging, mut client, mut upstream) =
        stalled(WebSocketConfig::default(), Duration::from_secs(600)).await;
    client.reset(1, CANCEL).await;
    assert_eq!(upstream.reset_code(1).await, CANCEL);
    within(bridge.idle()).await;
}

/// An upstream breaks while its client takes nothing: what the client goes on
/// to send keeps the socket no longer than its close timeout.
#[tokio::test]
async fn a_break_reaches_a_client_that_does_not_read_and_goes_on_to_send() {
    let config = WebSocketConfig::default().close_timeout(Duration::from_millis(200));
    let (listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http2).build().unwrap();
    let bridging = Bridging::with_grace(&bridge, config, Duration::from_secs(600)).await;
    let (mut client, mut upstream) = open_to_raw(&bridging, &listener).await;
    fill(&mut upstream, &from_server(BINARY, &vec![7; 16_000])).await;
    upstream.reset(1, CANCEL).await;
    let talks = async {
        loop {
            // Little enough for the window.
            client.data(1, &from_client(BINARY, b"and on")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = talks => {}
        () = within(bridge.idle()) => {}
    }
    assert_eq!(client.reset_code(1).await, CANCEL);
}

/// A bridge whose TCP target has stopped to read, and both ends.
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
    // What has arrived is no whole: it ends by RST.
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
