//! Connections to upstreams, for plain HTTP requests: which are kept, and which
//! request may use which.
//!
//! - A connection of HTTP/2 is shared, as far as the server's limit of streams
//!   goes. One of HTTP/1.1 is used again, until the route's
//!   [`pool_idle`](crate::bridge::Timeouts::pool_idle) is over, or the shorter time that
//!   the server announced in `Keep-Alive`.
//! - A server may end a kept connection at any time. A request that cannot be
//!   repeated (RFC 9110 §9.2.2) is sent over one that carried another a moment
//!   ago, or over a new one.
//! - NTLM and Negotiate (RFC 4559) authenticate the connection, not the request.
//!   Such a connection is bound to the client's connection, or used once where
//!   that may be shared by several users: nobody else's request ever goes over
//!   it.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::abandoned::GivenUp;
use super::body::Upload;
use crate::bridge::Upstream;
use crate::bridge::verdict::Verdict;
use crate::client::{Client, HttpVersion};
use crate::error::Error;
use crate::handshake::{Endpoint, Target};
use crate::transport::h2::header_list::{self, TooLarge};
use crate::transport::h2::inspected_io::{InspectedIo, Server};
use crate::transport::{BoxIo, MAX_HEADER_FIELDS, StreamError, h1};

/// Unused HTTP/1.1 connections that are kept to one server.
const MAX_UNUSED: usize = 128;

/// How long HTTP/2's are kept unused where the client's [idle
/// timeout](crate::client::ClientBuilder::idle_timeout) is off: servers end them first.
const UNUSED: Duration = Duration::from_secs(90);

/// How long after its last answer a connection is good for a request that cannot
/// be repeated: less than the idle times of servers that announce none.
const FRESH: Duration = Duration::from_secs(1);

/// How much earlier than announced a server may end a connection.
const MARGIN: Duration = Duration::from_secs(1);

/// How often unused connections are looked after, at least.
const LOOK: Duration = Duration::from_secs(5);

/// How long a connection may take to be ready again after its answer: the rest
/// of a request that the upstream did not wait for.
const READY: Duration = Duration::from_secs(5);

/// Keeps the connections of a bridge.
pub(in crate::bridge) struct Connections {
    /// How long HTTP/2's are kept unused.
    unused: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: HashMap<Place, Known>,
    /// Whether somebody looks after what is unused.
    is_swept: bool,
}

/// What connections can be shared by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    client: ByIdentity,
    origin: Endpoint,
    address: Option<SocketAddr>,
    version: HttpVersion,
}

/// Who has made connections: another one would have shown another certificate,
/// or trusted another server.
#[derive(Clone)]
struct ByIdentity(Client);

impl PartialEq for ByIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl Eq for ByIdentity {}

impl Hash for ByIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity().hash(state);
    }
}

/// What there is to a place.
#[derive(Default)]
struct Known {
    unused: Vec<Unused>,
    /// More than one where those before it are full.
    shared: Vec<(Instant, Http2)>,
    /// Held while a connection is made that others may share.
    turn: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

/// A connection of HTTP/1.1 between two requests.
struct Unused {
    since: Instant,
    until: Instant,
    http1: Http1,
}

impl Unused {
    /// Whether a request may go over it.
    fn serves(&self, wanted: &Wanted) -> bool {
        let now = Instant::now();
        let in_time = now < self.until;
        let is_fresh = wanted.is_repeatable || now < self.since + FRESH;
        in_time && is_fresh && self.http1.send.is_ready()
    }
}

struct Http1 {
    send: http1::SendRequest<Upload>,
    task: AbortHandle,
    binding: Binding,
}

/// Whose requests a connection may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Anybodys,
    /// Those of the client's connection of this number.
    Of(u64),
    /// No more.
    Spent,
}

/// What a request asks of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The client's connection, if all requests on it come from one user.
    pub(super) client: Option<u64>,
    /// Whether the request authenticates the connection.
    pub(super) authenticates: bool,
    /// Whether the request can be sent a second time.
    pub(super) is_repeatable: bool,
    /// How long the connection is kept behind it.
    pub(super) keep: Duration,
}

/// Whether a request with these fields authenticates its connection.
pub(in crate::bridge) fn authenticates(fields: &HeaderMap) -> bool {
    let of_connection = |value: &HeaderValue| {
        let scheme = value.as_bytes().trim_ascii_start();
        let end = scheme.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let scheme = &scheme[..end.unwrap_or(scheme.len())];
        [&b"ntlm"[..], b"negotiate"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    };
    let mut values = fields.get_all(http::header::AUTHORIZATION).iter();
    values.any(of_connection)
}

/// The time for which a server promises to keep an unused connection.
fn announced(fields: &HeaderMap) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let values = fields.get_all(KEEP_ALIVE).into_iter();
    let parameters = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let seconds = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        let seconds = value.trim().trim_matches('"').parse::<u32>();
        seconds.ok().filter(|_| is_timeout)
    });
    let announced = Duration::from_secs(seconds.min()?.into());
    Some(announced.saturating_sub(MARGIN.min(announced / 2)))
}

#[derive(Clone)]
struct Http2 {
    send: http2::SendRequest<Upload>,
    driven: Weak<Mutex<Driven>>,
    /// Streams that the server takes, as was seen last.
    limit: Arc<AtomicUsize>,
    /// One for each request at work, and one kept here.
    requests: Arc<()>,
    server: Server,
    given_up: Arc<GivenUp>,
    /// Bytes of an answer's header list.
    max_header_list: u32,
}

type Driven = http2::Connection<TokioIo<BoxIo>, Upload, TokioExecutor>;

impl Http2 {
    /// Whether a request need not wait for others to end (RFC 9113 §5.1.2).
    /// One may where no other will: the server takes none for now.
    fn has_room(&self) -> bool {
        let at_work = Arc::strong_count(&self.requests) - 1;
        match self.driven.upgrade() {
            // Its task may be at work with it, which nobody is to wait for here.
            Some(driven) => {
                if let Ok(driven) = driven.try_lock() {
                    self.saw(&driven);
                }
            }
            None => return false,
        }
        at_work < self.limit.load(Ordering::Relaxed).max(1)
    }

    fn saw(&self, driven: &Driven) {
        let limit = driven.current_max_send_streams();
        self.limit.store(limit, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection at work. Unless it [rests](Self::rest), dropping it cuts it,
/// or cancels its stream of HTTP/2.
pub(super) struct Connection {
    carrier: Carrier,
    /// Whether it has carried requests before, and so may have ended unnoticed.
    pub(super) is_reused: bool,
    /// How long it is kept unused.
    keep: Duration,
    home: Arc<Connections>,
    place: Place,
}

enum Carrier {
    Http1(Http1),
    Http2(Http2),
    Given,
}

impl Place {
    pub(super) fn of(client: &Client, upstream: &Upstream, target: &Target) -> Self {
        Self {
            client: ByIdentity(client.clone()),
            origin: target.endpoint().clone(),
            address: upstream.reached_at(),
            version: upstream.http_version(),
        }
    }

    /// Whether HTTP/2 may be what is spoken there.
    fn may_be_shared(&self) -> bool {
        match self.version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.origin.secure,
        }
    }
}

impl Connections {
    pub(in crate::bridge) fn new(client: &Client) -> Arc<Self> {
        Arc::new(Self {
            unused: client.idle_timeout().unwrap_or(UNUSED),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A connection to `place`, where `target` is: one that is there, or another
    /// one, which it is always if `anew`.
    pub(super) async fn take(
        self: &Arc<Self>,
        place: &Place,
        target: &Target,
        wanted: &Wanted,
        anew: bool,
    ) -> Result<Connection, Error> {
        if anew {
            return self.make(place, target, wanted).await;
        }
        if !wanted.is_repeatable {
            // What the kernel knows of a connection's end is known here then.
            tokio::task::yield_now().await;
        }
        if let Some(connection) = self.known(place, wanted) {
            return Ok(connection);
        }
        let _turn = match self.turn(place).filter(|_| !wanted.authenticates) {
            Some(turn) => {
                let turn = turn.lock_owned().await;
                // Somebody else's, made meanwhile.
                if let Some(connection) = self.known(place, wanted) {
                    return Ok(connection);
                }
                self.turn(place).map(|_| turn)
            }
            None => None,
        };
        self.make(place, target, wanted).await
    }

    /// To be waited for where the connection of one may be that of all.
    fn turn(self: &Arc<Self>, place: &Place) -> Option<Arc<tokio::sync::Mutex<()>>> {
        if !place.may_be_shared() {
            return None;
        }
        let mut state = self.state();
        let known = state.places.entry(place.clone()).or_default();
        let turn = (!known.speaks_http1).then(|| known.turn.clone());
        self.look_after(&mut state);
        turn
    }

    /// One that is open, as far as one can tell.
    fn known(self: &Arc<Self>, place: &Place, wanted: &Wanted) -> Option<Connection> {
        let mut state = self.state();
        let known = state.places.get_mut(place)?;
        known.shared.retain(|(_, shared)| !shared.send.is_closed());
        known.unused.retain(|unused| !unused.http1.send.is_closed());
        let carrier = known.pick(wanted)?;
        Some(self.at_work(place, carrier, true, wanted.keep))
    }

    fn at_work(
        self: &Arc<Self>,
        place: &Place,
        carrier: Carrier,
        is_reused: bool,
        keep: Duration,
    ) -> Connection {
        Connection {
            carrier,
            is_reused,
            keep,
            home: self.clone(),
            place: place.clone(),
        }
    }

    async fn make(
        self: &Arc<Self>,
        place: &Place,
        target: &Target,
        wanted: &Wanted,
    ) -> Result<Connection, Error> {
        let client = &place.client.0;
        let version = match place.version {
            // NTLM is not for connections of HTTP/2.
            HttpVersion::Auto if wanted.authenticates => HttpVersion::Http1,
            version => version,
        };
        let (is_http2, io) = client.reach(target, place.address, version).await?;
        let carrier = if is_http2 {
            let is_shared = !wanted.authenticates;
            Carrier::Http2(self.http2(place, io, is_shared).await?)
        } else {
            Carrier::Http1(self.http1(place, io, version).await?)
        };
        Ok(self.at_work(place, carrier, false, wanted.keep))
    }

    async fn http1(
        self: &Arc<Self>,
        place: &Place,
        io: BoxIo,
        version: HttpVersion,
    ) -> Result<Http1, Error> {
        let (send, connection) = http1::Builder::new()
            .max_buf_size(h1::MAX_HEAD)
            .max_headers(MAX_HEADER_FIELDS)
            .handshake(TokioIo::new(h1::EarlyResponseIo::new(io)))
            .await
            .map_err(StreamError::from)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        if place.may_be_shared()
            && place.version == version
            && let Some(known) = self.state().places.get_mut(place)
        {
            known.speaks_http1 = true;
        }
        Ok(Http1 {
            send,
            task: task.abort_handle(),
            binding: Binding::Anybodys,
        })
    }

    async fn http2(
        self: &Arc<Self>,
        place: &Place,
        io: BoxIo,
        is_shared: bool,
    ) -> Result<Http2, Error> {
        let config = place.client.0.http2_config();
        let (io, server) = InspectedIo::new(io, config.max_header_list_size);
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_frame_size(config.max_frame_size)
            .max_header_list_size(header_list::TAKEN)
            .max_send_buf_size(config.write_buffer)
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout)
            .handshake(TokioIo::new(Box::new(io) as BoxIo))
            .await
            .map_err(StreamError::from)?;
        let connection = Arc::new(Mutex::new(connection));
        let http2 = Http2 {
            send,
            given_up: GivenUp::new(server.clone()),
            max_header_list: config.max_header_list_size,
            server: server.clone(),
            driven: Arc::downgrade(&connection),
            limit: Arc::default(),
            requests: Arc::default(),
        };
        http2.saw(&lock(&connection));
        tokio::spawn(async move {
            if let Err(error) = poll_fn(|cx| Pin::new(&mut *lock(&connection)).poll(cx)).await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        // What it takes is known before the first request.
        server.settings().await?;
        if is_shared {
            let mut state = self.state();
            let known = state.places.entry(place.clone()).or_default();
            known.shared.push((Instant::now(), http2.clone()));
            self.look_after(&mut state);
        }
        Ok(http2)
    }

    fn give_back(self: &Arc<Self>, place: Place, http1: Http1, keep: Duration) {
        let since = Instant::now();
        // For longer than anybody waits, where that is too long to be told.
        let until = since.checked_add(keep).unwrap_or(since + UNUSED);
        let mut state = self.state();
        let known = state.places.entry(place).or_default();
        if known.unused.len() >= MAX_UNUSED {
            known.unused.remove(0);
        }
        known.unused.push(Unused {
            since,
            until,
            http1,
        });
        self.look_after(&mut state);
    }

    /// Ends what is unused for too long, for as long as there is any.
    fn look_after(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.is_swept, true) {
            return;
        }
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(pause) = connections.upgrade().and_then(|all| all.sweep()) else {
                    return;
                };
                sleep(pause).await;
            }
        });
    }

    /// Returns when to look again, if something is left to look after.
    fn sweep(&self) -> Option<Duration> {
        let limit = self.unused;
        let now = Instant::now();
        let mut next = LOOK;
        let mut state = self.state();
        state.places.retain(|_, known| {
            known
                .unused
                .retain(|unused| now < unused.until && !unused.http1.send.is_closed());
            // Its requests end first.
            known.shared.retain(|(used, _)| used.elapsed() < limit);
            for unused in &known.unused {
                next = next.min(unused.until - now);
            }
            for (used, _) in &known.shared {
                next = next.min(limit.saturating_sub(used.elapsed()));
            }
            let is_awaited = Arc::strong_count(&known.turn) > 1;
            is_awaited || !known.shared.is_empty() || !known.unused.is_empty()
        });
        state.is_swept = !state.places.is_empty();
        let pause = next.max(Duration::from_millis(1));
        state.is_swept.then_some(pause)
    }
}

impl Known {
    /// A connection that the request may use: its client's own before others.
    fn pick(&mut self, wanted: &Wanted) -> Option<Carrier> {
        if let Some(client) = wanted.client
            && let Some(http1) = self.pop(wanted, Binding::Of(client))
        {
            return Some(Carrier::Http1(http1));
        }
        if !wanted.authenticates {
            let mut shared = self.shared.iter_mut();
            if let Some((used, shared)) = shared.find(|(_, shared)| shared.has_room()) {
                *used = Instant::now();
                return Some(Carrier::Http2(shared.clone()));
            }
        }
        self.pop(wanted, Binding::Anybodys).map(Carrier::Http1)
    }

    /// The latest: its server is the least likely to be tired of it.
    fn pop(&mut self, wanted: &Wanted, binding: Binding) -> Option<Http1> {
        let serves = |unused: &Unused| unused.http1.binding == binding && unused.serves(wanted);
        let at = self.unused.iter().rposition(serves)?;
        Some(self.unused.remove(at).http1)
    }
}

impl Connection {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.carrier, Carrier::Http2(_))
    }

    /// Sends a request, which comes back in the error if nothing of it was
    /// sent. Dropping the future and then the connection cancels it.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
        wanted: &Wanted,
    ) -> Result<Response<Incoming>, Unsent> {
        let sent = match &mut self.carrier {
            Carrier::Http2(http2) => {
                let size = header_list::of_request(&request, None);
                if let Err(error) = http2.server.check_header_list(size) {
                    return Err(Unsent {
                        error: error.into(),
                        verdict: Verdict::Unknown,
                        request: Some(request),
                    });
                }
                let sending = http2.send.try_send_request(request);
                let at_work = http2.requests.clone();
                let answer = http2.given_up.answer(sending, at_work).await;
                if let Ok(response) = &answer {
                    let size = header_list::of_response(response);
                    TooLarge::check(size, http2.max_header_list).map_err(|large| Unsent {
                        error: StreamError::AnswerTooLarge(large).into(),
                        verdict: Verdict::Unknown,
                        request: None,
                    })?;
                }
                answer
            }
            Carrier::Http1(http1) => {
                if wanted.authenticates {
                    http1.binding = wanted.client.map_or(Binding::Spent, Binding::Of);
                }
                http1.send.try_send_request(request).await
            }
            Carrier::Given => {
                return Err(Unsent {
                    error: Error::Closed,
                    verdict: Verdict::Unknown,
                    request: Some(request),
                });
            }
        };
        let response = sent.map_err(|mut error| Unsent {
            request: error.take_message(),
            verdict: match self.is_reused {
                true => Verdict::Unknown,
                false => Verdict::of_request(error.error()),
            },
            error: StreamError::from(error.into_error()).into(),
        })?;
        if let Some(announced) = announced(response.headers()) {
            self.keep = self.keep.min(announced);
        }
        Ok(response)
    }

    /// The answer was read to its end: the connection is for the next.
    pub(super) fn rest(mut self) {
        let carrier = std::mem::replace(&mut self.carrier, Carrier::Given);
        let Carrier::Http1(mut http1) = carrier else {
            return;
        };
        if http1.binding == Binding::Spent {
            return;
        }
        let (home, place, keep) = (self.home.clone(), self.place.clone(), self.keep);
        if http1.send.is_ready() {
            return home.give_back(place, http1, keep);
        }
        tokio::spawn(async move {
            match timeout(READY, http1.send.ready()).await {
                Ok(Ok(())) => home.give_back(place, http1, keep),
                Ok(Err(_)) => {}
                Err(_) => http1.task.abort(),
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Carrier::Http1(http1) = &self.carrier {
            http1.task.abort();
        }
    }
}

/// There was no answer.
pub(super) struct Unsent {
    pub(super) error: Error,
    /// What it shows about the upstream.
    pub(super) verdict: Verdict,
    /// If nothing of it was sent.
    pub(super) request: Option<Request<Upload>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn rfc4559_some_schemes_authenticate_the_connection() {
        for (value, expected) in [
            ("NTLM TlRMTVNTUAAB", true),
            ("ntlm\tx", true),
            ("Negotiate YII", true),
            ("NEGOTIATE", true),
            (" NTLM x", true),
            ("Basic NTLM", false),
            ("NTLMv2 x", false),
            ("Bearer x", false),
        ] {
            let fields = fields("authorization", &[value]);
            assert_eq!(authenticates(&fields), expected, "{value}");
        }
        assert!(authenticates(&fields(
            "authorization",
            &["Basic x", "NTLM y"]
        )));
        assert!(!authenticates(&HeaderMap::new()));
    }

    #[test]
    fn a_connection_is_given_up_before_its_server_ends_it() {
        for (values, expected) in [
            (&["timeout=5"][..], Some(4_000)),
            (&["max=100, Timeout = \"60\""], Some(59_000)),
            (&["timeout=5", "timeout=3"], Some(2_000)),
            (&["timeout=1"], Some(500)),
            (&["timeout=0"], Some(0)),
            (&["timeout=-1"], None),
            (&["max=5"], None),
            (&[], None),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(announced(&fields("keep-alive", values)), expected);
        }
    }
}
