//! Host names, paths, and forwarded fields: which the bridge sends to upstreams,
//! and how it rewrites them in responses.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use h2ws::bridge::{Bridge, HeaderRules};
use h2ws::handshake::HostPort;
use h2ws::http::HeaderMap;
use h2ws::server::WebSocketRequest;
use h2ws::{Client, HttpVersion, Server};

use crate::support::bridge::{Bridging, to};
use crate::support::client::listen;
use crate::support::plain_http::{GET, OK};
use crate::support::table::{Table, route, table};
use crate::support::text::Text;
use crate::support::tls;

/// Sends a client's request through the bridge, and returns the request that the
/// upstream received.
async fn forward(table: &Table, listener: &tokio::net::TcpListener, request: &str) -> Text {
    let mut client = Text::client(table.addr, request).await;
    let mut backend = Text::asked(listener).await;
    backend.write(OK).await;
    client.read_head().await;
    backend
}

#[tokio::test]
async fn a_stripped_prefix_is_forwarded_and_restored_in_responses() {
    let (listener, addr) = listen().await;
    let table = Table::start(table([route("/app/*", &[addr]).strip_prefix(true)])).await;
    let request = GET.replace("/page", "/app/page?x");
    let mut client = Text::client(table.addr, &request).await;
    let mut backend = Text::asked(&listener).await;
    assert!(backend.head.starts_with("GET /page?x "), "{}", backend.head);
    assert_eq!(backend.field("x-forwarded-prefix"), Some("/app"));
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{addr}/login\r\nSet-Cookie: a=b; Path=/\r\n\
         Content-Length: 0\r\n\r\n"
    );
    backend.write(answer).await;
    client.read_head().await;
    assert_eq!(client.field("location"), Some("http://a.test/app/login"));
    assert_eq!(client.field("set-cookie"), Some("a=b; Path=/app"));

    // A WebSocket that is rejected with a redirect.
    let mut client = Text::ask(table.addr, "/app/socket", "").await;
    let mut backend = Text::asked(&listener).await;
    assert_eq!(backend.field("x-forwarded-prefix"), Some("/app"));
    let answer = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    backend.write(answer).await;
    client.read_head().await;
    assert_eq!(client.field("location"), Some("/app/login"));
}

fn name_user(headers: &mut HeaderMap) {
    let rules = HeaderRules::default().set("x-user", "ann").unwrap();
    rules.apply(headers);
}

/// RFC 9110 §7.6.1: a client may name any field in `connection`. It cannot thereby remove one that a
/// layer or a handler has set for the upstream.
#[tokio::test]
async fn connection_does_not_name_fields_that_the_bridge_itself_sets() {
    let (listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http1).build().unwrap();
    let forward = bridge.handler();
    let sockets = move |mut request: WebSocketRequest| {
        let forward = forward.clone();
        async move {
            assert_eq!(request.headers().get("x-user"), None);
            name_user(request.headers_mut());
            forward(request).await;
        }
    };
    let pages = axum::Router::new().fallback_service(bridge.service());
    let pages = pages.layer(from_fn(async move |mut request: Request, next: Next| {
        assert_eq!(request.headers().get("x-user"), None);
        name_user(request.headers_mut());
        next.run(request).await
    }));
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let ours = server.local_addr().unwrap();
    let serving = tokio::spawn(server.serve(sockets).fallback(pages).into_future());
    let forged = "Connection: X-User\r\nX-User: root\r\nX_User: root\r\n";

    let page = GET.replace("\r\n\r\n", &format!("\r\n{forged}\r\n"));
    let _client = Text::client(ours, &page).await;
    let received = Text::asked(&listener).await;
    assert_eq!(received.field("x-user"), Some("ann"));
    assert_eq!(received.field("x_user"), None);

    let _client = Text::ask(ours, "/", forged).await;
    let received = Text::asked(&listener).await;
    assert_eq!(received.field("x-user"), Some("ann"));
    assert_eq!(received.field("x_user"), None);
    serving.abort();
}

#[tokio::test]
async fn upstream_host_sets_the_host_field() {
    let (listener, addr) = listen().await;
    let name: HostPort = "site.test:81".parse().unwrap();
    for (route, expected) in [
        (route("/*", &[addr]), "a.test".to_owned()),
        (route("/*", &[addr]).upstream_host(true), addr.to_string()),
        (
            route("/*", &[addr]).upstream_host(name),
            "site.test:81".to_owned(),
        ),
    ] {
        let table = Table::start(table([route])).await;
        let backend = forward(&table, &listener, GET).await;
        assert_eq!(backend.field("host"), Some(&*expected));
        let _client = Text::ask(table.addr, "/", "").await;
        let backend = Text::asked(&listener).await;
        let socket_host = expected.replace("a.test", "localhost");
        assert_eq!(backend.field("host"), Some(&*socket_host));
    }
}

/// RFC 6066 §3: with `server_name`, an upstream that is configured by address
/// receives this name in SNI, and its certificate must be valid for it.
#[tokio::test]
async fn server_name_sets_the_tls_name_of_an_upstream_address() {
    let (server_tls, client_tls) = tls::pair();
    let upstream = Server::builder().tls(server_tls);
    let upstream = upstream.bind("127.0.0.1:0").await.unwrap();
    let port = upstream.local_addr().unwrap().port();
    let pages = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        let peer = request.extensions().get::<h2ws::server::Peer>().unwrap();
        format!("{:?}", peer.tls().and_then(|tls| tls.server_name()))
    });
    let reject = |request: h2ws::server::WebSocketRequest| async {
        request.reject(http::StatusCode::NOT_FOUND);
    };
    tokio::spawn(upstream.serve(reject).fallback(pages).into_future());
    let url = format!("wss://127.0.0.1:{port}");
    for (name, status) in [
        (None, 502),
        (Some("localhost"), 200),
        (Some("other.test"), 502),
    ] {
        let client = Client::builder().tls(client_tls.clone()).build().unwrap();
        let named = name.map(str::to_owned);
        let bridge = Bridge::to(&url).client(client).server_name(named);
        let bridging = Bridging::start(bridge).await;
        let mut client = Text::client(bridging.addr, GET).await;
        client.read_head().await;
        assert!(
            client.head.contains(&format!(" {status} ")),
            "{name:?} {}",
            client.head
        );
        if status == 200 {
            assert_eq!(client.take(17).await, "Some(\"localhost\")");
        }
        let mut socket = Text::ask(bridging.addr, "/", "").await;
        socket.read_head().await;
        let socket_status = if status == 200 { 404 } else { 502 };
        assert!(
            socket.head.contains(&format!(" {socket_status} ")),
            "{name:?} {}",
            socket.head
        );
    }
}

/// Ambiguous paths are answered with 400, for sockets and plain HTTP requests
/// alike.
#[tokio::test]
async fn an_ambiguous_path_does_not_bypass_a_restricted_route() {
    let (listener, addr) = listen().await;
    let guarded = h2ws::handshake::AllowedOrigins::parse(["https://admin.test"]).unwrap();
    let routes = [
        route("/*", &[addr]),
        route("/admin/*", &[addr]).allowed_origins(guarded),
    ];
    let table = Table::start(table(routes)).await;
    for path in [
        "//admin",
        "/%2fadmin",
        "/admin;x/",
        "/x/..;/admin",
        "/admin%00",
        "/admin%0a",
        "/ad%7fmin/x",
        "/admin%3fx",
        "/%c0%afadmin",
    ] {
        let mut client = Text::client(table.addr, &GET.replace("/page", path)).await;
        client.read_head().await;
        assert!(
            client.head.starts_with("HTTP/1.1 400 "),
            "{path} {}",
            client.head
        );
        let mut client = Text::ask(table.addr, path, "Origin: https://evil.test\r\n").await;
        client.read_head().await;
        assert!(
            client.head.starts_with("HTTP/1.1 400 "),
            "{path} {}",
            client.head
        );
    }
    for path in ["/a//b;c", "/a%00b%3Fc%0A"] {
        let backend = forward(&table, &listener, &GET.replace("/page", path)).await;
        let expected = format!("GET {path} ");
        assert!(backend.head.starts_with(&expected), "{}", backend.head);
    }
}

/// A load balancer terminates TLS and forwards to the bridge in cleartext.
#[tokio::test]
async fn forwarded_fields_agree_with_a_trusted_load_balancer() {
    let (listener, addr) = listen().await;
    let builder = || to("ws", addr, HttpVersion::Http1).trust_forwarded(true);
    for (builder, has_forwarded, has_x) in [
        (builder(), true, true),
        (builder().forwarded(false), false, true),
        (builder().x_forwarded(false).forwarded(true), true, false),
    ] {
        let bridging = Bridging::start(builder).await;
        let asked = GET.replace(
            "\r\n\r\n",
            "\r\nX-Forwarded-Proto: https\r\nx_real_ip: 1.1.1.1\r\n\r\n",
        );
        let _client = Text::client(bridging.addr, &asked).await;
        let backend = Text::asked(&listener).await;
        let forwarded_field = backend.field("forwarded");
        assert_eq!(forwarded_field.is_some(), has_forwarded);
        assert_eq!(backend.field("x-forwarded-proto"), has_x.then_some("https"));
        if has_x && has_forwarded {
            assert!(
                forwarded_field.unwrap().ends_with(";proto=https"),
                "{forwarded_field:?}"
            );
        }
        assert_eq!(backend.field("x_real_ip"), None);
    }
}

#[test]
fn a_server_name_must_be_a_host() {
    let route = |name: &str| {
        let route = h2ws::bridge::Route::builder("*", "/*").unwrap();
        let route = route.upstream("wss://10.0.0.1".parse().unwrap());
        route.server_name(name.to_owned()).build()
    };
    assert!(route("app.test").is_ok());
    for name in ["", "a b", "app.test:443"] {
        assert!(route(name).is_err(), "{name:?}");
    }
}
