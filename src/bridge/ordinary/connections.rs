//! Connections to upstreams, for ordinary requests.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::body::Upload;
use crate::bridge::Upstream;
use crate::client::{Client, HttpVersion};
use crate::error::Error;
use crate::handshake::{OriginKey, Target};
use crate::transport::{BoxIo, StreamError, h1};

/// Unused HTTP/1.1 connections that are kept to one server.
const MAX_UNUSED: usize = 128;

/// How long unused ones are kept where the client's [idle
/// timeout](crate::ClientBuilder::idle_timeout) is off: servers end them first.
const UNUSED: Duration = Duration::from_secs(90);

/// How long a connection may take to be ready again after its answer: the rest
/// of a request that the upstream did not wait for.
const READY: Duration = Duration::from_secs(5);

/// Keeps the connections of a bridge: HTTP/2's are shared, as far as the
/// server's limit of streams goes, HTTP/1.1's are used again.
pub(in crate::bridge) struct Connections {
    /// How long unused ones are kept.
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
    origin: OriginKey,
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
    unused: Vec<(Instant, Http1)>,
    /// More than one where those before it are full.
    shared: Vec<(Instant, Http2)>,
    /// Held while a connection is made that others may share.
    turn: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

struct Http1 {
    send: http1::SendRequest<Upload>,
    task: AbortHandle,
}

#[derive(Clone)]
struct Http2 {
    send: http2::SendRequest<Upload>,
    driven: Weak<Mutex<Driven>>,
    /// One for each request at work, and one kept here.
    requests: Arc<()>,
}

type Driven = http2::Connection<TokioIo<BoxIo>, Upload, TokioExecutor>;

impl Http2 {
    /// Whether a request need not wait for others to end (RFC 9113 §5.1.2).
    /// One may where no other will: the server takes none for now.
    fn has_room(&self) -> bool {
        let at_work = Arc::strong_count(&self.requests) - 1;
        let limit = |driven: Arc<Mutex<Driven>>| lock(&driven).current_max_send_streams();
        at_work < self.driven.upgrade().map_or(1, limit).max(1)
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
            origin: target.origin().clone(),
            address: upstream.address(),
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
        anew: bool,
    ) -> Result<Connection, Error> {
        if anew {
            return self.make(place, target).await;
        }
        if let Some(connection) = self.known(place) {
            return Ok(connection);
        }
        let _turn = match self.turn(place) {
            Some(turn) => {
                let turn = turn.lock_owned().await;
                // Somebody else's, made meanwhile.
                if let Some(connection) = self.known(place) {
                    return Ok(connection);
                }
                self.turn(place).map(|_| turn)
            }
            None => None,
        };
        self.make(place, target).await
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
    fn known(self: &Arc<Self>, place: &Place) -> Option<Connection> {
        let mut state = self.state();
        let known = state.places.get_mut(place)?;
        known.shared.retain(|(_, shared)| !shared.send.is_closed());
        let mut shared = known.shared.iter_mut();
        let carrier = if let Some((used, shared)) = shared.find(|(_, shared)| shared.has_room()) {
            *used = Instant::now();
            Carrier::Http2(shared.clone())
        } else {
            // The latest: its server is the least likely to be tired of it.
            let mut unused = std::iter::from_fn(|| known.unused.pop());
            let (_, http1) = unused.find(|(_, http1)| http1.send.is_ready())?;
            Carrier::Http1(http1)
        };
        Some(self.at_work(place, carrier, true))
    }

    fn at_work(self: &Arc<Self>, place: &Place, carrier: Carrier, is_reused: bool) -> Connection {
        Connection {
            carrier,
            is_reused,
            home: self.clone(),
            place: place.clone(),
        }
    }

    async fn make(self: &Arc<Self>, place: &Place, target: &Target) -> Result<Connection, Error> {
        let client = &place.client.0;
        let (is_http2, io) = client.reach(target, place.address, place.version).await?;
        let carrier = if is_http2 {
            Carrier::Http2(self.http2(place, io).await?)
        } else {
            Carrier::Http1(self.http1(place, io).await?)
        };
        Ok(self.at_work(place, carrier, false))
    }

    async fn http1(self: &Arc<Self>, place: &Place, io: BoxIo) -> Result<Http1, Error> {
        let (send, connection) = http1::Builder::new()
            .max_buf_size(h1::MAX_HEAD)
            .handshake(TokioIo::new(io))
            .await
            .map_err(StreamError::from)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        if place.may_be_shared()
            && let Some(known) = self.state().places.get_mut(place)
        {
            known.speaks_http1 = true;
        }
        Ok(Http1 {
            send,
            task: task.abort_handle(),
        })
    }

    async fn http2(self: &Arc<Self>, place: &Place, io: BoxIo) -> Result<Http2, Error> {
        let config = place.client.0.http2_config();
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_frame_size(config.max_frame_size)
            .max_header_list_size(config.max_header_list_size)
            .max_send_buf_size(config.write_buffer)
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout)
            .handshake(TokioIo::new(io))
            .await
            .map_err(StreamError::from)?;
        let connection = Arc::new(Mutex::new(connection));
        let http2 = Http2 {
            send,
            driven: Arc::downgrade(&connection),
            requests: Arc::default(),
        };
        tokio::spawn(async move {
            if let Err(error) = poll_fn(|cx| Pin::new(&mut *lock(&connection)).poll(cx)).await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        let mut state = self.state();
        let known = state.places.entry(place.clone()).or_default();
        known.shared.push((Instant::now(), http2.clone()));
        self.look_after(&mut state);
        Ok(http2)
    }

    fn give_back(self: &Arc<Self>, place: Place, http1: Http1) {
        let mut state = self.state();
        let known = state.places.entry(place).or_default();
        if known.unused.len() < MAX_UNUSED {
            known.unused.push((Instant::now(), http1));
        }
        self.look_after(&mut state);
    }

    /// Ends what is unused for too long, for as long as there is any.
    fn look_after(self: &Arc<Self>, state: &mut State) {
        let limit = self.unused;
        if std::mem::replace(&mut state.is_swept, true) {
            return;
        }
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(limit).await;
                let Some(connections) = connections.upgrade() else {
                    return;
                };
                if !connections.sweep(limit) {
                    return;
                }
            }
        });
    }

    /// Returns whether something is left to look after.
    fn sweep(&self, limit: Duration) -> bool {
        let mut state = self.state();
        state.places.retain(|_, known| {
            known
                .unused
                .retain(|(since, http1)| since.elapsed() < limit && !http1.send.is_closed());
            // Its requests end first.
            known.shared.retain(|(used, _)| used.elapsed() < limit);
            let is_awaited = Arc::strong_count(&known.turn) > 1;
            is_awaited || !known.shared.is_empty() || !known.unused.is_empty()
        });
        state.is_swept = !state.places.is_empty();
        state.is_swept
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
    ) -> Result<Response<Incoming>, Unsent> {
        let sent = match &mut self.carrier {
            Carrier::Http2(http2) => http2.send.try_send_request(request).await,
            Carrier::Http1(http1) => http1.send.try_send_request(request).await,
            Carrier::Given => {
                return Err(Unsent {
                    error: Error::Closed,
                    request: Some(request),
                });
            }
        };
        sent.map_err(|mut error| Unsent {
            request: error.take_message(),
            error: StreamError::from(error.into_error()).into(),
        })
    }

    /// The answer was read to its end: the connection is for the next.
    pub(super) fn rest(mut self) {
        let carrier = std::mem::replace(&mut self.carrier, Carrier::Given);
        let Carrier::Http1(mut http1) = carrier else {
            return;
        };
        let (home, place) = (self.home.clone(), self.place.clone());
        if http1.send.is_ready() {
            return home.give_back(place, http1);
        }
        tokio::spawn(async move {
            match timeout(READY, http1.send.ready()).await {
                Ok(Ok(())) => home.give_back(place, http1),
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
    /// If nothing of it was sent.
    pub(super) request: Option<Request<Upload>>,
}
