//! Routes: which upstream receives an opening request, and what happens if it is
//! unreachable or a limit is reached.

use std::time::Duration;

use h2ws::bridge::{Affinity, BridgeLimits, Check, HeaderRules, Route};
use h2ws::handshake::AllowedOrigins;
use h2ws::server::WebSocketRequest;
use h2ws::{HttpVersion, Server};
use tokio::net::TcpListener;

use crate::support::table::{Table, backend, field, limited, nobody, route, status, table};
use crate::support::{until, within};

#[tokio::test]
async fn the_path_selects_the_upstream_and_the_forwarded_path() {
    let (one, two) = (backend("one").await, backend("two").await);
    let chat = route("/chat/*", &[two]).strip_prefix(true);
    let table = Table::start(table([route("/*", &[one]), chat])).await;
    for (path, name, asked) in [
        ("/?a=b", "one", "/?a=b"),
        ("/chatter", "one", "/chatter"),
        ("/chat/room?a=/b", "two", "/room?a=/b"),
        ("/chat", "two", "/"),
        ("/%63hat/%20x", "two", "/%20x"),
    ] {
        let answer = table.ask(path, "").await;
        assert_eq!(status(&answer), 101, "{path}");
        assert_eq!(field(&answer, "x-name"), Some(name), "{path}");
        assert_eq!(field(&answer, "x-path"), Some(asked), "{path}");
    }
    let dot_segments = table.ask("/chat/../x", "").await;
    assert_eq!(
        status(&dot_segments),
        400,
        "dot segments would change the route"
    );
}

#[tokio::test]
async fn header_rules_apply_in_both_directions() {
    let one = backend("one").await;
    let request = HeaderRules::default().remove("x-debug").unwrap();
    let response = HeaderRules::default().remove("x-name").unwrap();
    let route = route("/*", &[one])
        .request_headers(request.set("x-tenant", "chat").unwrap())
        .response_headers(response.set("x-by", "bridge").unwrap());
    let table = Table::start(table([route])).await;
    let answer = table.ask("/", "X-Debug: 1\r\nX-Tenant: forged\r\n").await;
    assert_eq!(field(&answer, "x-saw-x-tenant"), Some("chat"));
    assert_eq!(field(&answer, "x-saw-x-debug"), None);
    assert_eq!(field(&answer, "x-name"), None);
    assert_eq!(field(&answer, "x-by"), Some("bridge"));
    assert_eq!(field(&answer, "x-saw-host"), Some("localhost"));
}

#[tokio::test]
async fn an_unreachable_upstream_is_skipped_and_then_ejected() {
    let (unreachable, one) = (nobody().await, backend("one").await);
    let table = Table::start(table([route("/*", &[unreachable, one])])).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let answer = table.ask("/", "").await;
        assert_eq!(
            (status(&answer), field(&answer, "x-name")),
            (101, Some("one"))
        );
        open.push(answer);
    }
    let statuses = table.bridge.routes().iter().next().unwrap().upstreams();
    let states: Vec<_> = statuses
        .iter()
        .map(|one| (one.is_healthy, one.sockets))
        .collect();
    assert_eq!(states, [(false, 0), (true, 8)]);
}

#[tokio::test]
async fn an_unreachable_pool_is_502_and_a_rejection_is_not_a_failure() {
    let unreachable = Table::start(table([route("/*", &[nobody().await])])).await;
    for _ in 0..5 {
        // The upstream is ejected after three failures, but tried nevertheless: the
        // route has no other.
        assert_eq!(status(&unreachable.ask("/", "").await), 502);
    }
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let serve =
        server.serve(async |request: WebSocketRequest| request.reject(http::StatusCode::FORBIDDEN));
    tokio::spawn(serve.into_future());
    let other = nobody().await;
    let table = Table::start(table([route("/*", &[addr]), route("/other", &[other])])).await;
    for _ in 0..5 {
        assert_eq!(status(&table.ask("/", "").await), 403);
    }
    let routes = table.bridge.routes();
    assert!(routes.iter().next().unwrap().upstreams()[0].is_healthy);
}

#[tokio::test]
async fn each_limit_is_answered_with_503_and_retry_after() {
    let one = backend("one").await;
    let limits = BridgeLimits::default()
        .max_sockets(3)
        .retry_after(Duration::from_secs(7));
    let routes = [route("/*", &[one]), route("/few", &[one]).max_sockets(1)];
    let table = Table::start(limited(routes, limits)).await;
    let few = table.ask("/few", "").await;
    assert_eq!(status(&few), 101);
    let more = table.ask("/few", "").await;
    assert_eq!(
        (status(&more), field(&more, "retry-after")),
        (503, Some("7"))
    );
    let two = [table.ask("/", "").await, table.ask("/", "").await];
    assert_eq!(two.each_ref().map(status), [101, 101]);
    assert_eq!(
        status(&table.ask("/", "").await),
        503,
        "the limit of three for all routes"
    );
    // A socket stops counting once it has ended.
    drop(few);
    let sockets = || {
        table
            .bridge
            .routes()
            .iter()
            .map(|route| route.sockets())
            .sum::<usize>()
    };
    until(|| sockets() == 2).await;
    assert_eq!(status(&table.ask("/few", "").await), 101);

    let limits = BridgeLimits::default().max_sockets_per_client(1);
    let table = Table::start(limited([route("/*", &[one])], limits)).await;
    let first = table.ask("/", "").await;
    assert_eq!(status(&first), 101);
    assert_eq!(status(&table.ask("/", "").await), 503);
}

#[tokio::test]
async fn an_affinity_cookie_selects_the_same_upstream() {
    let backends = [backend("a").await, backend("b").await, backend("c").await];
    let affinity = Affinity::cookie("lb").unwrap();
    let route = || route("/*", &backends).affinity(affinity.clone());
    let (one, replica) = (
        Table::start(table([route()])).await,
        Table::start(table([route()])).await,
    );
    for _ in 0..6 {
        let first = one.ask("/", "Cookie: other=1\r\n").await;
        let name = field(&first, "x-name").unwrap().to_owned();
        let cookie = field(&first, "set-cookie").unwrap();
        assert!(
            cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
            "{cookie}"
        );
        let fields = format!("Cookie: other=1; {}\r\n", cookie.split(';').next().unwrap());
        for table in [&one, &replica] {
            let again = table.ask("/", &fields).await;
            assert_eq!(field(&again, "x-name"), Some(&*name));
            assert_eq!(field(&again, "set-cookie"), None);
        }
    }
}

#[tokio::test]
async fn allowed_origins_apply_per_route() {
    let one = backend("one").await;
    let origins = AllowedOrigins::parse(["https://a.test"]).unwrap();
    let routes = [
        route("/*", &[one]),
        route("/own", &[one]).allowed_origins(origins),
    ];
    let table = Table::start(table(routes)).await;
    for (path, origin, expected) in [
        ("/own", "https://a.test", 101),
        ("/own", "https://b.test", 403),
        ("/", "https://b.test", 101),
    ] {
        let answer = table.ask(path, &format!("Origin: {origin}\r\n")).await;
        assert_eq!(status(&answer), expected, "{path} {origin}");
    }
}

#[tokio::test]
async fn open_sockets_still_count_after_routes_are_replaced() {
    let (one, two) = (backend("one").await, backend("two").await);
    let limits = || BridgeLimits::default().max_sockets(2);
    let table = Table::start(limited([route("/*", &[one])], limits())).await;
    let old = table.ask("/", "").await;
    assert_eq!(field(&old, "x-name"), Some("one"));
    table
        .bridge
        .replace(limited([route("/*", &[two, one])], limits()));
    let new = table.ask("/", "").await;
    assert_eq!(
        field(&new, "x-name"),
        Some("two"),
        "the upstream with the fewest sockets"
    );
    assert_eq!(status(&table.ask("/", "").await), 503);
    drop(old);
    let route = table.bridge.routes().iter().next().unwrap().clone();
    until(|| route.sockets() == 1).await;
    let counts: Vec<_> = route.upstreams().iter().map(|one| one.sockets).collect();
    assert_eq!(counts.iter().sum::<usize>(), 1);
}

#[tokio::test]
async fn upstreams_that_fail_health_checks_get_no_sockets() {
    let one = backend("one").await;
    // The operating system accepts the connections, and nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = Check::http("/").unwrap().expect(404..=404);
    let check = check
        .interval(Duration::from_millis(20))
        .timeout(Duration::from_millis(500));
    let route = route("/*", &[silent.local_addr().unwrap(), one]).check(check);
    let table = Table::start(table([route])).await;
    let route = table.bridge.routes().iter().next().unwrap().clone();
    until(|| !route.upstreams()[0].is_healthy).await;
    assert!(route.upstreams()[1].is_healthy);
    for _ in 0..4 {
        let answer = within(table.ask("/", "")).await;
        assert_eq!(field(&answer, "x-name"), Some("one"));
    }
}

#[tokio::test]
async fn a_resolved_upstream_is_reached_by_address_with_its_host_name() {
    let one = backend("one").await;
    let url = format!("ws://localhost:{}", one.port());
    let route = Route::builder("*", "/*").unwrap();
    let route = route
        .upstream(
            url.parse::<h2ws::bridge::Upstream>()
                .unwrap()
                .version(HttpVersion::Http1),
        )
        .upstream_host(true)
        .resolve_every(Duration::from_secs(60));
    let table = Table::start(table([route])).await;
    let route = table.bridge.routes().iter().next().unwrap().clone();
    let resolved = || {
        let statuses = route.upstreams();
        statuses
            .iter()
            .any(|status| status.upstream.address() == Some(one))
    };
    until(resolved).await;
    let answer = table.ask("/", "").await;
    assert_eq!(
        (status(&answer), field(&answer, "x-name")),
        (101, Some("one"))
    );
    let host = format!("localhost:{}", one.port());
    assert_eq!(field(&answer, "x-saw-host"), Some(&*host));
    let statuses = route.upstreams();
    let at = statuses.iter().find(|status| status.sockets == 1).unwrap();
    assert_eq!(
        at.upstream.address(),
        Some(one),
        "the other addresses of the name are unreachable"
    );
}
