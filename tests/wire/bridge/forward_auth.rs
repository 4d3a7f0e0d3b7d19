//! Forward authentication, for WebSockets and plain HTTP requests over both HTTP
//! versions: which requests pass, what the server is asked, and that nothing passes
//! without its answer.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use h2ws::bridge::{AccessRecord, ForwardAuth, Outcome, Side};
use h2ws::handshake::AllowedOrigins;
use http::{Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::support::client::listen;
use crate::support::plain_http::OK;
use crate::support::recorder::{Event, Recorder};
use crate::support::table::{Table, nobody, route, table};
use crate::support::text::Text;
use crate::support::ways::{WAYS, dump};
use crate::support::{until, within};

fn auth(addr: SocketAddr) -> ForwardAuth {
    let auth = ForwardAuth::new(&format!("http://{addr}/verify?rd=x")).unwrap();
    let auth = auth.timeout(Duration::from_secs(600));
    auth.copy_headers(["Remote-User", "Remote-Groups"]).unwrap()
}

/// Starts a server that lets the session `good` pass, asks others to log in, and
/// rejects them below `/api`.
async fn login_server() -> SocketAddr {
    let (listener, addr) = listen().await;
    let decide = |request: Request<Body>| async move {
        let field = |name| {
            let value = request.headers().get(name);
            value.map_or("", |value: &http::HeaderValue| value.to_str().unwrap())
        };
        let response = Response::builder();
        let response = if field("cookie").contains("session=good") {
            response.header("remote-user", "ann").header("x-other", "1")
        } else if field("x-forwarded-uri").starts_with("/api") {
            response.status(401).header("www-authenticate", "Bearer")
        } else {
            let to = format!("https://login.test/?rd={}", field("x-forwarded-uri"));
            let response = response.status(302).header("location", to);
            response
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
        };
        response.body(Body::from("log in")).unwrap()
    };
    let router = axum::Router::new().route("/verify", axum::routing::get(decide));
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

const FORGED: [(&str, &str); 3] = [
    ("remote-user", "forged"),
    ("remote_user", "forged"),
    ("remote-groups", "forged"),
];

#[tokio::test]
async fn requests_pass_or_get_the_answer_of_the_server() {
    let upstream = dump().await;
    let login = login_server().await;
    let authorized = route("/*", &[upstream]).forward_auth(auth(login));
    let table = Table::start(table([authorized])).await;
    for way in WAYS {
        let good = [&FORGED[..], &[("cookie", "a=b; session=good")]].concat();
        let answer = way.ask(table.addr, "/chat?x", &good).await;
        assert_eq!(answer.received("remote-user"), Some("ann"), "{way:?}");
        for name in ["remote_user", "remote-groups", "x-other"] {
            assert_eq!(answer.received(name), None, "{way:?} {name}");
        }
        assert_eq!(answer.received("cookie"), Some("a=b; session=good"));

        let answer = way.ask(table.addr, "/chat?x", &FORGED).await;
        assert_eq!(answer.status, 302, "{way:?}");
        let location = "https://login.test/?rd=/chat?x";
        assert_eq!(answer.fields["location"], location, "{way:?}");
        let cookies: Vec<_> = answer.fields.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"], "{way:?}");
        assert_eq!(answer.body, "log in", "{way:?}");

        let answer = way.ask(table.addr, "/api/a", &[]).await;
        assert_eq!(answer.status, 401, "{way:?}");
        assert_eq!(answer.fields["www-authenticate"], "Bearer", "{way:?}");
    }
}

#[tokio::test]
async fn the_server_is_asked_with_the_fields_of_the_request() {
    // The server denies with what it received.
    let server = dump().await;
    let upstream = nobody().await;
    for is_trusted in [false, true] {
        let route = route("/app/*", &[upstream]).strip_prefix(true);
        let route = route.x_forwarded(false).trust_forwarded(is_trusted);
        let table = Table::start(table([route.forward_auth(auth(server))])).await;
        for way in WAYS {
            let fields = [
                ("authorization", "Bearer x"),
                ("cookie", "a=b"),
                ("if-none-match", "\"x\""),
                ("x-forwarded-uri", "/forged"),
                ("x_forwarded_method", "forged"),
                ("remote-user", "forged"),
                ("sec-websocket-protocol", "chat, token"),
            ];
            let answer = way.ask(table.addr, "/app/a?b=c", &fields).await;
            assert!(
                answer.body.starts_with("path: /verify\n"),
                "{way:?} {answer:?}"
            );
            let server = server.to_string();
            for (name, value) in [
                ("authorization", Some("Bearer x")),
                ("cookie", Some("a=b")),
                ("host", Some(&*server)),
                ("x-forwarded-method", Some("GET")),
                ("x-forwarded-uri", Some("/app/a?b=c")),
                ("x-forwarded-host", Some("a.test")),
                ("x-forwarded-proto", Some("http")),
                ("x-forwarded-for", Some("127.0.0.1")),
                ("x_forwarded_method", None),
                ("remote-user", None),
                ("if-none-match", None),
                (
                    "sec-websocket-protocol",
                    way.is_websocket.then_some("chat, token"),
                ),
                ("upgrade", None),
                ("sec-websocket-key", None),
                ("sec-websocket-version", None),
                ("content-length", None),
            ] {
                assert_eq!(answer.received(name), value, "{way:?} {name}");
            }
            assert_eq!(answer.received("x-request-id").unwrap().len(), 32);
        }
    }
}

/// Answers every connection with `answer` and closes it.
async fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let (listener, addr) = listen().await;
    let answer = answer.into();
    tokio::spawn(async move {
        loop {
            let Ok((io, _)) = listener.accept().await else {
                return;
            };
            let mut peer = Text::on(io);
            if peer.try_read_head().await {
                let _ = peer.try_write(&answer).await;
                let _ = peer.try_read_head().await;
            }
        }
    });
    addr
}

/// Records the outcome and the reason of each request.
/// The outcome of a request, and the reason in the log.
fn outcome(event: Event, access: &AccessRecord) -> Option<(Outcome, String)> {
    let reason = access.reason()?.to_owned();
    (event != Event::Handshake).then_some((access.closed()?, reason))
}

#[tokio::test]
async fn nothing_passes_without_an_answer() {
    let upstream = dump().await;
    let (silent, silent_addr) = listen().await;
    let large = "x".repeat(64 * 1024 + 1);
    let head =
        |status: &str, length| format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
    let soon = Duration::from_millis(40);
    for (auth, status, reason) in [
        (auth(nobody().await), 502, "refused"),
        (auth(silent_addr).timeout(soon), 504, "timed out"),
        (
            auth(answering(head("403 No", 5)).await).timeout(soon),
            504,
            "timed out",
        ),
        (auth(answering("nonsense\r\n\r\n").await), 502, ""),
        (auth(answering("HTTP/1.1 101 X\r\n\r\n").await), 502, ""),
        (
            auth(answering(head("403 No", large.len()) + &large).await),
            502,
            "exceeds 65536 bytes",
        ),
        (
            auth(nobody().await).max_requests(0).timeout(soon),
            503,
            "too many requests wait for it",
        ),
        (
            auth(nobody().await)
                .max_requests_per_client(0)
                .timeout(soon),
            503,
            "too many requests of this client wait for it",
        ),
    ] {
        let table = Table::start(table([route("/*", &[upstream]).forward_auth(auth)])).await;
        let recorder = Recorder::of(&table.bridge, outcome);
        for way in WAYS {
            let answer = way.ask(table.addr, "/", &[]).await;
            assert_eq!(answer.status, status, "{way:?} {reason}");
            assert_eq!(answer.body, "cannot authorize the request\n", "{way:?}");
            let (outcome, logged) = recorder.next().await;
            assert_eq!(outcome, Outcome::Rejected(Side::Bridge));
            assert!(
                logged.starts_with("forward authentication failed: "),
                "{logged}"
            );
            assert!(logged.contains(reason), "{logged}");
        }
    }
    drop(silent);
}

/// Connections are reused, a closed one is replaced, and a request that the server does
/// not answer does not delay another.
#[tokio::test]
async fn requests_to_the_server_do_not_wait_for_each_other() {
    const PASS: &str = "HTTP/1.1 204 Pass\r\n\r\n";
    let (listener, addr) = listen().await;
    let upstream = dump().await;
    let route = route("/*", &[upstream]).forward_auth(auth(addr));
    let table = Table::start(table([route])).await;
    let bridge = table.addr;
    let ask = |way: crate::support::ways::Way| {
        tokio::spawn(async move { way.ask(bridge, "/", &[]).await.status })
    };
    let slow_answer = ask(WAYS[0]);
    let mut slow = Text::asked(&listener).await;
    let mut quick: Option<Text> = None;
    for way in WAYS {
        let answer = ask(way);
        match &mut quick {
            None => quick = Some(Text::asked(&listener).await),
            Some(quick) => quick.read_head().await,
        }
        quick.as_mut().unwrap().write(PASS).await;
        assert_eq!(within(answer).await.unwrap(), StatusCode::BAD_REQUEST);
    }
    drop(quick);
    let answer = ask(WAYS[3]);
    let mut new = Text::asked(&listener).await;
    new.write(PASS).await;
    assert_eq!(within(answer).await.unwrap(), StatusCode::BAD_REQUEST);
    slow.write(PASS).await;
    assert_eq!(within(slow_answer).await.unwrap(), StatusCode::BAD_REQUEST);
}

/// The server decides before the body is read, and only the upstream gets the body.
#[tokio::test]
async fn a_request_body_goes_to_the_upstream_alone() {
    let (server, server_addr) = listen().await;
    let (upstream, upstream_addr) = listen().await;
    let route = route("/*", &[upstream_addr]).forward_auth(auth(server_addr));
    let table = Table::start(table([route])).await;
    let post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Type: text/plain\r\n\
                Content-Length: 5\r\n\r\nhello";
    let mut client = Text::client(table.addr, post).await;
    let mut asked = Text::asked(&server).await;
    assert!(
        asked.head.starts_with("GET /verify?rd=x "),
        "{}",
        asked.head
    );
    assert_eq!(asked.field("x-forwarded-method"), Some("POST"));
    assert_eq!(asked.field("content-type"), None);
    assert_eq!(asked.field("content-length"), None);
    asked
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let mut backend = Text::asked(&upstream).await;
    assert_eq!(backend.field("content-length"), Some("5"));
    assert_eq!(backend.take(5).await, "hello");
    backend.write(OK).await;
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
}

#[tokio::test]
async fn a_tunnel_is_authorized_too() {
    let (target, addr): (TcpListener, _) = listen().await;
    let route = h2ws::bridge::Route::builder("*", "/*").unwrap();
    let route = route.upstream(format!("tcp://{addr}").parse().unwrap());
    let route = route.allowed_origins(AllowedOrigins::any());
    let route = route.forward_auth(auth(login_server().await));
    let table = Table::start(table([route])).await;
    for way in WAYS.into_iter().filter(|way| way.is_websocket) {
        assert_eq!(way.ask(table.addr, "/api", &[]).await.status, 401);
    }
    drop(target);
}

/// A client whose requests wait for a slow server delays no other, and its own go on once there is an
/// answer.
#[tokio::test]
async fn one_client_has_only_a_share_of_the_places() {
    // Each request comes on a connection of its own.
    const PASS: &str = "HTTP/1.1 204 Pass\r\nConnection: close\r\n\r\n";
    for way in WAYS {
        let (listener, addr) = listen().await;
        let upstream = dump().await;
        let auth = auth(addr).max_requests(4).max_requests_per_client(2);
        let route = route("/*", &[upstream]).trust_forwarded(true);
        let table = Table::start(table([route.forward_auth(auth.clone())])).await;
        let bridge = table.addr;
        let ask = |client: &'static str| {
            tokio::spawn(async move {
                let from = [("x-forwarded-for", client)];
                way.ask(bridge, "/", &from).await.status
            })
        };
        let greedy = ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"].map(ask);
        let mut slow = vec![Text::asked(&listener).await, Text::asked(&listener).await];
        assert_eq!(auth.requests_of_busiest_client(), (2, 2), "{way:?}");
        let others = [ask("192.0.2.2"), ask("2001:db8::1")];
        for _ in &others {
            let mut asked = Text::asked(&listener).await;
            let for_other = asked.field("x-forwarded-for");
            assert!(!for_other.unwrap().contains("192.0.2.1"), "{for_other:?}");
            asked.write(PASS).await;
        }
        for other in others {
            assert_eq!(within(other).await.unwrap(), StatusCode::BAD_REQUEST);
        }
        assert_eq!(auth.requests(), (2, 4), "{way:?}");
        slow.remove(0).write(PASS).await;
        slow.push(Text::asked(&listener).await);
        for slow in &mut slow {
            slow.write(PASS).await;
        }
        for answer in greedy {
            assert_eq!(within(answer).await.unwrap(), StatusCode::BAD_REQUEST);
        }
        until(|| auth.requests().0 == 0 && auth.requests_of_busiest_client().0 == 0).await;
    }
}
