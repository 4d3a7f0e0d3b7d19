//! The identifiers of requests: the upstream receives those that are in the access
//! log, for WebSockets and plain HTTP requests over both HTTP versions.

use h2ws::HttpVersion;
use h2ws::bridge::{AccessRecord, RouteBuilder, TraceContext};
use http::HeaderName;

use crate::support::recorder::{Event, Recorder};
use crate::support::table::{Table, route, table};
use crate::support::ways::{Answer, WAYS, Way, dump};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The identifiers in an access line.
#[derive(Debug)]
struct Ids {
    request_id: Option<String>,
    trace_id: Option<String>,
    span_id: Option<String>,
}

impl Ids {
    fn of(event: Event, access: &AccessRecord) -> Option<Self> {
        (event != Event::Handshake).then(|| Self {
            request_id: access.request_id(),
            trace_id: access.trace_id(),
            span_id: access.span_id(),
        })
    }
}

/// Sends a request in each way through a route to an upstream, and passes what it
/// received and the access line to `check`.
async fn in_all_ways(
    configure: impl Fn(RouteBuilder) -> RouteBuilder,
    fields: &[(&str, &str)],
    check: impl Fn(Answer, Ids, Way),
) {
    let addr = dump().await;
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let upstream = format!("ws://{addr}").parse::<h2ws::bridge::Upstream>();
        let upstream = upstream.unwrap().version(version);
        let route = configure(route("/*", &[]).upstream(upstream));
        let table = Table::start(table([route])).await;
        let recorder = Recorder::of(&table.bridge, Ids::of);
        for way in WAYS {
            let answer = way.ask(table.addr, "/a", fields).await;
            assert_eq!(answer.status, 400, "{way:?}");
            check(answer, recorder.next().await, way);
        }
    }
}

#[tokio::test]
async fn the_upstream_gets_the_request_id_of_the_access_line() {
    let long = "a".repeat(10_000);
    for (sent, is_trusted, is_used) in [
        (None, false, false),
        (Some("from-a-proxy"), true, true),
        (Some("forged"), false, false),
        (Some(&*long), true, false),
        (Some("two words"), true, false),
    ] {
        let mut fields = vec![("x_request_id", "forged"), ("x-other", "kept")];
        fields.extend(sent.map(|id| ("x-request-id", id)));
        let trusting = |route: RouteBuilder| route.trust_forwarded(is_trusted);
        in_all_ways(trusting, &fields, |answer, ids, way| {
            let logged = ids.request_id.unwrap();
            let received = answer.received("x-request-id");
            assert_eq!(received, Some(&*logged), "{way:?} {sent:?}");
            assert_eq!(received == sent, is_used, "{way:?} {sent:?}");
            assert!(is_used || logged.len() == 32, "{logged}");
            assert_eq!(answer.received("x_request_id"), None);
            assert_eq!(answer.received("x-other"), Some("kept"));
        })
        .await;
    }
}

#[tokio::test]
async fn the_field_of_the_request_id_can_be_changed_or_left_alone() {
    let fields = [("x-request-id", "client's"), ("x-id", "client's")];
    let named = |route: RouteBuilder| route.request_id(HeaderName::from_static("x-id"));
    in_all_ways(named, &fields, |answer, ids, _| {
        assert_eq!(answer.received("x-id"), ids.request_id.as_deref());
        assert_eq!(answer.received("x-request-id"), Some("client's"));
    })
    .await;
    let off = |route: RouteBuilder| route.request_id(None);
    in_all_ways(off, &fields, |answer, ids, _| {
        assert_eq!(ids.request_id, None);
        assert_eq!(answer.received("x-request-id"), Some("client's"));
    })
    .await;
}

#[tokio::test]
async fn traces_are_passed_continued_or_restarted() {
    use TraceContext::{Continue, Pass, Restart};
    for (sent, handling, is_kept) in [
        (Some(TRACEPARENT), Pass, true),
        (Some("nonsense"), Pass, false),
        (None, Pass, false),
        (Some(TRACEPARENT), Continue, true),
        (Some("nonsense"), Continue, false),
        (None, Continue, false),
        (Some(TRACEPARENT), Restart, false),
    ] {
        let mut fields = vec![("tracestate", "congo=1")];
        fields.extend(sent.map(|sent| ("traceparent", sent)));
        let handled = |route: RouteBuilder| route.trace_context(handling);
        in_all_ways(handled, &fields, |answer, ids, way| {
            let received = answer.received("traceparent");
            let state = answer.received("tracestate");
            let is_in_trace = ids.trace_id.as_deref() == Some(TRACE);
            assert_eq!(is_in_trace, is_kept, "{way:?} {sent:?} {handling:?}");
            if handling == Pass {
                assert_eq!((received, state), (sent, Some("congo=1")));
                assert_eq!(ids.span_id, None);
                return;
            }
            let (trace_id, span_id) = (ids.trace_id.unwrap(), ids.span_id.unwrap());
            let expected = format!("00-{trace_id}-{span_id}-01");
            assert_eq!(received, Some(&*expected), "{way:?} {sent:?}");
            assert_ne!(received, sent);
            assert_eq!(state, is_kept.then_some("congo=1"), "{way:?} {sent:?}");
        })
        .await;
    }
}
