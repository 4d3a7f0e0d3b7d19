//! Tunnels to `tcp` targets, where binary messages carry the bytes of a TCP
//! connection.

use std::io::ErrorKind;
use std::time::Duration;

use h2ws::bridge::{Bridge, BridgeBuilder, BridgeError};
use h2ws::handshake::AllowedOrigins;
use h2ws::server::WebSocketRequest;
use h2ws::{HttpVersion, Server, WebSocketConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::bridge::{Bridging, to};
use crate::support::client::listen;
use crate::support::frames::{BINARY, CLOSE, PING, PONG, TEXT, close, from_client};
use crate::support::raw::{CANCEL, Fields, Raw, Seen};
use crate::support::text::{Over, Text};
use crate::support::{h2peer, server, tasks, until, within};

fn builder(addr: std::net::SocketAddr) -> BridgeBuilder {
    to("tcp", addr, HttpVersion::Auto).allowed_origins(AllowedOrigins::any())
}

/// A client with a socket on stream 1, and the target's end of its TCP connection.
struct Tunnel {
    _bridging: Bridging,
    _listener: TcpListener,
    client: Raw,
    target: TcpStream,
}

impl Tunnel {
    async fn open() -> Self {
        Self::opened_by(&Fields::websocket("/")).await
    }

    /// As [`open`](Self::open), under the subprotocol with half-closes.
    async fn half_closing() -> Self {
        let fields = Fields::websocket("/");
        Self::opened_by(&fields.with("sec-websocket-protocol", h2ws::socket::HALF_CLOSE)).await
    }

    async fn opened_by(fields: &Fields) -> Self {
        let (listener, addr) = listen().await;
        let bridging = Bridging::start(builder(addr)).await;
        let mut client = Raw::connect(bridging.addr).await;
        let (status, (target, _)) = tokio::join!(
            async {
                client.headers(1, fields, 0).await;
                client.status(1).await
            },
            async { within(listener.accept()).await.unwrap() }
        );
        assert_eq!(status, 200);
        Self {
            _bridging: bridging,
            _listener: listener,
            client,
            target,
        }
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.client.data(1, &from_client(opcode, payload)).await;
    }

    async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        within(self.target.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    /// Expects the TCP connection to end in this way, without further data.
    async fn target_sees(&mut self, over: Over) {
        let mut rest = Vec::new();
        let ended = match within(self.target.read_to_end(&mut rest)).await {
            Ok(_) => Over::End,
            Err(_) => Over::Reset,
        };
        assert_eq!((ended, &rest[..]), (over, &[][..]));
    }

    async fn client_sees_close(&mut self, code: u16) {
        let Seen::Frame(close, false) = self.client.seen(1).await else {
            panic!("expected a Close frame without END_STREAM");
        };
        assert_eq!(close.code(), Some(code));
    }
}

/// Also if it expects something before it sends anything, and nothing of the client's before that.
#[tokio::test]
async fn a_preface_precedes_the_bytes_of_the_client() {
    let (listener, addr) = listen().await;
    let builder = builder(addr).trust_forwarded(true).tcp_preface(|ends| {
        format!("{} to {}\n", ends.client, ends.upstream.unwrap()).into_bytes()
    });
    let bridging = Bridging::start(builder).await;
    for (forwarded, client) in [(None, None), (Some("2001:db8::7"), Some("[2001:db8::7]:0"))] {
        let mut peer = Raw::connect(bridging.addr).await;
        let fields = Fields::websocket("/");
        let fields = match forwarded {
            Some(address) => fields.with("x-forwarded-for", address),
            None => fields,
        };
        let (_, (mut target, _)) = tokio::join!(
            async {
                peer.headers(1, &fields, 0).await;
                peer.data(1, &from_client(BINARY, b"hello")).await;
                assert_eq!(peer.status(1).await, 200);
            },
            async { within(listener.accept()).await.unwrap() }
        );
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            let read = within(target.read_buf(&mut seen)).await.unwrap();
            assert_ne!(read, 0, "{seen:?}");
        }
        let seen = String::from_utf8(seen).unwrap();
        let (from, rest) = seen.split_once(' ').unwrap();
        assert_eq!(rest, format!("to {addr}\nhello"));
        match client {
            Some(client) => assert_eq!(from, client),
            None => assert!(
                from.starts_with("127.0.0.1:") && !from.ends_with(":0"),
                "{from}"
            ),
        }
    }
    let http = Bridge::to("ws://a").tcp_preface(|_| Vec::new()).build();
    assert!(matches!(http, Err(BridgeError::Route(_))), "{http:?}");
}

#[tokio::test]
async fn binary_messages_carry_the_bytes_of_the_connection() {
    let mut tunnel = Tunnel::open().await;
    tunnel.send(BINARY, b"PI").await;
    tunnel.send(PING, b"?").await;
    tunnel.send(BINARY, b"").await;
    tunnel.send(BINARY, b"NG\r\n").await;
    assert_eq!(tunnel.read(6).await, b"PING\r\n");
    assert_eq!(tunnel.client.frame(1).await.opcode(), PONG);
    tunnel.target.write_all(b"+PONG\r\n").await.unwrap();
    let mut bytes = Vec::new();
    while bytes.len() < 7 {
        let frame = tunnel.client.frame(1).await;
        assert_eq!((frame.head, frame.masked), (0x80 | BINARY, false));
        bytes.extend(frame.payload);
    }
    assert_eq!(bytes, b"+PONG\r\n");
}

/// Data flows in both directions at once, and neither direction blocks the other.
#[tokio::test]
async fn a_large_transfer_is_complete() {
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(builder(addr)).await;
    tokio::spawn(async move {
        let (target, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = target.into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let client = crate::support::client::http2().build().unwrap();
    let socket = within(client.connect(&bridging.url())).await.unwrap();
    let (mut read, mut write) = tokio::io::split(socket.into_binary_stream());
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (written, echoed) = tokio::join!(within(write.write_all(&bytes)), async {
        let mut echoed = vec![0; bytes.len()];
        within(read.read_exact(&mut echoed)).await.unwrap();
        echoed
    });
    written.unwrap();
    assert!(echoed == bytes);
}

/// Like websockify, the bridge does not accept text messages.
#[tokio::test]
async fn a_text_message_closes_the_socket_with_1003_and_resets_the_target() {
    let mut tunnel = Tunnel::open().await;
    tunnel.send(TEXT, b"hello").await;
    tunnel.client_sees_close(1003).await;
    tunnel.target_sees(Over::Reset).await;
    tunnel.send(CLOSE, &close(1003, "")).await;
    assert_eq!(tunnel.client.seen(1).await, Seen::End);
}

#[tokio::test]
async fn a_fin_from_the_target_becomes_a_close_with_1000() {
    let mut tunnel = Tunnel::open().await;
    tunnel.target.shutdown().await.unwrap();
    tunnel.client_sees_close(1000).await;
    // Data in flight still arrives.
    tunnel.send(BINARY, b"last").await;
    tunnel.send(CLOSE, &close(1000, "")).await;
    assert_eq!(tunnel.read(4).await, b"last");
    tunnel.target_sees(Over::End).await;
    assert_eq!(tunnel.client.seen(1).await, Seen::End);
}

#[tokio::test]
async fn under_half_close_either_side_may_end_first() {
    for client_first in [true, false] {
        let mut tunnel = Tunnel::half_closing().await;
        for is_client in [client_first, !client_first] {
            if is_client {
                tunnel.send(BINARY, b"last").await;
                tunnel.send(BINARY, b"").await;
                assert_eq!(tunnel.read(4).await, b"last");
                tunnel.target_sees(Over::End).await;
            } else {
                tunnel.target.write_all(b"last").await.unwrap();
                tunnel.target.shutdown().await.unwrap();
                assert_eq!(tunnel.client.frame(1).await.payload, b"last");
                let end = tunnel.client.frame(1).await;
                assert_eq!((end.opcode(), end.payload.len()), (BINARY, 0));
            }
        }
        tunnel.client_sees_close(1000).await;
        tunnel.send(CLOSE, &close(1000, "")).await;
        assert_eq!(tunnel.client.seen(1).await, Seen::End);
    }
}

#[tokio::test]
async fn under_half_close_a_client_that_breaks_after_its_end_resets_the_target() {
    for breaks in ["reset", "data", "1011"] {
        let mut tunnel = Tunnel::half_closing().await;
        tunnel.send(BINARY, b"").await;
        tunnel.target_sees(Over::End).await;
        match breaks {
            "reset" => tunnel.client.reset(1, CANCEL).await,
            "data" => tunnel.send(BINARY, b"more").await,
            _ => tunnel.send(CLOSE, &close(1011, "")).await,
        }
        let reset = async {
            while tunnel.target.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within(reset).await;
    }
}

#[tokio::test]
async fn a_reset_by_the_target_becomes_a_close_with_1011() {
    let tunnel = Tunnel::open().await;
    tunnel.target.set_zero_linger().unwrap();
    let Tunnel {
        mut client, target, ..
    } = tunnel;
    drop(target);
    assert_eq!(client.frame(1).await.code(), Some(1011));
    client.data(1, &from_client(CLOSE, &close(1011, ""))).await;
    assert_eq!(client.seen(1).await, Seen::End);
}

/// The target receives FIN only after a Close. A reset, or END_STREAM without a
/// Close, becomes a TCP reset.
#[tokio::test]
async fn a_clients_close_becomes_fin_and_any_other_end_becomes_rst() {
    let mut tunnel = Tunnel::open().await;
    tunnel.send(BINARY, b"last").await;
    tunnel.send(CLOSE, &close(1000, "")).await;
    tunnel.client_sees_close(1000).await;
    assert_eq!(tunnel.read(4).await, b"last");
    tunnel.target_sees(Over::End).await;

    let mut tunnel = Tunnel::open().await;
    tunnel.client.reset(1, CANCEL).await;
    tunnel.target_sees(Over::Reset).await;

    let mut tunnel = Tunnel::open().await;
    tunnel.client.end(1).await;
    tunnel.target_sees(Over::Reset).await;
}

#[tokio::test]
async fn an_idle_tunnel_is_closed_with_1001() {
    let (listener, addr) = listen().await;
    let builder = builder(addr).idle_timeout(Duration::from_millis(30));
    let bridging = Bridging::start(builder).await;
    let before = tasks();
    let mut client = Raw::connect(bridging.addr).await;
    client.open(1, "/").await;
    assert_eq!(client.frame(1).await.code(), Some(1001));
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(client.seen(1).await, Seen::End);
    drop((client, listener));
    until(|| tasks() <= before).await;
}

/// What the client sends before it sees the bridge's Close is delivered, as with any
/// other Close. FIN then shows the target that the data is complete.
#[tokio::test]
async fn data_in_flight_when_a_tunnel_is_closed_as_idle_is_delivered() {
    let (listener, addr) = listen().await;
    let builder = builder(addr).idle_timeout(Duration::from_millis(30));
    let config = WebSocketConfig::default().close_timeout(Duration::from_secs(600));
    let bridging = Bridging::with(builder, config).await;
    let mut client = Raw::connect(bridging.addr).await;
    let ((), accepted) = tokio::join!(client.open(1, "/"), within(listener.accept()));
    assert_eq!(client.frame(1).await.code(), Some(1001));
    client.data(1, &from_client(BINARY, b"last")).await;
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    let mut all = Vec::new();
    let (mut target, _) = accepted.unwrap();
    within(target.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"last");
    assert_eq!(client.seen(1).await, Seen::End);
}

/// When a handler drops a tunnel, the target receives a TCP reset, not FIN.
#[tokio::test]
async fn a_dropped_tunnel_resets_the_target() {
    let (listener, addr) = listen().await;
    let bridge = builder(addr).build().unwrap();
    let (cut, cuts) = tokio::sync::watch::channel(false);
    let running = server::serve(Server::builder(), move |request: WebSocketRequest, _| {
        let (bridge, mut cuts) = (bridge.clone(), cuts.clone());
        async move {
            tokio::select! {
                () = bridge.pass(request) => {}
                _ = cuts.wait_for(|cut| *cut) => {}
            }
        }
    })
    .await;
    let mut client = Raw::connect(running.addr).await;
    let ((), accepted) = tokio::join!(client.open(1, "/"), within(listener.accept()));
    let (mut target, _) = accepted.unwrap();
    client.data(1, &from_client(BINARY, b"a part")).await;
    let mut part = [0; 6];
    within(target.read_exact(&mut part)).await.unwrap();
    cut.send_replace(true);
    let ended = within(target.read(&mut part)).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// A browser that offers subprotocols fails the connection if none is selected.
#[tokio::test]
async fn an_offered_subprotocol_is_selected() {
    let (_listener, addr) = listen().await;
    let bridging = Bridging::start(builder(addr)).await;
    for (offer, selected) in [
        (
            "Sec-WebSocket-Protocol: binary, half-close.h2ws\r\n",
            Some("half-close.h2ws"),
        ),
        ("Sec-WebSocket-Protocol: base64, binary\r\n", Some("binary")),
        ("Sec-WebSocket-Protocol: mqtt\r\n", Some("mqtt")),
        ("", None),
    ] {
        let mut client = Text::ask(bridging.addr, "/", offer).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
        assert_eq!(client.field("sec-websocket-protocol"), selected);
    }
}

#[tokio::test]
async fn an_unreachable_target_is_answered_with_502() {
    let (listener, addr) = listen().await;
    drop(listener);
    let bridging = Bridging::start(builder(addr)).await;
    let mut client = Raw::connect(bridging.addr).await;
    client.headers(1, &Fields::websocket("/"), 0).await;
    assert_eq!(client.status(1).await, 502);
}

/// Without this setting, any web page could reach the target through the browser of
/// a user with access to the bridge. The operator must therefore configure it.
#[tokio::test]
async fn a_tcp_target_requires_allowed_origins() {
    let built = Bridge::to("tcp://127.0.0.1:1").build();
    assert!(matches!(built, Err(BridgeError::OriginsRequired)));
    let (listener, addr) = listen().await;
    let origins = AllowedOrigins::parse(["https://page.example"]).unwrap();
    let bridging = Bridging::start(builder(addr).allowed_origins(origins)).await;
    for (origin, status) in [
        ("Origin: https://evil.example\r\n", "403"),
        ("Origin: https://page.example\r\n", "101"),
    ] {
        let mut client = Text::ask(bridging.addr, "/", origin).await;
        client.read_head().await;
        assert_eq!(&client.head[9..12], status);
    }
    drop(listener);
}

/// No part of a request selects the target: neither its authority, its path, nor its
/// fields, nor a CONNECT without `:protocol`.
#[tokio::test]
async fn no_request_reaches_a_target_that_was_not_configured() {
    let (listener, addr) = listen().await;
    let (other, elsewhere) = listen().await;
    let bridging = Bridging::start(builder(addr)).await;
    let send = h2peer::connect(bridging.addr).await;
    for uri in [
        format!("http://{elsewhere}/"),
        format!("http://{addr}/?target={elsewhere}&token={elsewhere}"),
        format!("http://{addr}/tcp://{elsewhere}"),
    ] {
        let mut request = h2peer::websocket(&uri);
        for name in ["x-forwarded-host", "forwarded", "x-target", "destination"] {
            let value = elsewhere.to_string().parse().unwrap();
            request.headers_mut().insert(name, value);
        }
        let (response, _stream) = h2peer::ask(&send, request, false).await;
        assert_eq!(response.status(), 200);
        // The configured target is reached.
        within(listener.accept()).await.unwrap();
    }
    let connect = http::Request::builder()
        .method("CONNECT")
        .uri(elsewhere.to_string())
        .body(())
        .unwrap();
    let (response, _stream) = h2peer::ask(&send, connect, false).await;
    assert_eq!(response.status(), 501);
    let mut text = TcpStream::connect(bridging.addr).await.unwrap();
    let connect = format!("CONNECT {elsewhere} HTTP/1.1\r\nHost: {elsewhere}\r\n\r\n");
    text.write_all(connect.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    within(text.read_exact(&mut head)).await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 4") || head.starts_with(b"HTTP/1.1 5"));
    let reached = tokio::time::timeout(Duration::from_millis(50), other.accept()).await;
    assert!(reached.is_err(), "a request reached {elsewhere}");
}
