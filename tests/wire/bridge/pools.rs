//! Pools of upstreams: selection, retries, ejection, and limits per client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2ws::Server;
use h2ws::bridge::{Affinity, BridgeLimits, Ejection, HeaderRules};
use h2ws::server::WebSocketRequest;
use http::{Response, StatusCode};
use tokio::io::AsyncReadExt;

use crate::support::client::listen;
use crate::support::table::{Table, backend, field, limited, route, status, table};
use crate::support::ways::{WAYS, dump};

#[tokio::test]
async fn the_client_limit_counts_addresses_forwarded_by_a_trusted_proxy() {
    let one = backend("one").await;
    let limits = || BridgeLimits::default().max_sockets_per_client(1);
    let ask = async |table: &Table, client: &str| {
        let fields = format!("X-Forwarded-For: 9.9.9.9, {client}\r\n");
        table.ask("/", &fields).await
    };
    let trusting = route("/*", &[one]).trust_forwarded(true);
    let table = Table::start(limited([trusting], limits())).await;
    let held = [
        ask(&table, "192.0.2.1").await,
        ask(&table, "192.0.2.2").await,
    ];
    assert_eq!(held.each_ref().map(status), [101, 101]);
    assert_eq!(status(&ask(&table, "192.0.2.1").await), 503);

    let table = Table::start(limited([route("/*", &[one])], limits())).await;
    let held = ask(&table, "192.0.2.1").await;
    assert_eq!(status(&held), 101);
    assert_eq!(
        status(&ask(&table, "192.0.2.2").await),
        503,
        "the field of an untrusted peer was used"
    );
}

#[tokio::test]
async fn client_affinity_uses_the_address_forwarded_by_a_trusted_proxy() {
    let backends = [backend("a").await, backend("b").await];
    let route = route("/*", &backends).affinity(Affinity::client());
    let table = Table::start(table([route.trust_forwarded(true)])).await;
    let mut names = std::collections::BTreeSet::new();
    for host in 1..=20 {
        let fields = format!("Forwarded: for=192.0.2.{host}\r\n");
        let first = table.ask("/", &fields).await;
        let again = table.ask("/", &fields).await;
        let name = field(&first, "x-name").map(str::to_owned);
        assert_eq!(field(&again, "x-name"), name.as_deref());
        names.extend(name);
    }
    assert_eq!(names.len(), 2, "every client had the same upstream");
}

/// Starts an upstream that reads each request and closes the connection.
async fn closing_upstream(seen: Arc<AtomicUsize>) -> SocketAddr {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && tcp.read_buf(&mut head).await.is_ok() {}
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    addr
}

/// The upstream may have acted upon the request.
#[tokio::test]
async fn a_request_that_an_upstream_has_read_is_not_retried() {
    let seen = Arc::new(AtomicUsize::new(0));
    let servers = [closing_upstream(seen.clone()).await, backend("one").await];
    let table = Table::start(table([route("/*", &servers)])).await;
    // Each goes to the upstream with the fewest sockets, so one goes to either.
    let answers = [table.ask("/", "").await, table.ask("/", "").await];
    let mut statuses = answers.each_ref().map(status);
    statuses.sort_unstable();
    assert_eq!(statuses, [101, 502]);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

/// Starts an upstream that rejects each opening request with this status.
async fn rejecting_upstream(status: StatusCode) -> SocketAddr {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let reject = move |request: WebSocketRequest| async move {
        let response = Response::builder().status(status).header("x-secret", "1");
        request.reject_with(response.body(Bytes::new()).unwrap());
    };
    tokio::spawn(server.serve(reject).into_future());
    addr
}

#[tokio::test]
async fn only_gateway_errors_eject_an_upstream() {
    for (answer, is_healthy) in [
        (StatusCode::BAD_GATEWAY, false),
        (StatusCode::SERVICE_UNAVAILABLE, false),
        (StatusCode::GATEWAY_TIMEOUT, false),
        (StatusCode::INTERNAL_SERVER_ERROR, true),
        (StatusCode::TOO_MANY_REQUESTS, true),
    ] {
        let server = rejecting_upstream(answer).await;
        let ejection = Ejection::default().gateway_errors(true);
        let route = route("/*", &[server]).ejection(ejection);
        let table = Table::start(table([route])).await;
        for _ in 0..3 {
            assert_eq!(status(&table.ask("/", "").await), answer.as_u16());
        }
        let routes = table.bridge.routes();
        let upstreams = routes.iter().next().unwrap().upstreams();
        assert_eq!(upstreams[0].is_healthy, is_healthy, "{answer}");
    }
}

#[tokio::test]
async fn response_header_rules_apply_to_rejections() {
    let server = rejecting_upstream(StatusCode::FORBIDDEN).await;
    let rules = HeaderRules::default().set("x-by", "bridge").unwrap();
    let rules = rules.remove("x-secret").unwrap();
    let bare = route("/bare", &[server]);
    let ruled = route("/*", &[server]).response_headers(rules);
    let table = Table::start(table([bare, ruled])).await;
    let (bare, ruled) = (table.ask("/bare", "").await, table.ask("/", "").await);
    assert_eq!([&bare, &ruled].map(status), [403, 403]);
    assert_eq!(field(&bare, "x-secret"), Some("1"));
    assert_eq!(field(&ruled, "x-secret"), None);
    assert_eq!(field(&ruled, "x-by"), Some("bridge"));
}

/// A request with a key in its query or path goes to the same upstream every time, as a
/// WebSocket or not.
#[tokio::test]
async fn the_query_or_the_path_can_determine_the_upstream() {
    let backends = [dump().await, dump().await, dump().await];
    let query = Affinity::query("room").unwrap();
    let segment = Affinity::path_segment(2.try_into().unwrap());
    for (affinity, path) in [
        (
            query,
            (|room| format!("/chat?a&room={room}")) as fn(u32) -> String,
        ),
        (segment, |room| format!("/chat/{room}/socket?x")),
    ] {
        let route = route("/chat/*", &backends).strip_prefix(true);
        let route = route.upstream_host(true).affinity(affinity);
        let table = Table::start(table([route])).await;
        let mut used = std::collections::HashSet::new();
        for room in 0..12 {
            let mut of_room = Vec::new();
            for way in WAYS {
                let answer = way.ask(table.addr, &path(room), &[]).await;
                of_room.push(answer.received("host").unwrap().to_owned());
            }
            assert!(
                of_room.iter().all(|host| *host == of_room[0]),
                "{of_room:?}"
            );
            used.extend(of_room);
        }
        assert!(used.len() > 1, "all rooms are at {used:?}");
    }
}
