//! The `tracing` spans in which a socket's events are recorded.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use futures_util::StreamExt;
use h2ws::{Server, Transport};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::client::{ClientFixture, echo, http1, http2};
use crate::support::{server, until, within};

type Fields = HashMap<&'static str, String>;

#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    parent: Option<u64>,
    follows: Vec<u64>,
    fields: Fields,
}

#[derive(Debug, Default)]
struct Seen {
    spans: HashMap<u64, Span>,
    entered: Vec<u64>,
    /// Each with the span that it was recorded in.
    events: Vec<(Fields, Option<u64>)>,
}

/// Records all spans and events of the test's thread.
#[derive(Clone, Debug, Default)]
struct Observer {
    seen: Arc<Mutex<Seen>>,
    next: Arc<AtomicU64>,
}

impl Observer {
    /// The span of the event with this message, and the span's parent.
    fn around(&self, message: &str) -> Option<(Span, Option<Span>)> {
        let seen = self.seen.lock().unwrap();
        let has_message = |fields: &Fields| fields.get("message").is_some_and(|m| m == message);
        let (_, span) = seen.events.iter().find(|(fields, _)| has_message(fields))?;
        let span = seen.spans.get(&(*span)?)?.clone();
        let parent = span.parent.and_then(|parent| seen.spans.get(&parent));
        Some((span.clone(), parent.cloned()))
    }
}

struct FieldVisitor<'a>(&'a mut Fields);

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Observer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("h2ws") || metadata.target().starts_with("wire")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut seen = self.seen.lock().unwrap();
        let mut span = Span {
            name: attributes.metadata().name(),
            parent: match attributes.parent() {
                Some(parent) => Some(parent.into_u64()),
                None if attributes.is_contextual() => seen.entered.last().copied(),
                None => None,
            },
            ..Span::default()
        };
        attributes.record(&mut FieldVisitor(&mut span.fields));
        seen.spans.insert(id, span);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut seen = self.seen.lock().unwrap();
        if let Some(span) = seen.spans.get_mut(&span.into_u64()) {
            values.record(&mut FieldVisitor(&mut span.fields));
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        let mut seen = self.seen.lock().unwrap();
        if let Some(span) = seen.spans.get_mut(&span.into_u64()) {
            span.follows.push(follows.into_u64());
        }
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut FieldVisitor(&mut fields));
        let mut seen = self.seen.lock().unwrap();
        let span = event.parent().map(Id::into_u64);
        let span = span.or_else(|| seen.entered.last().copied());
        seen.events.push((fields, span));
    }

    fn enter(&self, span: &Id) {
        self.seen.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut seen = self.seen.lock().unwrap();
        let at = seen.entered.iter().rposition(|s| *s == span.into_u64());
        at.map(|at| seen.entered.remove(at));
    }
}

/// Records everything that happens on this thread from now on.
///
/// `tracing` caches for each callsite whether a subscriber is interested in it. A callsite
/// that another test's thread reaches for the first time while the last subscriber is
/// removed and this one is installed is cached as uninteresting. One subscriber therefore
/// stays installed.
fn observe() -> (Observer, tracing::subscriber::DefaultGuard) {
    static PERMANENT: OnceLock<tracing::Dispatch> = OnceLock::new();
    PERMANENT.get_or_init(|| tracing::Dispatch::new(Observer::default()));
    let observer = Observer::default();
    let guard = tracing::subscriber::set_default(observer.clone());
    (observer, guard)
}

/// The events of a handler show their socket and its connection.
#[tokio::test]
async fn handlers_run_inside_the_span_of_their_socket() {
    let (observer, _guard) = observe();
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        let version = upgrade.version();
        let mut ws = upgrade.accept().await.unwrap();
        while let Some(Ok(message)) = ws.next().await {
            tracing::info!("heard over {version:?}");
            ws.send_prepared(&h2ws::frame::PreparedMessage::new(message).unwrap())
                .await
                .unwrap();
        }
    })
    .await;
    let origin = format!("http://{}", server.addr);
    for (client, version) in [(http2(), "HTTP/2.0"), (http1(), "HTTP/1.1")] {
        let client = client.build().unwrap();
        let request = client.request(server.url("/chat?token=secret"));
        let mut ws = within(request.origin(&origin).connect()).await.unwrap();
        echo(&mut ws, "hello").await;
        let closed = within(ws.close(None)).await;
        assert!(closed.is_ok());
        let (socket, connection) = observer.around(&format!("heard over {version}")).unwrap();
        let connection = connection.expect("the socket span has no parent");
        assert_eq!((socket.name, connection.name), ("socket", "connection"));
        assert_eq!(socket.fields["path"], "/chat", "the query is left out");
        assert_eq!(socket.fields["version"], version);
        assert_eq!(socket.fields["authority"], server.addr.to_string());
        assert!(socket.fields["origin"].contains(&origin), "{socket:?}");
        assert_eq!(socket.fields["connection"], connection.fields["connection"]);
        assert!(socket.fields["peer"].starts_with("127.0.0.1:"));
        assert_eq!(socket.fields["peer"], connection.fields["peer"]);
        let stream = socket.fields.get("stream").map(String::as_str);
        assert_eq!(stream, (version == "HTTP/2.0").then_some("1"));
    }
}

/// What a handler rejects is logged with the path of its request.
#[tokio::test]
async fn a_handlers_rejection_is_logged_inside_the_span_of_its_socket() {
    for client in [http2(), http1()] {
        let (observer, _guard) = observe();
        let server = server::serve(Server::builder(), |request, _| async move {
            request.reject(h2ws::http::StatusCode::NOT_FOUND);
        })
        .await;
        let client = client.build().unwrap();
        let rejected = within(client.connect(&server.url("/nowhere"))).await;
        assert!(rejected.is_err());
        let (socket, _) = observer.around("rejected").unwrap();
        assert_eq!(socket.fields["path"], "/nowhere");
    }
}

/// The span of a client's socket belongs to the caller and follows from the connection's,
/// which has no parent.
#[tokio::test]
async fn a_clients_socket_follows_from_its_connection() {
    let (observer, _guard) = observe();
    let mut fixture = ClientFixture::new().await;
    let Transport::Http2 { connection, .. } = fixture.sibling.transport() else {
        panic!("not over HTTP/2");
    };
    let (closed, ()) = tokio::join!(fixture.sibling.close(None), fixture.peer.answer_close(1));
    closed.unwrap();
    until(|| observer.around("socket ended").is_some()).await;
    let (socket, _) = observer.around("socket ended").unwrap();
    assert_eq!(socket.fields["stream"], "1");
    assert_eq!(socket.fields["path"], "/");
    let seen = observer.seen.lock().unwrap();
    let followed = &seen.spans[&socket.follows[0]];
    assert_eq!((followed.name, followed.parent), ("connection", None));
    assert_eq!(followed.fields["connection"], connection.to_string());
    let ended = seen
        .events
        .iter()
        .find(|(f, _)| f.get("message").is_some_and(|m| m == "socket ended"));
    assert!(ended.is_some_and(|(fields, _)| fields["end"].starts_with("Closed")));
}
