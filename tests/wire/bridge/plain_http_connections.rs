//! Which connections a bridge uses for plain HTTP requests to upstreams.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use h2ws::bridge::{Bridge, Route, Routes};
use h2ws::{HttpVersion, Server, WebSocketConfig};
use http::{Method, Response};

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::{accept, listen};
use crate::support::plain_http::{OK, chunk, request};
use crate::support::raw::{Fields, Raw};
use crate::support::text::Text;
use crate::support::{h2peer, tls, within};

/// RFC 9112 §9.3: a connection to an upstream is reused, and replaced if the upstream
/// has closed it in the meantime.
#[tokio::test]
async fn connections_to_upstreams_are_reused() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    let ask = || async {
        let (response, _) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
        assert_eq!(response.status(), 200);
        assert_eq!(h2peer::body(response.into_body()).await, b"ok");
    };
    let (mut backend, ()) = tokio::join!(
        async {
            let mut backend = Text::asked(&listener).await;
            backend.write(OK).await;
            for _ in 0..2 {
                backend.read_head().await;
                backend.write(OK).await;
            }
            backend
        },
        async {
            for _ in 0..3 {
                ask().await;
            }
        }
    );
    // The upstream closes the connection instead of responding, as after an idle
    // timeout. A GET is repeated whether or not the upstream has read it.
    tokio::join!(ask(), async {
        backend.read_head().await;
        drop(backend);
        let mut another = Text::asked(&listener).await;
        another.write(OK).await;
    });
}

/// RFC 9110 §9.2.2: a request that is not idempotent is not repeated, since the
/// upstream may have processed it.
#[tokio::test]
async fn a_request_that_must_not_be_repeated_is_answered_with_502() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    tokio::join!(
        async {
            let mut backend = Text::asked(&listener).await;
            backend.write(OK).await;
            backend.read_head().await;
            assert_eq!(backend.field("content-length"), Some("0"));
        },
        async {
            let get = request(Method::GET, "/");
            let (response, _) = h2peer::ask(&client, get, true).await;
            assert_eq!(h2peer::body(response.into_body()).await, b"ok");
            let post = request(Method::POST, "/");
            let (response, _) = h2peer::ask(&client, post, true).await;
            assert_eq!(response.status(), 502);
        }
    );
}

/// RFC 9113 §8.3.1: an HTTP/2 upstream receives the client's authority, and requests
/// share its connection.
#[tokio::test]
async fn requests_to_an_http2_upstream_share_one_connection() {
    let (listener, addr) = listen().await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = seen.clone();
    let upstream = tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let served = h2peer::serve(
            io,
            h2::server::Builder::new(),
            move |request, mut respond| {
                record.lock().unwrap().push(request.uri().to_string());
                tokio::spawn(async move {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    let body = h2peer::body(request.into_body()).await;
                    send.send_data(body.into(), false).unwrap();
                    let sum = [("x-sum".parse().unwrap(), "1".parse().unwrap())];
                    send.send_trailers(sum.into_iter().collect()).unwrap();
                });
            },
        );
        let _ = served.await;
        panic!("the bridge closed the shared connection");
    });
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let client = h2peer::connect(bridging.addr).await;
    let ask = |n: usize| {
        let client = client.clone();
        async move {
            let mut send = within(client.ready()).await.unwrap();
            let asked = request(Method::POST, &format!("/{n}"));
            let (response, mut upload) = send.send_request(asked, false).unwrap();
            upload.send_data(vec![n as u8; 1000].into(), true).unwrap();
            let mut body = within(response).await.unwrap().into_body();
            assert_eq!(chunk(&mut body).await, vec![n as u8; 1000]);
            assert!(within(body.data()).await.is_none());
            assert_eq!(
                within(body.trailers()).await.unwrap().unwrap()["x-sum"],
                "1"
            );
        }
    };
    futures_util::future::join_all((0..20).map(ask)).await;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    let mut expected: Vec<_> = (0..20).map(|n| format!("http://a.test/{n}")).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(!upstream.is_finished());
}

/// Sends a GET, expects 200, and returns the body.
async fn get(client: SendRequest<Bytes>) -> Vec<u8> {
    let (response, body) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
    assert_eq!(response.status(), 200);
    drop(body);
    within(h2peer::body(response.into_body())).await
}

/// Sends the head of a response and a part of its body.
async fn begin(upstream: &mut Raw, stream: u32, part: &[u8]) {
    upstream.on(stream).await.expect("a request");
    upstream.headers(stream, &Fields::status("200"), 0).await;
    upstream.data(stream, part).await;
}

/// RFC 9113 §5.1.2: when responses without end, such as server-sent events, use all
/// streams that an upstream allows, a second connection is opened. The first one is
/// used again when a stream is free.
#[tokio::test]
async fn another_connection_is_opened_when_all_streams_are_in_use() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let client = h2peer::connect(bridging.addr).await;
    let endless = tokio::spawn(get(client.clone()));
    let mut full = accept(&listener, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    begin(&mut full, 1, b"a").await;
    full.barrier().await;

    let second = tokio::spawn(get(client.clone()));
    let mut other = accept(&listener, &[]).await;
    begin(&mut other, 1, b"b").await;
    other.end(1).await;
    assert_eq!(within(second).await.unwrap(), b"b");

    full.end(1).await;
    assert_eq!(within(endless).await.unwrap(), b"a");
    let third = tokio::spawn(get(client.clone()));
    begin(&mut full, 3, b"c").await;
    full.end(3).await;
    assert_eq!(within(third).await.unwrap(), b"c");
}

/// RFC 7301: over TLS, ALPN selects the protocol.
#[tokio::test]
async fn alpn_selects_the_http_version_for_a_wss_upstream() {
    for (protocol, version) in [(&b"h2"[..], "HTTP/2.0"), (b"http/1.1", "HTTP/1.1")] {
        let (mut server_tls, client_tls) = tls::pair();
        server_tls.alpn_protocols = vec![protocol.to_vec()];
        let upstream = Server::builder()
            .tls(server_tls)
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        let addr = upstream.local_addr().unwrap();
        let pages = axum::Router::new().fallback(|request: axum::extract::Request| async move {
            format!("{:?}", request.version())
        });
        let reject = |request: h2ws::server::WebSocketRequest| async {
            request.reject(http::StatusCode::NOT_FOUND);
        };
        tokio::spawn(upstream.serve(reject).fallback(pages).into_future());
        let client = h2ws::Client::builder().tls(client_tls).build().unwrap();
        let to = format!("wss://localhost:{}", addr.port());
        let bridging = Bridging::start(Bridge::to(&to).client(client)).await;
        let client = h2peer::connect(bridging.addr).await;
        for _ in 0..3 {
            let (response, _) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
            assert_eq!(response.status(), 200);
            assert_eq!(h2peer::body(response.into_body()).await, version.as_bytes());
        }
    }
}

/// A route must not use a connection whose certificate only another route's client
/// trusts.
#[tokio::test]
async fn routes_with_different_clients_share_no_connection() {
    let (mut server_tls, client_tls) = tls::pair();
    server_tls.alpn_protocols = vec![b"h2".to_vec()];
    let upstream = Server::builder().tls(server_tls);
    let upstream = upstream.bind("127.0.0.1:0").await.unwrap();
    let to = format!("wss://localhost:{}", upstream.local_addr().unwrap().port());
    let reject = |request: h2ws::server::WebSocketRequest| async {
        request.reject(http::StatusCode::NOT_FOUND);
    };
    let pages = axum::Router::new().fallback(|| async { "page" });
    tokio::spawn(upstream.serve(reject).fallback(pages).into_future());
    let client = |tls| h2ws::Client::builder().tls(tls).build().unwrap();
    let route = |path: &str| {
        let route = Route::builder("*", path).unwrap();
        route.upstream(to.parse().unwrap())
    };
    let trusting = client(client_tls);
    let routes = [
        route("/trusted").client(trusting.clone()),
        route("/trusted/too").client(trusting),
        route("/page"),
    ];
    let routes = routes.into_iter().fold(Routes::builder(), |table, route| {
        table.route(route.build().unwrap())
    });
    let bridge = Bridge::new(client(tls::none()), routes.build().unwrap());
    assert_eq!(bridge.clients().len(), 2);
    let bridging = Bridging::of(&bridge, WebSocketConfig::default()).await;
    let client = h2peer::connect(bridging.addr).await;
    for _ in 0..2 {
        for (path, status) in [("/trusted", 200), ("/page", 502)] {
            let (response, _) = h2peer::ask(&client, request(Method::GET, path), true).await;
            assert_eq!(response.status(), status, "{path}");
        }
    }
}
