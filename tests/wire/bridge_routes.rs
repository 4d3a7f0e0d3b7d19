//! What a bridge makes of a table of routes: which server is asked, and what
//! becomes of a request where one is not there, or there is no place.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2ws::handshake::AllowedOrigins;
use h2ws::{
    Access, Affinity, Bridge, BridgeLimits, BridgeObserver, Check, Client, HeaderRules,
    HttpVersion, Route, RouteBuilder, Routes, Server, Upgrade,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::listen;
use crate::support::text::Text;
use crate::support::{tls, until, within};

struct Table {
    bridge: Bridge,
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Table {
    async fn start(routes: Routes) -> Self {
        let client = Client::builder().tls(tls::none()).build().unwrap();
        let bridge = Bridge::new(client, routes);
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let serve = server.serve(bridge.handler()).into_future();
        let task = tokio::spawn(async move {
            serve.await.unwrap();
        });
        Self { bridge, addr, task }
    }

    /// Asks for a socket; the answer's head.
    async fn ask(&self, path: &str, fields: &str) -> Text {
        let mut client = Text::ask(self.addr, path, fields).await;
        client.read_head().await;
        client
    }
}

fn route(path: &str, backends: &[SocketAddr]) -> RouteBuilder {
    let builder = Route::builder("*", path).unwrap();
    backends.iter().fold(builder, |builder, backend| {
        builder.upstream(format!("ws://{backend}").parse().unwrap())
    })
}

fn table(routes: impl IntoIterator<Item = RouteBuilder>) -> Routes {
    limited(routes, BridgeLimits::default())
}

fn limited(routes: impl IntoIterator<Item = RouteBuilder>, limits: BridgeLimits) -> Routes {
    let builder = Routes::builder().limits(limits);
    let routes = routes.into_iter().map(|route| route.build().unwrap());
    routes
        .fold(builder, h2ws::RoutesBuilder::route)
        .build()
        .unwrap()
}

/// A server that accepts all sockets, and says in a field which it is.
async fn backend(name: &'static str) -> SocketAddr {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let serve = server.serve(move |mut request: Upgrade| async move {
        let path = request.uri().to_string();
        request.header("x-name".parse().unwrap(), name.parse().unwrap());
        request.header("x-path".parse().unwrap(), path.parse().unwrap());
        for echoed in ["x-tenant", "x-debug", "host"] {
            if let Some(value) = request.headers().get(echoed).cloned() {
                let field = format!("x-saw-{echoed}").parse().unwrap();
                request.header(field, value);
            }
        }
        let mut socket = request.accept().await.unwrap();
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
    });
    tokio::spawn(serve.into_future());
    addr
}

async fn nobody() -> SocketAddr {
    let (listener, addr) = listen().await;
    drop(listener);
    addr
}

fn field<'a>(text: &'a Text, name: &str) -> Option<&'a str> {
    let lines = text.head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}

fn status(text: &Text) -> u16 {
    text.head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn host_and_path_say_which_server_is_asked_and_for_what() {
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
    let up = table.ask("/chat/../x", "").await;
    assert_eq!(status(&up), 404, "it would end up elsewhere than here");
}

#[tokio::test]
async fn fields_are_changed_in_both_directions() {
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
async fn who_is_not_there_is_passed_over_and_then_left_out() {
    let (gone, one) = (nobody().await, backend("one").await);
    let table = Table::start(table([route("/*", &[gone, one])])).await;
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
    let fit: Vec<_> = statuses
        .iter()
        .map(|one| (one.is_fit, one.sockets))
        .collect();
    assert_eq!(fit, [(false, 0), (true, 8)]);
}

#[tokio::test]
async fn without_any_server_it_is_502_and_a_refusal_is_no_failure() {
    let table_of_nobody = Table::start(table([route("/*", &[nobody().await])])).await;
    for _ in 0..5 {
        // Left out after three, and asked all the same.
        assert_eq!(status(&table_of_nobody.ask("/", "").await), 502);
    }
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let serve = server.serve(async |request: Upgrade| request.reject(http::StatusCode::FORBIDDEN));
    tokio::spawn(serve.into_future());
    let other = nobody().await;
    let table = Table::start(table([route("/*", &[addr]), route("/other", &[other])])).await;
    for _ in 0..5 {
        assert_eq!(status(&table.ask("/", "").await), 403);
    }
    let routes = table.bridge.routes();
    assert!(routes.iter().next().unwrap().upstreams()[0].is_fit);
}

#[tokio::test]
async fn each_limit_is_503_with_a_time_to_come_back() {
    let one = backend("one").await;
    let limits = BridgeLimits::default()
        .sockets(3)
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
    assert_eq!(status(&table.ask("/", "").await), 503, "three in all");
    // A place is free again once its socket is over.
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

    let limits = BridgeLimits::default().sockets_per_client(1);
    let table = Table::start(limited([route("/*", &[one])], limits)).await;
    let first = table.ask("/", "").await;
    assert_eq!(status(&first), 101);
    assert_eq!(status(&table.ask("/", "").await), 503);
}

#[tokio::test]
async fn a_cookie_leads_a_client_back() {
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
async fn pages_of_other_origins_are_403_by_route() {
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
async fn a_table_is_replaced_under_open_sockets_which_go_on_counting() {
    let (one, two) = (backend("one").await, backend("two").await);
    let limits = || BridgeLimits::default().sockets(2);
    let table = Table::start(limited([route("/*", &[one])], limits())).await;
    let old = table.ask("/", "").await;
    assert_eq!(field(&old, "x-name"), Some("one"));
    table
        .bridge
        .replace(limited([route("/*", &[two, one])], limits()));
    let new = table.ask("/", "").await;
    assert_eq!(field(&new, "x-name"), Some("two"), "where the fewest are");
    assert_eq!(status(&table.ask("/", "").await), 503);
    drop(old);
    let route = table.bridge.routes().iter().next().unwrap().clone();
    until(|| route.sockets() == 1).await;
    let counts: Vec<_> = route.upstreams().iter().map(|one| one.sockets).collect();
    assert_eq!(counts.iter().sum::<usize>(), 1);
}

#[tokio::test]
async fn servers_that_fail_their_checks_get_no_sockets() {
    let one = backend("one").await;
    // It accepts connections, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = Check::http("/").unwrap().expect(404..=404);
    let check = check
        .interval(Duration::from_millis(20))
        .timeout(Duration::from_millis(500));
    let route = route("/*", &[silent.local_addr().unwrap(), one]).check(check);
    let table = Table::start(table([route])).await;
    let route = table.bridge.routes().iter().next().unwrap().clone();
    until(|| !route.upstreams()[0].is_fit).await;
    assert!(route.upstreams()[1].is_fit);
    for _ in 0..4 {
        let answer = within(table.ask("/", "")).await;
        assert_eq!(field(&answer, "x-name"), Some("one"));
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl BridgeObserver for Told {
    fn answered(&self, access: &Access) {
        assert_eq!(access.closed(), None);
        self.tell("answered", access);
    }

    fn ended(&self, access: &Access) {
        let how = access.closed().unwrap().how();
        self.tell(how, access);
    }
}

impl Told {
    fn tell(&self, what: &str, access: &Access) {
        let status = access.status().map(|status| status.as_u16());
        let told = format!("{what} {:?} {status:?}", access.route());
        self.0.lock().unwrap().push(told);
    }
}

#[tokio::test]
async fn an_observer_is_told_of_every_request() {
    let one = backend("one").await;
    let table = Table::start(table([route("/a", &[one])])).await;
    let told = Arc::new(Told::default());
    table.bridge.observe(told.clone());
    drop(table.ask("/a", "").await);
    let lines = || told.0.lock().unwrap().len();
    until(|| lines() == 2).await;
    table.ask("/b", "").await;
    until(|| lines() == 4).await;
    let lines = told.0.lock().unwrap().clone();
    let expected = [
        "answered Some(\"*/a\") Some(101)",
        "end Some(\"*/a\") Some(101)",
        "answered None Some(404)",
        "refused None Some(404)",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_resolved_server_is_reached_by_its_address_under_its_name() {
    let one = backend("one").await;
    let url = format!("ws://localhost:{}", one.port());
    let route = Route::builder("*", "/*").unwrap();
    let route = route
        .upstream(
            url.parse::<h2ws::Upstream>()
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
        "others of the name are not there"
    );
}
