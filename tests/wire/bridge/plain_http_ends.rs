//! Plain HTTP requests that end early, and what a bridge reports about all of them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use h2ws::bridge::{AccessRecord, Outcome, Side};
use h2ws::{HttpVersion, WebSocketConfig};
use http::{Method, Response};
use tokio::io::AsyncReadExt;

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::listen;
use crate::support::plain_http::{GET, OK, answered, answered_in_text, chunk, request};
use crate::support::recorder::{Event, Recorder};
use crate::support::text::Text;
use crate::support::{h2peer, within};

/// RFC 9113 §8.1.1: if a body is shorter than declared, the bridge cuts the connection
/// to the upstream, which therefore cannot take the body for complete.
#[tokio::test]
async fn an_incomplete_request_body_is_cut_at_the_upstream() {
    let (bridging, listener) = to_text().await;
    for (length, reset) in [
        (Some("5"), None),
        (None, Some(h2::Reason::CANCEL)),
        (None, Some(h2::Reason::NO_ERROR)),
    ] {
        let client = h2peer::connect(bridging.addr).await;
        let mut send = within(client.clone().ready()).await.unwrap();
        let mut asked = request(Method::POST, "/");
        if let Some(length) = length {
            asked
                .headers_mut()
                .insert("content-length", length.parse().unwrap());
        }
        let (response, mut upload) = send.send_request(asked, false).unwrap();
        upload.send_data("abc".into(), false).unwrap();
        let mut backend = Text::asked(&listener).await;
        let sent = if length.is_some() {
            "abc"
        } else {
            "3\r\nabc\r\n"
        };
        assert_eq!(backend.take(sent.len()).await, sent);
        match reset {
            Some(reason) => upload.send_reset(reason),
            None => upload.send_data(Bytes::new(), true).unwrap(),
        }
        let mut rest = Vec::new();
        let _ = within(backend.io.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "{length:?} {reset:?}: the body ended cleanly");
        let _ = within(response).await;
    }
}

/// If a client aborts its request, before the response or within it, the bridge
/// closes the connection to the upstream.
#[tokio::test]
async fn a_client_that_aborts_cancels_the_upstream_request() {
    let (bridging, listener) = to_text().await;
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"] {
        let client = h2peer::connect(bridging.addr).await;
        let mut send = within(client.clone().ready()).await.unwrap();
        let (response, mut upload) = send.send_request(request(Method::GET, "/"), true).unwrap();
        let mut backend = Text::asked(&listener).await;
        backend.write(answer).await;
        let mut response = Some(response);
        if !answer.is_empty() {
            let mut body = within(response.take().unwrap()).await.unwrap().into_body();
            assert_eq!(chunk(&mut body).await, "ok");
            upload.send_reset(h2::Reason::CANCEL);
        } else {
            upload.send_reset(h2::Reason::CANCEL);
        }
        let _ = within(backend.io.read_to_end(&mut Vec::new())).await;

        let client = Text::client(bridging.addr, GET).await;
        let mut backend = Text::asked(&listener).await;
        backend.write(answer).await;
        drop(client);
        let _ = within(backend.io.read_to_end(&mut Vec::new())).await;
    }
}

/// If an upstream disconnects within a response body, the client's stream is reset or
/// its connection is closed without the end of the body.
#[tokio::test]
async fn an_incomplete_response_body_does_not_end_cleanly() {
    let (bridging, listener) = to_text().await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut body = answered(&bridging, &listener, Method::GET, answer)
            .await
            .into_body();
        assert_eq!(chunk(&mut body).await, "half");
        let error = within(body.data()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));

        let got = answered_in_text(&bridging, &listener, GET, answer).await;
        assert!(got.contains("half"), "{got}");
        assert!(!got.ends_with("0\r\n\r\n"), "the body ended cleanly: {got}");
    }
}

/// If an HTTP/2 upstream resets its stream, the client's stream is reset, also for
/// NO_ERROR, which is not a clean end. A client's reset cancels the upstream's stream.
#[tokio::test]
async fn resets_are_forwarded_from_and_to_an_http2_upstream() {
    let (listener, addr) = listen().await;
    let (reset_tx, mut resets) = tokio::sync::mpsc::unbounded_channel();
    let half_read = Arc::new(tokio::sync::Notify::new());
    let half_received = half_read.clone();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let builder = h2::server::Builder::new();
        let _ = h2peer::serve(io, builder, move |request, mut respond| {
            let (reset_tx, half_received) = (reset_tx.clone(), half_received.clone());
            tokio::spawn(async move {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data("half".into(), false).unwrap();
                half_received.notified().await;
                match request.uri().path() {
                    "/break" => send.send_reset(h2::Reason::INTERNAL_ERROR),
                    "/no-error" => send.send_reset(h2::Reason::NO_ERROR),
                    _ => {
                        let reset = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
                        reset_tx.send(reset.unwrap()).unwrap();
                    }
                }
            });
        })
        .await;
    });
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let client = h2peer::connect(bridging.addr).await;
    for path in ["/break", "/no-error", "/stay"] {
        let asked = request(Method::GET, path);
        let (response, mut stream) = h2peer::ask(&client, asked, true).await;
        let mut body = response.into_body();
        assert_eq!(chunk(&mut body).await, "half");
        half_read.notify_one();
        if path == "/stay" {
            stream.send_reset(h2::Reason::CANCEL);
            assert_eq!(within(resets.recv()).await, Some(h2::Reason::CANCEL));
        } else {
            let ended = within(body.data()).await.expect("the body ended cleanly");
            let reason = ended.unwrap_err().reason();
            assert_eq!(reason, Some(h2::Reason::INTERNAL_ERROR), "{path}");
        }
    }
}

/// Status, outcome, bytes up, and bytes down.
type RequestEnd = (Option<u16>, Outcome, u64, u64);

fn end(event: Event, access: &AccessRecord) -> Option<RequestEnd> {
    assert_eq!(event, Event::RequestEnd);
    assert_eq!(access.method(), Some(&Method::GET));
    let status = access.status().map(|status| status.as_u16());
    let (up, down) = (access.bytes_up(), access.bytes_down());
    Some((status, access.closed()?, up, down))
}

/// Each request is reported once, with its outcome, and no longer counts toward any
/// limit then.
#[tokio::test]
async fn each_request_is_reported_once_and_frees_its_slot() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).max_sockets(1);
    let bridge = builder.build().unwrap();
    let recorder = Recorder::of(&bridge, end);
    let bridging = Bridging::of(&bridge, WebSocketConfig::default()).await;
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    for answer in [OK, broken] {
        let response = answered(&bridging, &listener, Method::GET, answer).await;
        let mut body = response.into_body();
        while let Some(Ok(_)) = within(body.data()).await {}
    }
    let client = Text::client(bridging.addr, GET).await;
    let backend = Text::asked(&listener).await;
    assert_eq!(bridge.idle().now_or_never(), None);
    drop(client);
    within(bridge.idle()).await;
    assert_eq!(recorder.len(), 3);
    drop((backend, listener));
    let mut client = Text::client(bridging.addr, GET).await;
    client.read_head().await;
    within(bridge.idle()).await;
    let expected = [
        (Some(200), Outcome::Answered, 0, 2),
        (Some(200), Outcome::Broken(Side::Upstream), 0, 4),
        (None, Outcome::Gone, 0, 0),
        (Some(502), Outcome::Rejected(Side::Upstream), 0, 0),
    ];
    assert_eq!(recorder.take(), expected);
    let routes = bridge.routes();
    let route = routes.iter().next().unwrap();
    assert_eq!(route.sockets(), 0);
    assert_eq!(route.upstreams()[0].sockets, 0);
}
