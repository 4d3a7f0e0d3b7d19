//! The client's side of an opening request over HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use h2ws::handshake::{HandshakeError, Key};
use h2ws::{Client, Error, HttpVersion, Message, Timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{ClientFixture, accept, echo, http2, listen, no_stream_is_left};
use crate::support::h2peer;
use crate::support::raw::{
    CANCEL, DATA, ENABLE_CONNECT_PROTOCOL, END_STREAM, Fields, INITIAL_WINDOW_SIZE, NO_ERROR,
    PROTOCOL_ERROR, Raw, Seen,
};
use crate::support::{until, within};

const SHORT: Duration = Duration::from_millis(50);

/// RFC 8441 §3: the client sends no extended CONNECT before the server's SETTINGS enable
/// it.
#[tokio::test]
async fn no_request_is_sent_before_the_servers_settings() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = Raw::accept(within(listener.accept()).await.unwrap().0).await;
        peer.barrier().await;
        peer.barrier().await;
        assert_eq!(peer.pending(), 0, "a request without SETTINGS");
        peer.send_settings(&[(ENABLE_CONNECT_PROTOCOL, 1)]).await;
        peer.take(1).await;
        peer
    });
    tokio::join!(peer.answer(1), async { echo(&mut ws.unwrap(), "hi").await });
}

/// A server that does not know the preface of HTTP/2 answers it in HTTP/1.x, in pieces of any size.
#[tokio::test]
async fn an_http1_response_to_the_preface_is_no_broken_connection() {
    let response = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
    for piece in [1, 2, 8, 9, 10, response.len()] {
        let (listener, addr) = listen().await;
        let client = http2().build().unwrap();
        let url = format!("ws://{addr}/");
        let served = async {
            let (mut tcp, _) = within(listener.accept()).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let mut preface = [0; 24];
            within(tcp.read_exact(&mut preface)).await.unwrap();
            for piece in response.chunks(piece) {
                // Fails if the client has seen enough.
                let _ = within(tcp.write_all(piece)).await;
                tokio::task::yield_now().await;
            }
            tcp
        };
        let (connected, _tcp) = tokio::join!(within(client.connect(&url)), served);
        assert!(
            matches!(connected, Err(Error::NoExtendedConnect)),
            "{piece}: {connected:?}"
        );
    }
}

/// RFC 8441 §3: without the setting the client sends no extended CONNECT.
#[tokio::test]
async fn no_request_is_sent_without_the_setting() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    for settings in [&[][..], &[(ENABLE_CONNECT_PROTOCOL, 0)]] {
        let (rejected, frames) = tokio::join!(client.connect(&url), async {
            let mut peer = Raw::accept(within(listener.accept()).await.unwrap().0).await;
            peer.send_settings(settings).await;
            peer.rest().await
        });
        assert!(matches!(rejected, Err(Error::NoExtendedConnect)));
        assert!(frames.iter().all(|f| f.stream == 0), "{frames:?}");
    }
}

/// RFC 8441 §3 allows the setting in any SETTINGS frame.
#[tokio::test]
async fn the_setting_may_arrive_in_the_second_frame() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, _peer) = tokio::join!(client.connect(&url), async {
        let mut peer = Raw::accept(within(listener.accept()).await.unwrap().0).await;
        let both = [
            &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
            &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1],
        ];
        peer.write(&both.concat()).await;
        peer.take(1).await;
        peer
    });
    assert!(ws.unwrap().transport().is_http2());
}

/// RFC 8441 §3: a server must not withdraw the setting. The sockets of one that does
/// continue.
#[tokio::test]
async fn withdrawing_the_setting_ends_no_socket() {
    let mut fixture = ClientFixture::new().await;
    fixture
        .peer
        .send_settings(&[(ENABLE_CONNECT_PROTOCOL, 0)])
        .await;
    fixture.peer.barrier().await;
    fixture.unharmed().await;
}

/// RFC 8441 §4-5, field by field.
#[tokio::test]
async fn the_request_follows_the_rfc() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        h2peer::serve(io, builder, move |request, respond| {
            let (parts, body) = request.into_parts();
            assert!(!body.is_end_stream());
            sender.send(parts.clone()).unwrap();
            let request = http::Request::from_parts(parts, body);
            tokio::spawn(h2peer::echo(request, respond));
        })
        .await
    });
    let url = format!("ws://{addr}/chat?room=1");
    let request = client
        .request(&url)
        .origin("https://page.example")
        .header("cookie", "a=b")
        .subprotocol("one")
        .subprotocol("two");
    let _ws = within(request.connect()).await.unwrap();
    let parts = within(seen.recv()).await.unwrap();
    assert_eq!(parts.method, http::Method::CONNECT);
    let protocol = parts.extensions.get::<h2::ext::Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert_eq!(parts.uri.scheme_str(), Some("http"));
    assert_eq!(parts.uri.authority().unwrap().as_str(), addr.to_string());
    assert_eq!(parts.uri.path_and_query().unwrap(), "/chat?room=1");
    for (name, value) in [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "one, two"),
        ("origin", "https://page.example"),
        ("cookie", "a=b"),
    ] {
        assert_eq!(parts.headers[name], value);
    }
    for absent in ["upgrade", "connection", "content-length", "host"] {
        assert!(!parts.headers.contains_key(absent), "{absent}");
    }
}

/// RFC 8441 §5 makes no use of a key, but a gateway to a server of RFC 6455 §4.1 may have
/// no other to forward. If enabled, a fresh key is sent with each request, and the response
/// to it is not checked.
#[tokio::test]
async fn a_key_is_sent_only_if_enabled() {
    let (listener, addr) = listen().await;
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let sender = sender.clone();
            tokio::spawn(h2peer::serve(io, builder, move |request, mut respond| {
                let key = request.headers().get("sec-websocket-key").cloned();
                sender.send(key).unwrap();
                let answer = http::Response::builder().header("sec-websocket-accept", "another");
                let sent = respond.send_response(answer.body(()).unwrap(), false);
                std::mem::forget(sent.unwrap());
            }));
        }
    });
    let url = format!("ws://{addr}/");
    let (on, off) = (http2().websocket_key(true), http2());
    let (on, off) = (on.build().unwrap(), off.build().unwrap());
    let mut keys = std::collections::HashSet::new();
    for (request, is_sent) in [
        (on.request(&url), true),
        (on.request(&url), true),
        (off.request(&url).websocket_key(true), true),
        (off.request(&url), false),
        (on.request(&url).websocket_key(false), false),
    ] {
        within(request.connect()).await.unwrap();
        let key = within(seen.recv()).await.unwrap();
        assert_eq!(key.is_some(), is_sent);
        if let Some(key) = key {
            Key::parse(&key).unwrap();
            assert!(keys.insert(key), "the same key was sent twice");
        }
    }
}

/// RFC 8441 §5 has no use for `Sec-WebSocket-Accept`, and any 2xx accepts (RFC 9110
/// §9.3.6).
#[tokio::test]
async fn any_2xx_accepts_whatever_the_accept_field_says() {
    let mut fixture = ClientFixture::new().await;
    let answer = Fields::status("204").with("sec-websocket-accept", "nonsense");
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        peer.headers(3, &answer, 0).await;
    });
    let mut ws = ws.unwrap();
    tokio::join!(peer.answer(3), echo(&mut ws, "accepted"));
    drop(ws);
    fixture.peer.let_go(3).await;
    fixture.unharmed().await;
}

/// RFC 9110 §9.3.6 has a client ignore `content-length` in an accepting answer, but the
/// `h2` crate enforces it. Only that stream fails.
#[tokio::test]
async fn a_content_length_in_the_accepting_answer_fails_only_its_stream() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        let answer = Fields::status("200").with("content-length", "0");
        peer.headers(3, &answer, 0).await;
    });
    let mut ws = ws.unwrap();
    fixture.peer.data(3, &[0x81, 0]).await;
    let error = within(ws.next()).await.unwrap().unwrap_err();
    assert!(error.is_abnormal_closure(), "{error:?}");
    assert_eq!(fixture.peer.seen(3).await, Seen::Reset(PROTOCOL_ERROR));
    fixture.unharmed().await;
}

/// RFC 9110 §15.2: interim answers precede the final one.
#[tokio::test]
async fn interim_answers_are_skipped() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        let hints = Fields::status("103").with("link", "</style.css>");
        peer.headers(3, &hints, 0).await;
        peer.headers(3, &Fields::status("100"), 0).await;
        peer.headers(3, &Fields::status("200"), 0).await;
    });
    let mut ws = ws.unwrap();
    tokio::join!(peer.answer(3), echo(&mut ws, "at last"));
    drop(ws);
    fixture.peer.let_go(3).await;
    fixture.unharmed().await;
}

/// RFC 8441 §5: END_STREAM on the accepting answer is a connection that ended at once.
#[tokio::test]
async fn a_200_with_end_stream_is_abnormal() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        peer.headers(3, &Fields::status("200"), END_STREAM).await;
    });
    let mut ws = ws.unwrap();
    let ended = within(ws.next()).await.expect("an error");
    assert!(matches!(ended, Err(Error::Abnormal)), "{ended:?}");
    let seen = fixture.peer.seen(3).await;
    assert!(matches!(seen, Seen::End | Seen::Reset(CANCEL)), "{seen:?}");
    fixture.unharmed().await;
}

/// RFC 9110 §15: a rejection consists of status, fields and body, and is not retried.
#[tokio::test]
async fn a_rejection_keeps_its_status_fields_and_body() {
    for status in ["301", "401", "403", "404", "426", "503"] {
        let mut fixture = ClientFixture::new().await;
        let peer = &mut fixture.peer;
        let (rejected, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
            peer.request(3).await;
            let answer = Fields::status(status).with("x-why", "because");
            peer.headers(3, &answer, 0).await;
            peer.data(3, b"not ").await;
            peer.send(DATA, END_STREAM, 3, b"frames").await;
        });
        let error = rejected.unwrap_err();
        let rejection = error.rejected_response().expect("a rejection");
        assert_eq!(rejection.status.as_str(), status);
        assert_eq!(rejection.headers["x-why"], "because");
        assert_eq!(rejection.body, Bytes::from_static(b"not frames"));
        let seen = fixture.peer.seen(3).await;
        assert!(
            matches!(seen, Seen::End | Seen::Reset(CANCEL | NO_ERROR)),
            "the client's side is left open: {seen:?}"
        );
        fixture.unharmed().await;
    }
}

/// A rejection's body is kept up to the configured limit, and the rest is not waited for.
#[tokio::test]
async fn the_body_of_a_rejection_is_bounded() {
    let client = http2().max_rejection_body(10).build().unwrap();
    let mut fixture = ClientFixture::with(client).await;
    let peer = &mut fixture.peer;
    let (rejected, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        peer.headers(3, &Fields::status("500"), 0).await;
        peer.data(3, &[b'x'; 1000]).await;
    });
    let error = rejected.unwrap_err();
    assert_eq!(
        error.rejected_response().unwrap().body,
        Bytes::from_static(&[b'x'; 10])
    );
    assert_eq!(fixture.peer.seen(3).await, Seen::Reset(CANCEL));
    fixture.unharmed().await;
}

/// A body that does not end does not withhold the rejection from the caller.
#[tokio::test]
async fn the_body_of_a_rejection_may_stall() {
    let client = http2().handshake_timeout(SHORT).build().unwrap();
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/");
    let (rejected, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = accept(&listener, &[]).await;
        peer.request(1).await;
        peer.headers(1, &Fields::status("500"), 0).await;
        peer.data(1, b"to be").await;
        peer
    });
    let error = rejected.unwrap_err();
    assert_eq!(
        error.rejected_response().unwrap().body,
        Bytes::from_static(b"to be")
    );
    assert_eq!(peer.seen(1).await, Seen::Reset(CANCEL));
    no_stream_is_left(&client).await;
}

/// RFC 6455 §4.1: a subprotocol or an extension that was not offered fails the
/// connection.
#[tokio::test]
async fn an_unoffered_subprotocol_or_extension_fails_the_stream() {
    for (name, value) in [
        ("sec-websocket-protocol", "unoffered"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-extensions", "x-unheard-of"),
    ] {
        let mut fixture = ClientFixture::new().await;
        let peer = &mut fixture.peer;
        let request = fixture.client.request(&fixture.url).subprotocol("offered");
        let (rejected, ()) = tokio::join!(request.connect(), async {
            peer.request(3).await;
            let answer = Fields::status("200").with(name, value);
            peer.headers(3, &answer, 0).await;
        });
        match rejected {
            Err(Error::Handshake(
                HandshakeError::UnofferedSubprotocol(what)
                | HandshakeError::UnofferedExtension(what),
            )) => assert_eq!(what, value),
            other => panic!("{other:?}"),
        }
        assert_eq!(fixture.peer.seen(3).await, Seen::Reset(CANCEL));
        fixture.unharmed().await;
    }
}

/// RFC 6455 §4.1: the socket uses the offered subprotocol that the server selected.
#[tokio::test]
async fn the_socket_has_the_agreed_subprotocol() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let request = fixture.client.request(&fixture.url);
    let request = request.subprotocol("one").subprotocol("two");
    let (ws, ()) = tokio::join!(request.connect(), async {
        peer.request(3).await;
        let answer = Fields::status("200").with("sec-websocket-protocol", "two");
        peer.headers(3, &answer, 0).await;
    });
    let ws = ws.unwrap();
    assert_eq!(ws.subprotocol(), Some("two"));
    drop(ws);
    fixture.peer.let_go(3).await;
    fixture.unharmed().await;
}

/// Apache stalls silently above a number of streams: an opening request has a time limit,
/// and its stream is then reset.
#[tokio::test]
async fn an_unanswered_request_times_out() {
    let client = http2().handshake_timeout(SHORT).build().unwrap();
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/");
    let (failed, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = accept(&listener, &[]).await;
        peer.request(1).await;
        peer
    });
    assert!(matches!(failed, Err(Error::Timeout(Timeout::Handshake))));
    assert_eq!(peer.seen(1).await, Seen::Reset(CANCEL));
    // The connection is still usable.
    let (ws, ()) = tokio::join!(client.connect(&url), peer.take(3));
    drop(ws.unwrap());
    peer.let_go(3).await;
    no_stream_is_left(&client).await;
}

/// RFC 9113 §3.4: the server's SETTINGS never arrive.
#[tokio::test]
async fn a_server_without_settings_times_out() {
    let client = http2().connect_timeout(SHORT).build().unwrap();
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/");
    let (failed, frames) = tokio::join!(client.connect(&url), async {
        let peer = Raw::accept(within(listener.accept()).await.unwrap().0).await;
        peer.rest().await
    });
    assert!(matches!(failed, Err(Error::Timeout(Timeout::Connect))));
    assert!(frames.iter().all(|f| f.stream == 0), "{frames:?}");
}

/// A client does not wait for a server that disconnects before it answers.
#[tokio::test]
async fn a_connection_cut_before_the_answer_fails_the_request() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let (failed, ()) = tokio::join!(within(client.connect(&url)), async {
        let mut peer = accept(&listener, &[]).await;
        peer.request(1).await;
    });
    assert!(failed.is_err());
    until(|| client.connections().is_empty()).await;
}

/// Cancelling the attempt resets its stream, and nothing else.
#[tokio::test]
async fn a_cancelled_attempt_resets_its_stream() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    tokio::select! {
        _ = fixture.client.connect(&fixture.url) => panic!("there was no answer"),
        () = peer.request(3) => {}
    }
    assert_eq!(peer.seen(3).await, Seen::Reset(CANCEL));
    fixture.unharmed().await;
}

/// RFC 9113 §6.9.2: with an initial window of 0, the client sends nothing before
/// WINDOW_UPDATE, and then no more than that allows.
#[tokio::test]
async fn an_initial_window_of_zero_is_respected() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = accept(&listener, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        peer.take(1).await;
        peer
    });
    let mut ws = ws.unwrap();
    ws.send(Message::binary(vec![7; 1000])).await.unwrap();
    peer.barrier().await;
    peer.barrier().await;
    assert_eq!(peer.pending(), 0, "bytes without a window");
    peer.window(1, 300).await;
    let data = peer.on(1).await.unwrap();
    assert_eq!((data.kind, data.payload.len()), (DATA, 300));
    peer.barrier().await;
    assert_eq!(peer.pending(), 0, "bytes beyond the window");
    peer.window(1, 10_000).await;
    let data = peer.on(1).await.unwrap();
    assert_eq!((data.kind, data.payload.len()), (DATA, 1008 - 300));
    drop(ws);
    peer.let_go(1).await;
    no_stream_is_left(&client).await;
}

/// `ws` URLs use HTTP/1.1 unless HTTP/2 is requested.
#[tokio::test]
async fn the_caller_chooses_the_version() {
    let server = crate::support::server::echo(h2ws::Server::builder()).await;
    let client = Client::builder()
        .tls(crate::support::tls::none())
        .build()
        .unwrap();
    let url = server.url("/");
    let ws = within(client.connect(&url)).await.unwrap();
    assert!(!ws.transport().is_http2());
    let request = client.request(&url).version(HttpVersion::Http2);
    let ws = within(request.connect()).await.unwrap();
    assert!(ws.transport().is_http2());
}
