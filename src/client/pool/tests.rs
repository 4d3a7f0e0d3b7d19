//! Tests the pool's tables row by row.

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

/// What a request does.
#[derive(Debug, PartialEq, Eq)]
enum Does {
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

    fn look(&mut self, socket: &mut Waiting<Fake>) -> Does {
        match self.pool.next(socket, &self.rules) {
            Next::Open(..) => Does::Open,
            Next::Http1(_) => Does::Http1,
            Next::Fail(_) => Does::Fail,
            Next::Dial(dial) => {
                self.dials.push(Arc::downgrade(&dial));
                Does::Dial
            }
            Next::Wait(None) => Does::Wait,
            Next::Wait(Some(at)) => Does::WaitFor(at - Instant::now()),
        }
    }

    fn asks(&mut self, version: HttpVersion) -> (Waiting<Fake>, Does) {
        let mut socket = self.pool.new_request(version);
        let does = self.look(&mut socket);
        (socket, does)
    }

    fn finish(&self, dial: usize, end: End<Fake>) {
        self.dials[dial].upgrade().unwrap().finish(end);
    }

    fn makes(&mut self, dial: usize, connection: &Fake) {
        self.pool.made(connection.clone());
        self.finish(dial, End::Made(connection.clone()));
    }

    fn probe_finds(&mut self, works: bool) {
        let Decision::Probe(result) = self.pool.fallback.rejected(TTL) else {
            panic!("probed before");
        };
        self.pool.fallback.finished(&result, works);
    }
}

fn failed() -> End<Fake> {
    End::Failed(Error::Timeout(Timeout::Connect))
}

fn quarter() -> Does {
    Does::WaitFor(CONNECT / 4)
}

#[tokio::test(start_paused = true)]
async fn http1_only_precedes_a_free_stream_which_precedes_no_rfc_8441() {
    let mut origin = Origin::new();
    origin.pool.found_no_rfc8441();
    assert_eq!(origin.asks(AUTO).1, Does::Http1);
    assert_eq!(origin.asks(HTTP2).1, Does::Dial, "HTTP/2 or nothing");
    origin.pool.made(Fake::with(100));
    assert_eq!(origin.asks(AUTO).1, Does::Open, "whatever was learned");
    assert!(origin.pool.at_once(AUTO, &rules()).is_some());
    origin.probe_finds(true);
    assert_eq!(
        origin.asks(AUTO).1,
        Does::Http1,
        "the probe found that only HTTP/1.1 works"
    );
    assert!(origin.pool.at_once(AUTO, &rules()).is_none());
    assert_eq!(origin.asks(HTTP2).1, Does::Open);
    tokio::time::advance(TTL).await;
    assert_eq!(origin.asks(AUTO).1, Does::Open, "expired");
    origin.probe_finds(false);
    assert_eq!(origin.asks(AUTO).1, Does::Open, "HTTP/1.1 is no better");
    let mut origin = Origin::new();
    origin.pool.found_no_rfc8441();
    tokio::time::advance(TTL).await;
    assert_eq!(origin.asks(AUTO).1, Does::Dial, "expired");
}

#[tokio::test(start_paused = true)]
async fn requests_join_a_dial_and_share_its_connection() {
    let mut origin = Origin::new();
    let (mut first, does) = origin.asks(AUTO);
    assert_eq!(does, Does::Dial);
    let mut others: Vec<_> = (0..10).map(|_| origin.asks(AUTO)).collect();
    assert!(others.iter().all(|(_, does)| *does == quarter()));
    origin.makes(0, &Fake::with(8));
    assert_eq!(origin.look(&mut first), Does::Open);
    for (socket, _) in &mut others[..7] {
        assert_eq!(origin.look(socket), Does::Open);
    }
    assert_eq!(origin.look(&mut others[7].0), Does::Dial, "it is full");
    assert_eq!(origin.look(&mut others[8].0), quarter());
}

/// A dial that began before a request arrived may fail for reasons that no longer hold.
#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_requests_that_arrived_before_the_dial() {
    let mut origin = Origin::new();
    let (mut first, _) = origin.asks(AUTO);
    let mut late: Vec<_> = (0..3).map(|_| origin.asks(AUTO).0).collect();
    origin.finish(0, failed());
    assert_eq!(origin.look(&mut first), Does::Fail);
    assert_eq!(origin.look(&mut late[0]), Does::Dial, "once more");
    assert_eq!(origin.look(&mut late[1]), quarter());
    assert_eq!(origin.look(&mut late[2]), quarter());
    origin.finish(1, failed());
    for socket in &mut late {
        assert_eq!(origin.look(socket), Does::Fail);
    }
}

/// Each request begins one dial, and none after a dial that began later than it has failed.
#[tokio::test(start_paused = true)]
async fn further_dials_begin_while_one_hangs() {
    let mut origin = Origin::new();
    let (mut alone, _) = origin.asks(AUTO);
    tokio::time::advance(CONNECT / 2).await;
    assert_eq!(origin.look(&mut alone), Does::Wait);
    let mut origin = Origin::new();
    let mut sockets: Vec<_> = (0..10).map(|_| origin.asks(AUTO).0).collect();
    for dials in 1..MAX_DIALS {
        assert_eq!(origin.look(&mut sockets[dials - 1]), Does::Wait);
        assert_eq!(origin.look(&mut sockets[dials]), quarter());
        tokio::time::advance(CONNECT / 4).await;
        assert_eq!(origin.look(&mut sockets[dials]), Does::Dial);
    }
    tokio::time::advance(CONNECT).await;
    assert_eq!(origin.look(&mut sockets[9]), Does::Wait, "that is enough");
    // One failure of several dials neither fails a request nor begins another dial.
    let (mut late, does) = origin.asks(AUTO);
    assert_eq!(does, Does::Wait);
    origin.finish(3, failed());
    assert_eq!(origin.look(&mut sockets[1]), Does::Wait);
    assert_eq!(origin.look(&mut late), Does::Dial);
    assert_eq!(origin.look(&mut late), Does::Wait);
    origin.makes(2, &Fake::with(11));
    for socket in sockets.iter_mut().chain([&mut late]) {
        assert_eq!(origin.look(socket), Does::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_several_dials_decides_the_outcome() {
    let mut origin = Origin::new();
    let (_first, _) = origin.asks(AUTO);
    let (mut socket, _) = origin.asks(AUTO);
    tokio::time::advance(CONNECT / 4).await;
    assert_eq!(origin.look(&mut socket), Does::Dial);
    origin.finish(1, failed());
    assert_eq!(origin.look(&mut socket), Does::Wait, "one is under way");
    // A connection that others have filled does not count as a failure.
    origin.makes(0, &Fake::with(0));
    assert_eq!(origin.look(&mut socket), Does::Dial);
    origin.finish(2, failed());
    assert_eq!(origin.look(&mut socket), Does::Fail);
}

/// A connection in doubt is ignored until something arrives on it.
#[tokio::test(start_paused = true)]
async fn connections_in_doubt_are_ignored() {
    let mut origin = Origin::new();
    origin.rules.max_connections = 1;
    let silent = Fake::with(5);
    silent.0.barred.store(1, Ordering::Relaxed);
    silent.0.doubted.store(1, Ordering::Relaxed);
    origin.pool.made(silent.clone());
    let (mut socket, does) = origin.asks(AUTO);
    assert_eq!(does, Does::Dial, "neither room nor full nor barred");
    silent.0.doubted.store(0, Ordering::Relaxed);
    assert_eq!(origin.look(&mut socket), Does::Open);
    drop(socket);
    assert!(
        origin.dials[0].upgrade().is_none(),
        "aborted, because it is no longer needed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dial_belongs_to_all_requests_that_joined_it() {
    let mut origin = Origin::new();
    let (first, _) = origin.asks(AUTO);
    let (mut second, _) = origin.asks(AUTO);
    drop(first);
    assert!(origin.dials[0].upgrade().is_some(), "still waited for");
    assert_eq!(origin.look(&mut second), quarter());
    drop(second);
    assert!(origin.dials[0].upgrade().is_none(), "given up");
    assert_eq!(origin.asks(AUTO).1, Does::Dial);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_dial_applies_to_all_requests_that_joined_it() {
    let mut origin = Origin::new();
    origin.rules.http1_cache_ttl = Duration::ZERO;
    let (mut first, _) = origin.asks(AUTO);
    let (mut second, _) = origin.asks(AUTO);
    let (mut third, _) = origin.asks(HTTP2);
    let (near, _far) = tokio::io::duplex(1);
    origin.pool.found_no_rfc8441();
    origin.finish(0, End::Http1(Mutex::new(Some(Box::new(near)))));
    let next = origin.pool.next(&mut first, &origin.rules);
    assert!(matches!(next, Next::Http1(Some(_))), "the connection");
    let next = origin.pool.next(&mut second, &origin.rules);
    assert!(matches!(next, Next::Http1(None)), "there was one");
    // Its dial has to offer another ALPN.
    assert_eq!(origin.look(&mut third), Does::Dial);
    origin.finish(1, End::Http1(Mutex::default()));
    assert_eq!(origin.asks(AUTO).1, Does::Dial, "expired at once");
    // The connection is also used if the result has not expired.
    let mut origin = Origin::new();
    let (mut first, _) = origin.asks(AUTO);
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
    let (_dialling, does) = origin.asks(AUTO);
    assert_eq!(does, Does::Dial);
    let (mut socket, does) = origin.asks(AUTO);
    assert_eq!(does, Does::Wait, "the one under way counts");
    origin.makes(0, &full[1]);
    assert_eq!(origin.look(&mut socket), Does::Wait);
    full[1].0.free.store(1, Ordering::Relaxed);
    assert_eq!(origin.look(&mut socket), Does::Open, "a stream ended");
    assert_eq!(origin.look(&mut socket), Does::Wait);
    // Connections that can open no more streams do not count.
    full[0].0.over.store(1, Ordering::Relaxed);
    assert_eq!(origin.look(&mut socket), Does::Dial);
    assert_eq!(origin.pool.connections().len(), 1);
    origin.pool.remove(|one| Arc::ptr_eq(&one.0, &full[1].0));
    assert_eq!(origin.pool.connections().len(), 0, "by 421");
}

/// RFC 9113 §6.5.2: the server would accept none on another connection either.
#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_server_that_accepts_no_streams() {
    let mut origin = Origin::new();
    let barred = Fake::with(0);
    barred.0.barred.store(1, Ordering::Relaxed);
    origin.pool.made(barred.clone());
    let (mut socket, does) = origin.asks(AUTO);
    assert_eq!(does, Does::Wait);
    barred.0.free.store(1, Ordering::Relaxed);
    assert_eq!(origin.look(&mut socket), Does::Open);
}

/// A connection that ends at once fails the attempt instead of causing another dial.
#[tokio::test(start_paused = true)]
async fn a_new_connection_is_used_even_if_it_is_about_to_end() {
    let mut origin = Origin::new();
    let (mut socket, _) = origin.asks(AUTO);
    let ending = Fake::with(1);
    ending.0.over.store(1, Ordering::Relaxed);
    origin.makes(0, &ending);
    assert_eq!(origin.look(&mut socket), Does::Open);
}
