//! The metrics of the bridge in the OpenMetrics text format, and its health and readiness.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2ws::Server;
use h2ws::bridge::{AccessRecord, Bridge, BridgeObserver, UpstreamStatus};
use h2ws::server::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tower_service::Service;

use super::connections::{Connections, StatusLabels};
use super::limits;
use crate::error::Failure;
use crate::listener::{
    ListenAddress, ListenerConfig, ListenerStatus, Listeners, Networks, Runtimes,
};

#[derive(Clone)]
pub(super) struct Metrics {
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    listeners: Arc<OnceLock<Vec<ListenerStatus>>>,
    draining: Arc<AtomicBool>,
}

/// Metrics that are updated by the bridge's events.
pub(super) struct Counters {
    handshakes: Family<StatusLabels, Counter>,
    open: Family<RouteLabels, Gauge>,
    closed: Family<ClosedLabels, Counter>,
    bytes: Family<BytesLabels, Counter>,
    answer_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    socket_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    plain_requests: Family<StatusLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

impl StatusLabels {
    fn of(access: &AccessRecord) -> Self {
        let status = access.status();
        Self {
            route: of_route(access),
            status: status.map_or_else(|| "none".into(), |status| status.as_str().to_owned()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    route: String,
    by: String,
    how: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BytesLabels {
    route: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    route: String,
    upstream: String,
    address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    listener: String,
    file: String,
}

impl Counters {
    fn new(connections: &Connections) -> Self {
        Self {
            handshakes: connections.requests.clone(),
            open: Family::default(),
            closed: Family::default(),
            bytes: Family::default(),
            // From 1 ms to 16 s.
            answer_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 8))
            }),
            // From 0.1 s to 29 hours.
            socket_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.1, 4.0, 11))
            }),
            plain_requests: connections.plain_requests.clone(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Opening requests, by status; none if the client left before the answer",
            self.handshakes.clone(),
        );
        registry.register("sockets", "Open WebSockets", self.open.clone());
        registry.register(
            "sockets_closed",
            "Closed WebSockets, by the side that ended them and how",
            self.closed.clone(),
        );
        registry.register(
            "bytes",
            "Bytes of WebSockets and bodies, up to the upstream and down from it",
            self.bytes.clone(),
        );
        registry.register(
            "answer_seconds",
            "Time from an opening request to its answer",
            self.answer_seconds.clone(),
        );
        registry.register(
            "socket_seconds",
            "Time from an opening request to the end of its WebSocket",
            self.socket_seconds.clone(),
        );
        registry.register(
            "http_requests",
            "Plain HTTP requests, by the status of the response",
            self.plain_requests.clone(),
        );
    }
}

/// Whether a WebSocket was opened: 101 over HTTP/1.1, 200 over HTTP/2.
fn is_open(access: &AccessRecord) -> bool {
    let opened = |status: StatusCode| status.is_success() || status.is_informational();
    access.status().is_some_and(opened)
}

fn of_route(access: &AccessRecord) -> String {
    access.route().unwrap_or_default().to_owned()
}

impl BridgeObserver for Counters {
    fn on_handshake(&self, access: &AccessRecord) {
        let route = of_route(access);
        let status = access.status();
        self.handshakes
            .get_or_create(&StatusLabels::of(access))
            .inc();
        let of_route = RouteLabels { route };
        if status.is_some() {
            let seconds = access.elapsed().as_secs_f64();
            self.answer_seconds
                .get_or_create(&of_route)
                .observe(seconds);
        }
        if is_open(access) {
            self.open.get_or_create(&of_route).inc();
        }
    }

    fn on_request_end(&self, access: &AccessRecord) {
        self.plain_requests
            .get_or_create(&StatusLabels::of(access))
            .inc();
    }

    fn on_bytes(&self, access: &AccessRecord, up: u64, down: u64) {
        for (direction, bytes) in [("up", up), ("down", down)] {
            let route = of_route(access);
            let label = BytesLabels { route, direction };
            self.bytes.get_or_create(&label).inc_by(bytes);
        }
    }

    fn on_websocket_end(&self, access: &AccessRecord) {
        let Some(closed) = access.closed().filter(|_| is_open(access)) else {
            return;
        };
        let route = of_route(access);
        self.closed
            .get_or_create(&ClosedLabels {
                route: route.clone(),
                by: closed.by().to_string(),
                how: closed.how().to_owned(),
            })
            .inc();
        let of_route = RouteLabels { route };
        self.open.get_or_create(&of_route).dec();
        let seconds = access.elapsed().as_secs_f64();
        self.socket_seconds
            .get_or_create(&of_route)
            .observe(seconds);
    }
}

/// Metrics that are read from the bridge for each scrape.
struct CurrentState {
    bridge: Bridge,
    listeners: Arc<OnceLock<Vec<ListenerStatus>>>,
    draining: Arc<AtomicBool>,
}

impl fmt::Debug for CurrentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentState").finish_non_exhaustive()
    }
}

impl Collector for CurrentState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let clients = self.bridge.clients();
        let connections: usize = clients.iter().map(|one| one.connections().len()).sum();
        let draining = self.draining.load(Ordering::Relaxed);
        for (name, help, value) in [
            (
                "upstream_http2_connections",
                "Open HTTP/2 connections to upstreams",
                connections as i64,
            ),
            ("draining", "1 after the start of a drain", draining.into()),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let listeners = self.listeners.get().map_or(&[][..], Vec::as_slice);
        limits::encode(&self.bridge.routes(), listeners, &mut encoder)?;
        certificates(listeners, &mut encoder)?;
        let help = "1 if an upstream is healthy, 0 if it is ejected or fails its checks";
        self.upstreams(&mut encoder, "upstream_fit", help, |status| {
            status.is_healthy.into()
        })?;
        let help = "Open WebSockets and plain HTTP requests on an upstream";
        self.upstreams(&mut encoder, "upstream_sockets", help, |status| {
            status.sockets as i64
        })
    }
}

/// Encodes the end of the validity of what each listener presents.
fn certificates(listeners: &[ListenerStatus], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let name = "certificate_not_after_timestamp_seconds";
    let help =
        "When the first certificate of the chain in this file expires, in seconds since 1970";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for listener in listeners {
        for (file, validity) in listener.certificates() {
            let label = CertificateLabels {
                listener: listener.url.clone(),
                file: file.display().to_string(),
            };
            ConstGauge::new(validity.until()).encode(family.encode_family(&label)?)?;
        }
    }
    Ok(())
}

impl CurrentState {
    fn upstreams(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: fn(&UpstreamStatus) -> i64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for route in self.bridge.routes().iter() {
            for status in route.upstreams() {
                let address = status.upstream.address();
                let label = UpstreamLabels {
                    route: route.name().to_owned(),
                    upstream: status.upstream.to_string(),
                    address: address.map(|at| at.to_string()).unwrap_or_default(),
                };
                ConstGauge::new(value(&status)).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

impl Metrics {
    pub(super) fn new(bridge: Bridge, connections: &Connections) -> Self {
        let counters = Arc::new(Counters::new(connections));
        let draining = Arc::new(AtomicBool::new(false));
        let listeners = Arc::new(OnceLock::new());
        let mut registry = Registry::with_prefix("h2ws_bridge");
        counters.register(&mut registry);
        connections.register(&mut registry);
        registry.register_collector(Box::new(CurrentState {
            bridge,
            listeners: listeners.clone(),
            draining: draining.clone(),
        }));
        Self {
            registry: Arc::new(registry),
            counters,
            listeners,
            draining,
        }
    }

    /// Sets the listeners, whose connections are limited.
    pub(super) fn listen(&self, listeners: Vec<ListenerStatus>) {
        // Called once.
        let _ = self.listeners.set(listeners);
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Makes `/readyz` answer 503 from now on.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Starts the listener at `address`; it stops when the returned value is dropped.
    pub(super) async fn serve(
        &self,
        address: &ListenAddress,
        reuse_port: bool,
    ) -> Result<Admin, Failure> {
        let config = ListenerConfig {
            line: None,
            address: address.clone(),
            tls: None,
            redirect_https: false,
            proxy_protocol: Networks::default(),
            max_connections: None,
            max_connections_per_client: None,
        };
        let listeners = Listeners::bind(
            &[config],
            &Server::builder(),
            reuse_port,
            &Runtimes::default(),
        )
        .await
        .map_err(|error| format!("metrics: {error}"))?;
        let url = listeners.url().replacen("ws", "http", 1);
        let service = self.clone();
        let refuse = |request: h2ws::server::WebSocketRequest| async {
            request.reject(StatusCode::NOT_FOUND);
        };
        let task = tokio::spawn(async move {
            let serve = |server: Server, _| server.serve(refuse).fallback(service.clone());
            listeners
                .serve(serve, Duration::ZERO, std::future::pending())
                .await;
        });
        Ok(Admin { url, task })
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        const PLAIN: &str = "text/plain; charset=utf-8";
        let (status, kind, body) = match path {
            _ if !matches!(*method, Method::GET | Method::HEAD) => (
                StatusCode::METHOD_NOT_ALLOWED,
                PLAIN,
                "only GET and HEAD are allowed\n".to_owned(),
            ),
            "/metrics" => {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                    Ok(()) => (StatusCode::OK, OPENMETRICS, text),
                    Err(error) => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        PLAIN,
                        format!("{error}\n"),
                    ),
                }
            }
            "/healthz" => (StatusCode::OK, PLAIN, "alive\n".to_owned()),
            "/readyz" if self.draining.load(Ordering::Relaxed) => (
                StatusCode::SERVICE_UNAVAILABLE,
                PLAIN,
                "draining\n".to_owned(),
            ),
            "/readyz" => (StatusCode::OK, PLAIN, "ready\n".to_owned()),
            _ => (
                StatusCode::NOT_FOUND,
                PLAIN,
                "not found; available are /metrics, /healthz and /readyz\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Service<Request<Body>> for Metrics {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}

/// The running listener for metrics and health checks; it stops when this is dropped.
pub(super) struct Admin {
    url: String,
    task: JoinHandle<()>,
}

impl Admin {
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}
