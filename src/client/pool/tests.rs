//! Tests of the client pool's decisions, with fake connections and paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::fallback_probe::Decision;
use super::*;
use crate::error::Timeout;

/// A connection with a number of free streams.
#[derive(Clone, Debug)]
struct Fake(Arc<Streams>);

#[derive(Debug, Default)]
struct Streams {
    free: AtomicUsize,
    over: AtomicUsize,
    doubted: AtomicUsize,
    barred: AtomicUsize,
}

impl Fake {
    fn with(free: usize) -> Self {
        let streams = Streams::default();
        streams.free.store(free, Ordering::Relaxed);
        Self(Arc::new(streams))
    }
}

impl PooledConnection for Fake {
    type Slot = ();

    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed) > 0
    }

    fn is_usable(&self, _: Duration) -> bool {
        self.0.doubted.load(Ordering::Relaxed) == 0
    }

    fn claim(&self) -> Option<()> {
        let order = Ordering::Relaxed;
        let one = self.0.free.fetch_update(order, order, |n| n.checked_sub(1));
        one.ok().map(drop)
    }

    fn is_barred(&self) -> bool {
        self.0.barred.load(Ordering::Relaxed) > 0
    }
}

const CONNECT: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(600);
const AUTO: HttpVersion = HttpVersion::Auto;
const HTTP2: HttpVersion = HttpVersion::Http2;

fn rules() -> Rules {
    Rules {
        max_connections: 64,
        http1_cache_ttl: TTL,
        connect: CONNECT,
        handshake: CONNECT,
    }
}

/// What the pool lets a request do next.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Open,
    Http1,
    Fail,
    Dial,
    Wait,
    WaitFor(Duration),
}

struct Origin {
    pool: Pool<Fake>,
    rules: Rules,
    dials: Vec<Weak<Dial<Fake>>>,
}

impl Origin {
    fn new() -> Self {
        Self {
            pool: Pool::default(),
            rules: rules(),
            dials: Vec::new(),
        }
    }

    fn next(&mut self, socket: &mut Waiting<Fake>) -> Action {
        match self.pool.next(socket, &self.rules) {
            Next::Open(..) => Action::Open,
            Next::Http1(_) => Action::Http1,
            Next::Fail(_) => Action::Fail,
            Next::Dial(dial) => {
                self.dials.push(Arc::downgrade(&dial));
                Action::Dial
            }
            Next::Wait(None) => Action::Wait,
            Next::Wait(Some(at)) => Action::WaitFor(at - Instant::now()),
        }
    }

    fn request(&mut self, version: HttpVersion) -> (Waiting<Fake>, Action) {
        let mut socket = self.pool.new_request(version);
        let action = self.next(&mut socket);
        (socket, action)
    }

    fn finish(&self, dial: usize, end: End<Fake>) {
        self.dials[dial].upgrade().unwrap().finish(end);
    }

    fn finish_connected(&mut self, dial: usize, connection: &Fake) {
        self.pool.made(connection.clone());
        self.finish(dial, End::Made(connection.clone()));
    }

    fn finish_probe(&mut self, works: bool) {
        let Decision::Probe(result) = self.pool.fallback.rejected(TTL) else {
            panic!("a probe has already run");
        };
        self.pool.fallback.finished(&result, works);
    }
}

fn failed() -> End<Fake> {
    End::Failed(Error::Timeout(Timeout::Connect))
}

/// The wait before a further dial.
fn quarter_of_timeout() -> Action {
    Action::WaitFor(CONNECT / 4)
}

#[tokio::test(start_paused = true)]
async fn cached_results_and_free_streams_have_an_order_of_precedence() {
    let mut origin = Origin::new();
    origin.pool.found_no_rfc8441();
    assert_eq!(origin.request(AUTO).1, Action::Http1);
    assert_eq!(origin.request(HTTP2).1, Action::Dial, "HTTP/2 is required");
    origin.pool.made(Fake::with(100));
    assert_eq!(
        origin.request(AUTO).1,
        Action::Open,
        "a free stream precedes the cached result"
    );
    assert!(origin.pool.at_once(AUTO, &rules()).is_some());
    origin.finish_probe(true);
    assert_eq!(
        origin.request(AUTO).1,
        Action::Http1,
        "the probe found that only HTTP/1.1 works"
    );
    assert!(origin.pool.at_once(AUTO, &rules()).is_none());
    assert_eq!(origin.request(HTTP2).1, Action::Open);
    tokio::time::advance(TTL).await;
    assert_eq!(origin.request(AUTO).1, Action::Open, "expired");
    origin.finish_probe(false);
    assert_eq!(
        origin.request(AUTO).1,
        Action::Open,
        "HTTP/1.1 is no better"
    );
    let mut origin = Origin::new();
    origin.pool.found_no_rfc8441();
    tokio::time::advance(TTL).await;
    assert_eq!(origin.request(AUTO).1, Action::Dial, "expired");
}

#[tokio::test(start_paused = true)]
async fn requests_join_a_dial_and_share_its_connection() {
    let mut origin = Origin::new();
    let (mut first, action) = origin.request(AUTO);
    assert_eq!(action, Action::Dial);
    let mut others: Vec<_> = (0..10).map(|_| origin.request(AUTO)).collect();
    assert!(
        others
            .iter()
            .all(|(_, action)| *action == quarter_of_timeout())
    );
    origin.finish_connected(0, &Fake::with(8));
    assert_eq!(origin.next(&mut first), Action::Open);
    for (socket, _) in &mut others[..7] {
        assert_eq!(origin.next(socket), Action::Open);
    }
    assert_eq!(
        origin.next(&mut others[7].0),
        Action::Dial,
        "the connection is full"
    );
    assert_eq!(origin.next(&mut others[8].0), quarter_of_timeout());
}

/// A dial that began before a request arrived may fail for reasons that no longer hold.
#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_requests_that_arrived_before_the_dial() {
    let mut origin = Origin::new();
    let (mut first, _) = origin.request(AUTO);
    let mut late: Vec<_> = (0..3).map(|_| origin.request(AUTO).0).collect();
    origin.finish(0, failed());
    assert_eq!(origin.next(&mut first), Action::Fail);
    assert_eq!(origin.next(&mut late[0]), Action::Dial, "one more dial");
    assert_eq!(origin.next(&mut late[1]), quarter_of_timeout());
    assert_eq!(origin.next(&mut late[2]), quarter_of_timeout());
    origin.finish(1, failed());
    for socket in &mut late {
        assert_eq!(origin.next(socket), Action::Fail);
    }
}

/// Each request starts at most one dial, and none once a dial that began after the request has
/// failed.
#[tokio::test(start_paused = true)]
async fn further_dials_begin_while_one_is_stalled() {
    let mut origin = Origin::new();
    let (mut alone, _) = origin.request(AUTO);
    tokio::time::advance(CONNECT / 2).await;
    assert_eq!(origin.next(&mut alone), Action::Wait);
    let mut origin = Origin::new();
    let mut sockets: Vec<_> = (0..10).map(|_| origin.request(AUTO).0).collect();
    for dials in 1..MAX_DIALS {
        assert_eq!(origin.next(&mut sockets[dials - 1]), Action::Wait);
        assert_eq!(origin.next(&mut sockets[dials]), quarter_of_timeout());
        tokio::time::advance(CONNECT / 4).await;
        assert_eq!(origin.next(&mut sockets[dials]), Action::Dial);
    }
    tokio::time::advance(CONNECT).await;
    assert_eq!(
        origin.next(&mut sockets[9]),
        Action::Wait,
        "the limit of concurrent dials is reached"
    );
    // While other dials are in progress, a failed one neither fails a request nor starts another.
    let (mut late, action) = origin.request(AUTO);
    assert_eq!(action, Action::Wait);
    origin.finish(3, failed());
    assert_eq!(origin.next(&mut sockets[1]), Action::Wait);
    assert_eq!(origin.next(&mut late), Action::Dial);
    assert_eq!(origin.next(&mut late), Action::Wait);
    origin.finish_connected(2, &Fake::with(11));
    for socket in sockets.iter_mut().chain([&mut late]) {
        assert_eq!(origin.next(socket), Action::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_several_dials_decides_the_outcome() {
    let mut origin = Origin::new();
    let (_first, _) = origin.request(AUTO);
    let (mut socket, _) = origin.request(AUTO);
    tokio::time::advance(CONNECT / 4).await;
    assert_eq!(origin.next(&mut socket), Action::Dial);
    origin.finish(1, failed());
    assert_eq!(
        origin.next(&mut socket),
        Action::Wait,
        "another dial is in progress"
    );
    // A connection whose streams are all taken by other requests does not count as a failure.
    origin.finish_connected(0, &Fake::with(0));
    assert_eq!(origin.next(&mut socket), Action::Dial);
    origin.finish(2, failed());
    assert_eq!(origin.next(&mut socket), Action::Fail);
}

/// A connection that may be dead is ignored until data arrives on it.
#[tokio::test(start_paused = true)]
async fn connections_that_may_be_dead_are_ignored() {
    let mut origin = Origin::new();
    origin.rules.max_connections = 1;
    let silent = Fake::with(5);
    silent.0.barred.store(1, Ordering::Relaxed);
    silent.0.doubted.store(1, Ordering::Relaxed);
    origin.pool.made(silent.clone());
    let (mut socket, action) = origin.request(AUTO);
    assert_eq!(
        action,
        Action::Dial,
        "the connection counts neither as free nor as full nor as barred"
    );
    silent.0.doubted.store(0, Ordering::Relaxed);
    assert_eq!(origin.next(&mut socket), Action::Open);
    drop(socket);
    assert!(
        origin.dials[0].upgrade().is_none(),
        "aborted, because it is no longer needed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dial_belongs_to_all_requests_that_joined_it() {
    let mut origin = Origin::new();
    let (first, _) = origin.request(AUTO);
    let (mut second, _) = origin.request(AUTO);
    drop(first);
    assert!(
        origin.dials[0].upgrade().is_some(),
        "another request still waits for the dial"
    );
    assert_eq!(origin.next(&mut second), quarter_of_timeout());
    drop(second);
    assert!(
        origin.dials[0].upgrade().is_none(),
        "the dial is dropped with its last request"
    );
    assert_eq!(origin.request(AUTO).1, Action::Dial);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_dial_applies_to_all_requests_that_joined_it() {
    let mut origin = Origin::new();
    origin.rules.http1_cache_ttl = Duration::ZERO;
    let (mut first, _) = origin.request(AUTO);
    let (mut second, _) = origin.request(AUTO);
    let (mut third, _) = origin.request(HTTP2);
    let (near, _far) = tokio::io::duplex(1);
    origin.pool.found_no_rfc8441();
    origin.finish(0, End::Http1(Mutex::new(Some(Box::new(near)))));
    let next = origin.pool.next(&mut first, &origin.rules);
    assert!(matches!(next, Next::Http1(Some(_))), "the connection");
    let next = origin.pool.next(&mut second, &origin.rules);
    assert!(
        matches!(next, Next::Http1(None)),
        "the first request took it"
    );
    // This request's dial has to offer other ALPN protocols.
    assert_eq!(origin.next(&mut third), Action::Dial);
    origin.finish(1, End::Http1(Mutex::default()));
    assert_eq!(
        origin.request(AUTO).1,
        Action::Dial,
        "the result expires at once"
    );
    // The connection is also used if the result has not expired.
    let mut origin = Origin::new();
    let (mut first, _) = origin.request(AUTO);
    let (near, _far) = tokio::io::duplex(1);
    origin.pool.found_no_rfc8441();
    origin.finish(0, End::Http1(Mutex::new(Some(Box::new(near)))));
    let next = origin.pool.next(&mut first, &origin.rules);
    assert!(matches!(next, Next::Http1(Some(_))), "the connection");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_change_when_all_connections_are_full() {
    let mut origin = Origin::new();
    origin.rules.max_connections = 2;
    let full = [Fake::with(0), Fake::with(0)];
    origin.pool.made(full[0].clone());
    let (_dialling, action) = origin.request(AUTO);
    assert_eq!(action, Action::Dial);
    let (mut socket, action) = origin.request(AUTO);
    assert_eq!(
        action,
        Action::Wait,
        "a dial in progress counts as a connection"
    );
    origin.finish_connected(0, &full[1]);
    assert_eq!(origin.next(&mut socket), Action::Wait);
    full[1].0.free.store(1, Ordering::Relaxed);
    assert_eq!(
        origin.next(&mut socket),
        Action::Open,
        "a stream became free"
    );
    assert_eq!(origin.next(&mut socket), Action::Wait);
    // Connections that cannot open any more streams do not count.
    full[0].0.over.store(1, Ordering::Relaxed);
    assert_eq!(origin.next(&mut socket), Action::Dial);
    assert_eq!(origin.pool.connections().len(), 1);
    origin.pool.remove(|one| Arc::ptr_eq(&one.0, &full[1].0));
    assert_eq!(
        origin.pool.connections().len(),
        0,
        "removed, as after a 421"
    );
}

/// RFC 9113 §6.5.2: a server that sets SETTINGS_MAX_CONCURRENT_STREAMS to 0 would not accept a
/// stream on another connection either.
#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_server_that_accepts_no_streams() {
    let mut origin = Origin::new();
    let barred = Fake::with(0);
    barred.0.barred.store(1, Ordering::Relaxed);
    origin.pool.made(barred.clone());
    let (mut socket, action) = origin.request(AUTO);
    assert_eq!(action, Action::Wait);
    barred.0.free.store(1, Ordering::Relaxed);
    assert_eq!(origin.next(&mut socket), Action::Open);
}

/// If a new connection ends at once, the attempt fails instead of dialing again.
#[tokio::test(start_paused = true)]
async fn a_new_connection_is_used_even_if_it_is_about_to_end() {
    let mut origin = Origin::new();
    let (mut socket, _) = origin.request(AUTO);
    let ending = Fake::with(1);
    ending.0.over.store(1, Ordering::Relaxed);
    origin.finish_connected(0, &ending);
    assert_eq!(origin.next(&mut socket), Action::Open);
}
