//! Metrics of what is limited: how much is used, beside the limit.
//!
//! Both have the same labels, so that one alert covers all limits: `limit_used / limit_max > 0.8`.
//! The label `limit` is the key in the configuration file. A limit that is not set has no metric.

use std::fmt;

use h2ws::bridge::Routes;
use h2ws::config::ProcessBuffer;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::files;
use crate::listener::ListenerStatus;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
    /// The route or the listener that has the limit, or empty.
    of: String,
}

struct Limited {
    labels: LimitLabels,
    used: usize,
    max: usize,
}

/// Encodes what is used of every limit.
pub(super) fn encode(
    routes: &Routes,
    listeners: &[ListenerStatus],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let all = all(routes, listeners);
    for (name, help, value) in [
        (
            "limit_used",
            "What is used of a limit; of those per client or connection, by the one that uses most",
            (|one| one.used) as fn(&Limited) -> usize,
        ),
        ("limit_max", "The limit", |one| one.max),
    ] {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in &all {
            let gauge = ConstGauge::new(i64::try_from(value(one)).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&one.labels)?)?;
        }
    }
    Ok(())
}

fn all(routes: &Routes, listeners: &[ListenerStatus]) -> Vec<Limited> {
    let mut all = Vec::new();
    let mut add = |limit, of: &str, max: Option<usize>, used: &dyn Fn() -> usize| {
        if let Some(max) = max {
            let of = of.to_owned();
            let labels = LimitLabels { limit, of };
            let used = used();
            all.push(Limited { labels, used, max });
        }
    };
    let limits = routes.limits();
    add("max_sockets", "", limits.max_sockets, &|| routes.sockets());
    add(
        "max_sockets_per_client",
        "",
        limits.max_sockets_per_client,
        &|| routes.sockets_of_busiest_client(),
    );
    for route in routes.iter() {
        add("max_sockets", route.name(), route.max_sockets(), &|| {
            route.sockets()
        });
        if let Some(auth) = route.forward_auth() {
            let (used, max) = auth.requests();
            add("max_requests", route.name(), Some(max), &|| used);
            let (used, max) = auth.requests_of_busiest_client();
            add("max_requests_per_client", route.name(), Some(max), &|| used);
        }
    }
    for ListenerStatus {
        url, connections, ..
    } in listeners
    {
        add("max_connections", url, Some(connections.max()), &|| {
            connections.open()
        });
        let per_client = connections.max_per_client();
        add("max_connections_per_client", url, per_client, &|| {
            connections.of_busiest_client()
        });
        let per_connection = connections.max_per_connection();
        add("max_concurrent_streams", url, Some(per_connection), &|| {
            connections.of_busiest_connection()
        });
    }
    let buffer = ProcessBuffer::default();
    add("process_buffer", "", Some(buffer.limit()), &|| {
        buffer.held()
    });
    let max = files::limit().and_then(|max| usize::try_from(max).ok());
    if let Some(open) = files::open() {
        add("open_files", "", max, &|| open);
    }
    all
}
