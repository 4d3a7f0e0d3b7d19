//! Prometheus metrics of connections to clients and upstreams, from the library's metrics events.

use std::time::Duration;

use h2ws::frame::Role;
use h2ws::metrics::{
    ConnectionEnd, ConnectionInfo, ConnectionTraffic, Handshake, Metrics, RejectedRequest,
};
use http::Version;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The metrics; clones share the counters.
#[derive(Clone)]
pub(super) struct Connections {
    /// Requests that were answered by the listener or the bridge, exported with those of the routes.
    pub(super) requests: Family<StatusLabels, Counter>,
    pub(super) plain_requests: Family<StatusLabels, Counter>,
    open: Family<ConnectionLabels, Gauge>,
    closed: Family<ClosedLabels, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    bytes: Family<TrafficLabels, Counter>,
    data_frames: Family<TrafficLabels, Counter>,
    resets: Family<TrafficLabels, Counter>,
    goaways: Family<TrafficLabels, Counter>,
    round_trips: Family<SideLabel, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StatusLabels {
    /// Empty if no route saw the request.
    pub(super) route: String,
    /// `none` if the client left before the answer.
    pub(super) status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabel {
    /// The other end: `client` or `upstream`.
    side: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    side: &'static str,
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    side: &'static str,
    version: &'static str,
    how: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    side: &'static str,
    /// `none` if it was not negotiated yet.
    version: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrafficLabels {
    side: &'static str,
    direction: &'static str,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            plain_requests: Family::default(),
            open: Family::default(),
            closed: Family::default(),
            handshakes: Family::default(),
            bytes: Family::default(),
            data_frames: Family::default(),
            resets: Family::default(),
            goaways: Family::default(),
            // From 0.5 ms to 4 s.
            round_trips: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 14))
            }),
        }
    }
}

impl Connections {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Open connections to clients and upstreams",
            self.open.clone(),
        );
        registry.register(
            "connections_closed",
            "Closed connections, by the way in which they ended",
            self.closed.clone(),
        );
        registry.register(
            "handshakes",
            "WebSocket opening handshakes, by result",
            self.handshakes.clone(),
        );
        for (name, help, family) in [
            (
                "http2_bytes",
                "Bytes on HTTP/2 connections, without TLS overhead",
                &self.bytes,
            ),
            (
                "http2_data_frames",
                "DATA frames on HTTP/2 connections",
                &self.data_frames,
            ),
            ("http2_resets", "RST_STREAM frames", &self.resets),
            ("http2_goaways", "GOAWAY frames", &self.goaways),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "http2_round_trip_seconds",
            "Round-trip time of HTTP/2 PING frames",
            self.round_trips.clone(),
        );
    }
}

/// Returns the label of the other end, where this process has the given role.
fn side(role: Role) -> &'static str {
    match role {
        Role::Server => "client",
        Role::Client => "upstream",
    }
}

fn named(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn kind(on: &ConnectionInfo) -> ConnectionLabels {
    ConnectionLabels {
        side: side(on.role),
        version: named(on.version),
    }
}

impl Metrics for Connections {
    fn connection_opened(&self, on: &ConnectionInfo) {
        self.open.get_or_create(&kind(on)).inc();
    }

    fn connection_closed(&self, on: &ConnectionInfo, end: ConnectionEnd) {
        let kind = kind(on);
        self.open.get_or_create(&kind).dec();
        let how = match end {
            ConnectionEnd::Clean => "clean",
            ConnectionEnd::GoAway { .. } => "goaway",
            ConnectionEnd::Timeout => "timeout",
            ConnectionEnd::Broken => "broken",
            ConnectionEnd::Cut => "cut",
            _ => "other",
        };
        let ConnectionLabels { side, version } = kind;
        let label = ClosedLabels { side, version, how };
        self.closed.get_or_create(&label).inc();
    }

    fn connection_traffic(&self, on: &ConnectionInfo, traffic: &ConnectionTraffic) {
        let side = side(on.role);
        for (family, sent, received) in [
            (&self.bytes, traffic.bytes_sent, traffic.bytes_received),
            (
                &self.data_frames,
                traffic.data_frames_sent,
                traffic.data_frames_received,
            ),
            (&self.resets, traffic.resets_sent, traffic.resets_received),
            (
                &self.goaways,
                traffic.goaways_sent,
                traffic.goaways_received,
            ),
        ] {
            for (direction, count) in [("sent", sent), ("received", received)] {
                let label = TrafficLabels { side, direction };
                family.get_or_create(&label).inc_by(count);
            }
        }
    }

    fn round_trip(&self, on: &ConnectionInfo, time: Duration) {
        let side = side(on.role);
        self.round_trips
            .get_or_create(&SideLabel { side })
            .observe(time.as_secs_f64());
    }

    fn request_rejected(&self, request: &RejectedRequest) {
        let requests = if request.is_websocket {
            &self.requests
        } else {
            &self.plain_requests
        };
        let label = StatusLabels {
            route: String::new(),
            status: request.status.as_str().to_owned(),
        };
        requests.get_or_create(&label).inc();
    }

    fn handshake(&self, role: Role, version: Option<Version>, result: Handshake) {
        let result = match result {
            Handshake::Accepted => "accepted",
            Handshake::Refused(_) => "refused",
            Handshake::Timeout => "timeout",
            Handshake::Unprocessed => "unprocessed",
            Handshake::Fallback => "fallback",
            Handshake::Failed => "failed",
            Handshake::Dropped => "dropped",
            _ => "other",
        };
        let label = HandshakeLabels {
            side: side(role),
            version: version.map_or("none", named),
            result,
        };
        self.handshakes.get_or_create(&label).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use h2ws::{Client, HttpVersion, Server};
    use std::sync::Arc;

    fn text(connections: &Connections) -> String {
        let mut registry = Registry::default();
        connections.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        text
    }

    #[tokio::test]
    async fn client_and_upstream_connections_are_counted_separately() {
        let connections = Connections::default();
        let metrics = Arc::new(connections.clone());
        let server = Server::builder().metrics(metrics.clone());
        let server = server.bind("127.0.0.1:0").await.expect("bound");
        let url = format!("ws://{}", server.local_addr().expect("an address"));
        let accept = async |request: h2ws::server::WebSocketRequest| {
            if request.path() == "/no" {
                return request.reject(http::StatusCode::FORBIDDEN);
            }
            let mut socket = request.accept().await.expect("accepted");
            while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
        };
        let serving = tokio::spawn(server.serve(accept).into_future());
        for version in [HttpVersion::Http1, HttpVersion::Http2] {
            let client = Client::builder().version(version).metrics(metrics.clone());
            let client = client.build().expect("a client");
            let mut socket = client.connect(&url).await.expect("open");
            let refused = client.connect(&format!("{url}/no")).await;
            refused.expect_err("rejected");
            let version = match version {
                HttpVersion::Http1 => "1.1",
                _ => "2",
            };
            let now = text(&connections);
            for side in ["client", "upstream"] {
                for line in [
                    format!("connections{{side=\"{side}\",version=\"{version}\"}} "),
                    format!(
                        "handshakes_total{{side=\"{side}\",version=\"{version}\",result=\"accepted\"}} 1"
                    ),
                    format!(
                        "handshakes_total{{side=\"{side}\",version=\"{version}\",result=\"refused\"}} 1"
                    ),
                ] {
                    let found = now.lines().any(|one| one.starts_with(&line));
                    assert!(found, "no {line}: {now}");
                }
            }
            socket.close(None).await.expect("closed");
        }
        let ended = async {
            let gone = |text: &str| {
                let open = text.lines().filter(|line| line.starts_with("connections{"));
                open.clone().count() == 4 && open.into_iter().all(|line| line.ends_with(" 0"))
            };
            while !gone(&text(&connections)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let hangs = Duration::from_secs(60);
        let ended = tokio::time::timeout(hangs, ended).await;
        let now = text(&connections);
        ended.unwrap_or_else(|_| panic!("connections are still open: {now}"));
        for side in ["client", "upstream"] {
            for direction in ["sent", "received"] {
                let none =
                    format!("http2_bytes_total{{side=\"{side}\",direction=\"{direction}\"}} 0");
                assert!(now.contains(&none[..none.len() - 1]), "no bytes: {now}");
                assert!(!now.contains(&none), "{now}");
            }
        }
        serving.abort();
    }
}
