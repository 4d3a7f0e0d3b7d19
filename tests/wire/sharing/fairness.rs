//! Fairness between the streams of a connection: a short message does not wait
//! for every stream that sends in bulk. RFC 9113 §5.2 leaves scheduling to the
//! sender.

use h2ws::config::TcpConfig;
use h2ws::{Http2Config, Message, Server, WebSocket};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::client::{accept, http2, narrow};
use crate::support::frames::{TEXT, from_client};
use crate::support::raw::{DATA, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, Raw};
use crate::support::server::{self, Running};
use crate::support::within;

/// Number of streams that send without end. The quiet stream is stream 1.
const BULK: u32 = 100;

/// Length of a bulk message, in bytes.
const MESSAGE: usize = 64 * 1024;

/// Maximum number of DATA bytes sent before a short message: what the driver has
/// handed to `h2`, and what is in the kernel's narrow buffers. One frame of each
/// stream would be ten times as much.
const WAIT: usize = 640 * 1024;

/// Like [`WAIT`], for a client, whose kernel send buffer is restricted by
/// `notsent_lowat` alone: on Linux.
const CLIENT_WAIT: usize = if cfg!(target_os = "linux") {
    1 << 20
} else {
    8 << 20
};

const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Lets a frame be as long as what a stream hands to `h2` at a time.
const FRAME: (u16, u32) = (MAX_FRAME_SIZE, 64 * 1024);

async fn flood(mut ws: WebSocket) {
    while ws.send(Message::binary(vec![0; MESSAGE])).await.is_ok() {}
}

/// A server that sends without end at `/bulk` and echoes at any other path.
fn flooding() -> Running {
    let (listener, _) = narrow();
    let config = Http2Config::default().connection_buffer(usize::MAX);
    let server = Server::builder().http2(config).listener(listener).unwrap();
    server::run(server, |server, ended| {
        server.serve(move |upgrade| {
            let ended = ended.clone();
            async move {
                let path = upgrade.path().to_owned();
                let ws = upgrade.accept().await.unwrap();
                if path == "/bulk" {
                    flood(ws).await;
                } else {
                    let _: Result<_, _> = ended.send(server::echo_socket(ws, path).await);
                }
            }
        })
    })
}

/// Connects a raw client and opens the quiet socket and `bulk` others, with an
/// initial stream window of `window` bytes. The connection's window is left at
/// its initial size.
async fn client_of(server: &Running, window: u32, bulk: u32) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let io: TcpStream = socket.connect(server.addr).await.unwrap();
    let mut peer = Raw::begin(io, &[FRAME, (INITIAL_WINDOW_SIZE, window)]).await;
    peer.open(1, "/quiet").await;
    for n in 1..=bulk {
        peer.open(2 * n + 1, "/bulk").await;
    }
    peer.barrier().await;
    peer
}

/// Reads until `bytes` of DATA have arrived.
async fn take(peer: &mut Raw, bytes: usize) {
    let mut taken = 0;
    while taken < bytes {
        let frame = peer.next().await.expect("DATA");
        taken += if frame.kind == DATA {
            frame.payload.len()
        } else {
            0
        };
    }
}

/// Returns the number of DATA bytes that arrive before the quiet stream's first.
/// Each frame increases the connection's window by `grant` bytes.
async fn bytes_before_quiet_stream(peer: &mut Raw, grant: u32) -> usize {
    let mut waited = 0;
    loop {
        let frame = peer.next().await.expect("DATA");
        if frame.kind == DATA && frame.stream == 1 {
            return waited;
        }
        waited += frame.payload.len();
        if grant > 0 {
            peer.window(0, grant).await;
        }
    }
}

#[tokio::test]
async fn a_short_answer_does_not_wait_for_all_bulk_streams() {
    let server = flooding();
    let mut peer = client_of(&server, MAX_WINDOW, BULK).await;
    peer.window(0, MAX_WINDOW - 65_535).await;
    for _ in 0..4 {
        take(&mut peer, 1 << 20).await;
        peer.data(1, &from_client(TEXT, b"short")).await;
        let waited = bytes_before_quiet_stream(&mut peer, 0).await;
        assert!(waited <= WAIT, "{waited} bytes");
    }
}

#[tokio::test]
async fn a_short_answer_does_not_wait_for_all_bulk_streams_on_a_narrow_connection_window() {
    let server = flooding();
    let mut peer = client_of(&server, MAX_WINDOW, BULK).await;
    for _ in 0..4 {
        peer.data(1, &from_client(TEXT, b"short")).await;
        peer.barrier().await;
        peer.window(0, 1).await;
        let waited = bytes_before_quiet_stream(&mut peer, 16 * 1024).await;
        assert!(waited <= WAIT, "{waited} bytes");
    }
}

#[tokio::test]
async fn a_short_message_does_not_wait_for_all_bulk_sockets() {
    let (listener, addr) = narrow();
    let config = Http2Config::default().connection_buffer(usize::MAX);
    let tcp = TcpConfig::default().notsent_lowat(128 * 1024);
    let client = http2().http2(config).tcp(tcp).build().unwrap();
    let url = format!("ws://{addr}/");
    let (quiet, mut peer) = tokio::join!(client.connect(&url), async {
        let settings = [FRAME, (INITIAL_WINDOW_SIZE, MAX_WINDOW)];
        let mut peer = accept(&listener, &settings).await;
        peer.window(0, MAX_WINDOW - 65_535).await;
        peer.take(1).await;
        peer
    });
    let mut quiet = quiet.unwrap();
    for n in 1..=3 * BULK {
        let (ws, ()) = tokio::join!(client.connect(&url), peer.take(2 * n + 1));
        let ws = ws.unwrap();
        tokio::spawn(flood(ws));
    }
    for _ in 0..4 {
        take(&mut peer, 1 << 20).await;
        within(quiet.send(Message::text("short"))).await.unwrap();
        let waited = bytes_before_quiet_stream(&mut peer, 0).await;
        assert!(waited <= CLIENT_WAIT, "{waited} bytes");
    }
}

/// Data queued behind exhausted stream windows does not count against other
/// streams.
#[tokio::test]
async fn exhausted_windows_do_not_block_bulk_on_other_streams() {
    const ALL: usize = 4 << 20;
    let server = flooding();
    let mut peer = client_of(&server, 0, 30).await;
    peer.window(0, MAX_WINDOW - 65_535).await;
    for stream in [61, 3] {
        peer.window(stream, ALL as u32).await;
        let mut taken = 0;
        while taken < ALL {
            let frame = peer.on(stream).await.expect("DATA");
            taken += frame.payload.len();
        }
        assert_eq!(taken, ALL);
    }
}
