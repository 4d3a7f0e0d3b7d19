//! Flow control: windows are respected, memory is bounded, and sockets do not
//! stall each other (RFC 9113 §5.2, §6.9, §10.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::{Client, Http2Config, Message, Server, WebSocket, WebSocketConfig};

use crate::support::client::{ClientFixture, echo, http1, http2};
use crate::support::frames::{BINARY, PING, PONG, from_client, from_server};
use crate::support::h2peer::EchoServer;
use crate::support::raw::{self, ACK, DATA, ENHANCE_YOUR_CALM, GOAWAY, Raw};
use crate::support::server::{self, Ended, Running, ServerFixture};
use crate::support::{client, until, within};

/// Maximum number of bytes a sender may hold beyond the receiver's window: its
/// buffer, as much again (and a piece) that is being written, and one message
/// that was accepted just before the buffer was full.
const SENDER: usize = 2 * 128 * 1024 + 64 * 1024 + PIECE;
const PIECE: usize = 16 * 1024;

/// Starts a server that sends without end at `/flood`, reads nothing at `/sink`,
/// and echoes at any other path.
async fn flooding(sent: Arc<AtomicUsize>) -> Running {
    server::serve(Server::builder(), move |upgrade, ended| {
        let sent = sent.clone();
        async move {
            let path = upgrade.path().to_owned();
            let mut ws = upgrade.accept().await.unwrap();
            match &path[..] {
                "/flood" => flood(&mut ws, &sent).await,
                "/sink" => std::future::pending().await,
                _ => {
                    let _: Result<_, _> = ended.send(server::echo_socket(ws, path).await);
                }
            }
        }
    })
    .await
}

/// Sends until sending fails.
async fn flood(ws: &mut WebSocket, sent: &AtomicUsize) {
    while ws.send(Message::binary(vec![0; PIECE])).await.is_ok() {
        sent.fetch_add(PIECE, Ordering::Relaxed);
    }
}

/// Every socket sends twenty bytes sixteen times, all at once. If each message
/// were a DATA frame of its own, this would exceed what the `h2` crate allows a
/// connection in short frames, and it would send ENHANCE_YOUR_CALM.
async fn all_sockets_send_at_once(sockets: usize) {
    const MESSAGES: usize = 16;
    let server = EchoServer::start(|_| {}).await;
    let client = http2().build().unwrap();
    let url = server.url("/");
    let opens = (0..sockets).map(|_| client.connect(&url));
    let opened = within(futures_util::future::join_all(opens)).await;
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|ws| {
            let mut ws = ws.unwrap();
            tokio::spawn(async move {
                for n in 0..MESSAGES {
                    ws.send(Message::text(format!("twenty bytes, no. {n:02}")))
                        .await?;
                }
                for n in 0..MESSAGES {
                    let back = ws.next().await.expect("open")?;
                    assert_eq!(back, Message::text(format!("twenty bytes, no. {n:02}")));
                }
                Ok::<_, h2ws::Error>(ws)
            })
        })
        .collect();
    for task in tasks {
        let mut ws = within(task).await.unwrap().unwrap();
        within(ws.close(None)).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(client.connections().len(), 1, "the connection is open");
}

/// A socket that sends one short message at a time has nothing to pack into one
/// DATA frame, and the simultaneous Close frames are short as well. PINGs between
/// them show that the frames are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_short_messages_stay_within_the_peers_budget_of_short_frames() {
    let server = EchoServer::start(|_| {}).await;
    // A hundred consecutive PINGs take seconds on a busy machine.
    let patient = WebSocketConfig::default().close_timeout(Duration::from_secs(600));
    let client = http2().socket(patient).build().unwrap();
    let url = server.url("/");
    let opens = (0..1000).map(|_| client.connect(&url));
    let opened = within(futures_util::future::join_all(opens)).await;
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|ws| {
            let mut ws = ws.unwrap();
            tokio::spawn(async move {
                for _ in 0..5 {
                    ws.send(Message::text("word")).await?;
                    assert_eq!(ws.next().await.expect("open")?, Message::text("word"));
                }
                ws.close(None).await
            })
        })
        .collect();
    for task in tasks {
        within(task).await.unwrap().unwrap();
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(client.connections().len(), 1, "the connection is open");
}

#[tokio::test]
async fn a_thousand_sockets_stay_within_the_peers_budget_of_short_frames() {
    all_sockets_send_at_once(1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_stay_within_the_budget_on_several_threads() {
    all_sockets_send_at_once(1000).await;
}

/// In the other direction, short DATA frames with one message each do not count
/// as a flood as long as they are read.
#[tokio::test]
async fn short_frames_of_a_peer_do_not_end_its_connection() {
    let mut beside = ServerFixture::new().await;
    beside.peer.window(0, 1 << 24).await;
    for stream in (3..203).step_by(2) {
        beside.peer.open(stream, "/").await;
    }
    let message = raw::encode(DATA, 0, 0, &from_client(BINARY, &[7; 20]));
    for _ in 0..20 {
        let mut burst = Vec::new();
        for stream in (3..203u32).step_by(2) {
            let mut message = message.clone();
            message[5..9].copy_from_slice(&stream.to_be_bytes());
            burst.extend(message.repeat(10));
        }
        beside.peer.write(&burst).await;
        beside.peer.barrier().await;
    }
    for stream in (3..203).step_by(2) {
        for _ in 0..200 {
            assert_eq!(beside.peer.frame(stream).await.payload, [7; 20]);
        }
        beside.peer.close(stream).await;
    }
    beside.unharmed().await;
}

/// Opens 99 sockets next to the stalled ones and checks that they echo.
async fn siblings_echo(client: &Client, url: &str) {
    let mut siblings = Vec::new();
    for _ in 0..99 {
        siblings.push(within(client.connect(url)).await.unwrap());
    }
    for _ in 0..3 {
        for ws in &mut siblings {
            echo(ws, "not held up").await;
        }
    }
    // Also in bulk, up to a stream's window.
    for ws in siblings.iter_mut().step_by(33) {
        let bulk = Message::binary(vec![1; 200_000]);
        within(ws.send(bulk.clone())).await.unwrap();
        assert_eq!(within(ws.next()).await.unwrap().unwrap(), bulk);
    }
    assert_eq!(client.connections().len(), 1);
}

/// Number of unread sockets, next to 99 that work.
const UNREAD: usize = 8;

/// Waits until the unread sockets' windows and the senders' buffers are full.
async fn wait_for_full_windows(sent: &AtomicUsize) {
    let each = Http2Config::default().stream_window as usize + 128 * 1024;
    until(|| sent.load(Ordering::Relaxed) >= UNREAD * each).await;
}

fn assert_bounded(sent: &AtomicUsize) {
    let each = Http2Config::default().stream_window as usize + SENDER;
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent <= UNREAD * each, "{sent} bytes for {UNREAD} sockets");
}

/// When the windows of unread sockets are full, the siblings can use the whole
/// window of the connection, and the server holds no more than its buffers.
#[tokio::test]
async fn sockets_that_the_client_does_not_read_do_not_stall_others() {
    let sent = Arc::<AtomicUsize>::default();
    let server = flooding(sent.clone()).await;
    let client = http2().build().unwrap();
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(within(client.connect(&server.url("/flood"))).await.unwrap());
    }
    wait_for_full_windows(&sent).await;
    siblings_echo(&client, &server.url("/")).await;
    assert_bounded(&sent);
    // The unread sockets were stalled, not broken.
    for ws in &mut unread {
        for _ in 0..100 {
            let message = within(ws.next()).await.unwrap().unwrap();
            assert_eq!(message.len(), PIECE);
        }
    }
}

/// The same for sockets that the server does not read.
#[tokio::test]
async fn sockets_that_the_server_does_not_read_do_not_stall_others() {
    let server = flooding(Arc::default()).await;
    let client = http2().build().unwrap();
    let sent = Arc::<AtomicUsize>::default();
    let mut floods = Vec::new();
    for _ in 0..UNREAD {
        let mut ws = within(client.connect(&server.url("/sink"))).await.unwrap();
        let sent = sent.clone();
        floods.push(tokio::spawn(async move { flood(&mut ws, &sent).await }));
    }
    wait_for_full_windows(&sent).await;
    siblings_echo(&client, &server.url("/")).await;
    assert_bounded(&sent);
    for flood in floods {
        assert!(!flood.is_finished());
        flood.abort();
    }
}

/// A peer that sends no WINDOW_UPDATE receives one window, and the sender holds no
/// more than its buffer. Each further window is respected to the byte.
#[tokio::test]
async fn a_slow_reader_slows_its_sender() {
    let sent = Arc::<AtomicUsize>::default();
    let mut beside = ServerFixture::on(flooding(sent.clone()).await).await;
    beside.peer.window(0, 1 << 24).await;
    beside.peer.open(3, "/flood").await;
    let mut got = 0;
    let mut allowed = 65_535;
    for more in [0, 256, 1000, 300_000] {
        if more > 0 {
            beside.peer.window(3, more).await;
            allowed += more as usize;
        }
        while got < allowed {
            let data = beside.peer.on(3).await.unwrap();
            assert_eq!(data.kind, DATA);
            got += data.payload.len();
        }
        assert_eq!(got, allowed, "more than the window");
        beside.peer.barrier().await;
        assert_eq!(beside.peer.pending(), 0, "more than the window");
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent <= allowed + SENDER, "{sent} bytes accepted");
    }
    beside.peer.reset(3, raw::CANCEL).await;
    beside.unharmed().await;
}

/// RFC 9113 §6.9: a window is used however narrow it is. A sender that waited for
/// a wider window than the peer ever grants would wait for ever.
#[tokio::test]
async fn a_window_of_a_few_bytes_is_used() {
    let (listener, addr) = client::listen().await;
    let h2ws = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, mut peer) = tokio::join!(h2ws.connect(&url), async {
        let mut peer = client::accept(&listener, &[(raw::INITIAL_WINDOW_SIZE, 50)]).await;
        peer.take(1).await;
        peer
    });
    let mut ws = ws.unwrap();
    ws.send(Message::binary(vec![7; 1000])).await.unwrap();
    let mut left = 1008;
    while left > 0 {
        let data = peer.on(1).await.unwrap();
        assert_eq!((data.kind, data.payload.len()), (DATA, 50.min(left)));
        left -= data.payload.len();
        peer.window(1, data.payload.len() as u32).await;
    }
}

/// Messages larger than any window pass in both directions and over both versions.
#[tokio::test]
async fn a_message_of_sixteen_mebibytes_is_echoed() {
    let server = server::echo(Server::builder()).await;
    for builder in [http2(), http1()] {
        let client = builder.build().unwrap();
        let mut ws = within(client.connect(&server.url("/"))).await.unwrap();
        let large: Vec<u8> = (0..16 << 20).map(|n: u32| (n >> 8) as u8).collect();
        let large = Message::binary(large);
        within(ws.send(large.clone())).await.unwrap();
        let back = within(ws.next()).await.unwrap().unwrap();
        assert!(back == large);
        within(ws.close(None)).await.unwrap();
    }
}

/// The same to a peer that keeps the initial window and frame sizes of RFC 9113
/// §6.5.2.
#[tokio::test]
async fn a_large_message_fits_small_windows() {
    let server = EchoServer::start(|_| {}).await;
    let client = http2().build().unwrap();
    let ws = within(client.connect(&server.url("/"))).await.unwrap();
    let (mut reader, mut writer) = ws.split();
    let large = Message::binary(vec![5; 1 << 20]);
    let (sent, ()) = tokio::join!(within(writer.send(large)), async {
        // The peer echoes frame by frame.
        let message = within(reader.next()).await.unwrap().unwrap();
        assert_eq!(message.len(), 1 << 20);
    });
    sent.unwrap();
    let mut ws = reader.reunite(writer).unwrap();
    echo(&mut ws, "and on").await;
}

/// RFC 6455 §5.5.3: it is enough to answer the latest of many Pings. A peer that
/// sends Pings and does not read the Pongs fills one window and one buffer.
#[tokio::test]
async fn a_flood_of_pings_does_not_accumulate_pongs() {
    const PINGS: usize = 10_000;
    let mut beside = ServerFixture::new().await;
    beside.peer.window(0, 1 << 24).await;
    beside.peer.open(3, "/").await;
    for batch in 0..PINGS / 50 {
        let mut pings = Vec::new();
        for n in 0..50 {
            let payload = format!("{:0125}", batch * 50 + n);
            pings.extend(from_client(PING, payload.as_bytes()));
        }
        beside.peer.data(3, &pings).await;
        beside.peer.barrier().await;
    }
    beside.peer.window(3, 1 << 24).await;
    let mut pongs = 0;
    let last = format!("{:0125}", PINGS - 1);
    loop {
        let pong = beside.peer.frame(3).await;
        assert_eq!(pong.opcode(), PONG);
        pongs += 1;
        if pong.payload == last.as_bytes() {
            break;
        }
    }
    let room = (65_535 + SENDER) / 127 + 60;
    assert!(
        pongs <= room,
        "{pongs} Pongs were kept, there is room for {room}"
    );
    beside.peer.echo(3, "and on").await;
    beside.peer.close(3).await;
    beside.unharmed().await;
}

/// RFC 9113 §10.5: an endless series of empty frames is answered with GOAWAY and
/// ENHANCE_YOUR_CALM. The next connection is served.
#[tokio::test]
async fn a_flood_of_empty_frames_ends_its_connection() {
    for (kind, payload) in [(raw::PING, &[0; 8][..]), (raw::SETTINGS, &[]), (0xfa, &[])] {
        let mut server = server::echo(Server::builder()).await;
        let mut peer = Raw::connect(server.addr).await;
        peer.open(1, "/flood").await;
        let burst = raw::encode(kind, 0, 0, payload).repeat(500);
        for _ in 0..19 {
            peer.write(&burst).await;
            peer.barrier().await;
        }
        peer.echo(1, "so far so good").await;
        let mut code = None;
        for _ in 0..4 {
            peer.write(&burst).await;
        }
        while let Some(frame) = within(peer.read()).await {
            if frame.kind == GOAWAY {
                code = Some(frame.error_code());
            }
            assert!(frame.kind != raw::PING || frame.flags & ACK != 0);
        }
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "frames of type {kind:#x}");
        let Ended { error, .. } = server.ended().await;
        assert!(error.is_some_and(|error| error.is_abnormal_closure()));
        let mut next = Raw::connect(server.addr).await;
        next.open(1, "/").await;
        next.echo(1, "another's connection").await;
    }
}

/// A client closes such a connection, its sockets end with an error, and the next
/// socket uses a new connection.
#[tokio::test]
async fn a_client_closes_the_connection_of_a_flooding_server() {
    let mut beside = ClientFixture::new().await;
    let burst = raw::encode(raw::PING, 0, 0, &[0; 8]).repeat(500);
    let peer = &mut beside.peer;
    let sibling = &mut beside.sibling;
    let (error, ()) = tokio::join!(within(sibling.next()), async {
        for _ in 0..30 {
            if !peer.try_write(&burst).await {
                break;
            }
            while peer.read_now().await {}
        }
    });
    let error = error.unwrap().unwrap_err();
    assert!(error.is_abnormal_closure(), "{error:?}");
    let (ws, _peer) = tokio::join!(beside.client.connect(&beside.url), async {
        let mut peer = crate::support::client::accept(&beside.listener, &[]).await;
        peer.take(1).await;
        peer
    });
    assert!(ws.is_ok());
}

/// RFC 9113 §6.9.1: bytes that a dropped socket did not read are returned to the
/// connection's window. Otherwise its siblings would eventually be stalled.
#[tokio::test]
async fn a_client_returns_unread_bytes_of_dropped_sockets_to_the_window() {
    let window = Http2Config::default().connection_window(100_000);
    let mut beside = ClientFixture::with(http2().http2(window).build().unwrap()).await;
    for stream in (3..43).step_by(2) {
        let peer = &mut beside.peer;
        let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), peer.take(stream));
        let mut ws = ws.unwrap();
        for _ in 0..3 {
            peer.data(stream, &from_server(BINARY, &[0; 10_000])).await;
        }
        peer.barrier().await;
        if stream % 4 == 3 {
            within(ws.next()).await.unwrap().unwrap();
        }
        drop(ws);
        // Arrives after the socket was dropped.
        peer.data(stream, &from_server(BINARY, &[0; 10_000])).await;
        peer.let_go(stream).await;
    }
    beside.unharmed().await;
}

/// The same for a server. Otherwise a peer that respects the window would receive
/// GOAWAY with FLOW_CONTROL_ERROR.
#[tokio::test]
async fn a_server_returns_unread_bytes_of_dropped_sockets_to_the_window() {
    let window = Http2Config::default().connection_window(100_000);
    let server = server::serve(
        Server::builder().http2(window),
        |upgrade, ended| async move {
            let path = upgrade.path().to_owned();
            let mut ws = upgrade.accept().await.unwrap();
            if path == "/sibling" {
                let _: Result<_, _> = ended.send(server::echo_socket(ws, path).await);
            } else {
                let _ = ws.next().await;
            }
        },
    )
    .await;
    let mut beside = ServerFixture::on(server).await;
    for stream in (3..43).step_by(2) {
        beside.peer.open(stream, "/drop").await;
        for _ in 0..4 {
            let bytes = from_client(BINARY, &[0; 10_000]);
            beside.peer.data(stream, &bytes).await;
        }
        beside.peer.let_go(stream).await;
        beside.peer.barrier().await;
    }
    beside.unharmed().await;
}
