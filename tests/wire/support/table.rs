//! Bridges with a routing table, and the upstreams behind them.

use std::net::SocketAddr;

use h2ws::bridge::{Bridge, BridgeLimits, Route, RouteBuilder, Routes};
use h2ws::server::WebSocketRequest;
use h2ws::{Client, Server};
use tokio::task::JoinHandle;

use super::client::listen;
use super::text::Text;
use super::tls;

/// A running bridge with a routing table. It is aborted on drop.
pub(crate) struct Table {
    pub(crate) bridge: Bridge,
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Table {
    pub(crate) async fn start(routes: Routes) -> Self {
        let client = Client::builder().tls(tls::none()).build().unwrap();
        let bridge = Bridge::new(client, routes);
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let serve = server
            .serve(bridge.handler())
            .fallback(bridge.service())
            .into_future();
        let task = tokio::spawn(async move {
            serve.await.unwrap();
        });
        Self { bridge, addr, task }
    }

    /// Sends an opening request with additional header fields, and reads the head
    /// of the response.
    pub(crate) async fn ask(&self, path: &str, fields: &str) -> Text {
        let mut client = Text::ask(self.addr, path, fields).await;
        client.read_head().await;
        client
    }
}

/// Configures a route for `path` on any host.
pub(crate) fn route(path: &str, backends: &[SocketAddr]) -> RouteBuilder {
    let builder = Route::builder("*", path).unwrap();
    backends.iter().fold(builder, |builder, backend| {
        builder.upstream(format!("ws://{backend}").parse().unwrap())
    })
}

/// Builds a routing table with the default limits.
pub(crate) fn table(routes: impl IntoIterator<Item = RouteBuilder>) -> Routes {
    limited(routes, BridgeLimits::default())
}

/// Builds a routing table with these limits.
pub(crate) fn limited(
    routes: impl IntoIterator<Item = RouteBuilder>,
    limits: BridgeLimits,
) -> Routes {
    let builder = Routes::builder().limits(limits);
    let routes = routes.into_iter().map(|route| route.build().unwrap());
    routes
        .fold(builder, h2ws::bridge::RoutesBuilder::route)
        .build()
        .unwrap()
}

/// Starts a server that accepts every socket. Its response has `name` in the
/// field `x-name`, the path in `x-path`, and selected request fields in
/// `x-saw-*`.
pub(crate) async fn backend(name: &'static str) -> SocketAddr {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let serve = server.serve(move |mut request: WebSocketRequest| async move {
        let path = request.uri().to_string();
        request.response_header("x-name", name);
        request.response_header("x-path", path);
        for echoed in ["x-tenant", "x-debug", "host"] {
            if let Some(value) = request.headers().get(echoed).cloned() {
                let field = format!("x-saw-{echoed}");
                request.response_header(field, value);
            }
        }
        let mut socket = request.accept().await.unwrap();
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
    });
    tokio::spawn(serve.into_future());
    addr
}

/// Returns an address at which no server listens.
pub(crate) async fn nobody() -> SocketAddr {
    let (listener, addr) = listen().await;
    drop(listener);
    addr
}

/// Returns the first value of a header field of the response.
pub(crate) fn field<'a>(text: &'a Text, name: &str) -> Option<&'a str> {
    let lines = text.head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}

/// Returns the status of the response.
pub(crate) fn status(text: &Text) -> u16 {
    text.head.split(' ').nth(1).unwrap().parse().unwrap()
}
