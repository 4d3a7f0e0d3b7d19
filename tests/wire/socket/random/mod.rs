//! Randomized tests with many sockets on one connection. Whatever the sockets do,
//! each end receives every message of the other in order and learns how the socket
//! ended. Nothing waits for ever, and no task or stream is left.
//!
//! A failure reports its seed. `H2WS_SEEDS=100..200` runs those seeds instead of
//! the few default ones. That may take long: run one test at a time.

mod relay;
mod talk;
mod windows;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::future::join_all;
use h2ws::{Client, Http2Config, Server, WebSocketConfig};
use rustls::ServerConfig;
use tokio::runtime;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;

use self::relay::relay;
use self::talk::{Outcome, Plan, talk};
use crate::support::client::{http2, no_stream_is_left};
use crate::support::server::{self, Running};
use crate::support::{tasks, tls, until, within};

/// A pseudorandom number generator with the same output on every machine
/// (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// Returns true once in `times` calls, on average.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A long `linger`, so that no socket is reset by a timeout.
fn long_linger() -> WebSocketConfig {
    WebSocketConfig::default().linger(Duration::from_secs(600))
}

/// Runs each seed on a runtime of its own, with one thread or several.
fn for_each_seed<F: Future<Output = ()>>(seeds: Range<u64>, run: impl Fn(u64) -> F) {
    let requested = std::env::var("H2WS_SEEDS").ok();
    let requested = requested.as_deref().map(|seeds| {
        let (from, to) = seeds.split_once("..").expect("from..to");
        from.parse().unwrap()..to.parse().unwrap()
    });
    for seed in requested.unwrap_or(seeds) {
        let mut runtime = match seed % 3 {
            0 => runtime::Builder::new_current_thread(),
            threads => {
                let mut runtime = runtime::Builder::new_multi_thread();
                runtime.worker_threads(2 * threads as usize);
                runtime
            }
        };
        let runtime = runtime.enable_all().build().unwrap();
        let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed))));
        assert!(ran.is_ok(), "seed {seed}");
    }
}

#[test]
fn random_sockets_end_as_planned() {
    for_each_seed(0..4, |seed| async move {
        let before = tasks();
        let mut random = Random::new(seed);
        let mut talks = Talks::begin(&mut random, None).await;
        talks.finish().await;
        drop(talks);
        until(|| tasks() <= before).await;
    });
}

/// The connection is cut within any frame. The messages received until then are
/// correct, and both ends of every socket end.
#[test]
fn sockets_of_a_connection_cut_anywhere_all_end() {
    for_each_seed(0..12, |seed| async move {
        let before = tasks();
        let mut random = Random::new(seed);
        let most = random.one_of(&[100, 1_000, 20_000, 300_000]);
        let cut = random.below(most) + 1;
        let talks = Talks::begin(&mut random, Some(cut)).await;
        within(join_all(talks.client_ends)).await;
        drop((talks.client, talks.server));
        until(|| tasks() <= before).await;
    });
}

#[test]
fn windows_that_a_client_changes_are_respected() {
    for_each_seed(0..2, |seed| windows::of_a_client(seed, 4));
}

#[test]
fn windows_that_a_server_changes_are_respected() {
    for_each_seed(0..2, |seed| windows::of_a_server(seed, 4));
}

const SOCKETS: u64 = 10;

type ClientEnd = JoinHandle<(u64, Outcome)>;

/// Sockets between an h2ws client and an h2ws server.
struct Talks {
    client: Client,
    server: Running,
    client_ends: Vec<ClientEnd>,
    server_ends: UnboundedReceiver<(u64, Outcome)>,
}

impl Talks {
    async fn begin(random: &mut Random, cut: Option<usize>) -> Self {
        let narrow = random.once_in(4);
        let tls = random.once_in(2).then(tls::pair);
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let (server_tls, client_tls) = tls.unzip();
        let fragments = random.one_of(&[100, 16_384, 1 << 20]);
        let config = long_linger();
        let limits = config.limits.fragment_size(fragments);
        let config = config.limits(limits);
        let (server, server_ends) = serve(random, narrow, &config, server_tls).await;
        let addr = match cut {
            None if random.once_in(2) => server.addr,
            _ => relay(server.addr, Random::new(random.next()), cut).await,
        };
        let client = http2()
            .tls(client_tls.unwrap_or_else(tls::none))
            .http2(http2_config(random, narrow))
            .socket(config)
            .build()
            .unwrap();
        let client_ends = (0..SOCKETS).map(|_| {
            let seed = Plan::seed(random, narrow);
            let url = format!("{scheme}://localhost:{}/{seed}", addr.port());
            open(client.clone(), url, seed)
        });
        Self {
            client_ends: client_ends.collect(),
            client,
            server,
            server_ends,
        }
    }

    /// Waits until all sockets have ended, and checks that they did so as planned.
    async fn finish(&mut self) {
        for ended in within(join_all(&mut self.client_ends)).await {
            let (seed, outcome) = ended.unwrap();
            outcome.assert_as_planned(&Plan::new(seed));
        }
        for _ in 0..SOCKETS {
            let (seed, outcome) = within(self.server_ends.recv()).await.unwrap();
            outcome.assert_as_planned(&Plan::new(seed).of_server());
        }
        no_stream_is_left(&self.client).await;
        let connections = self.client.connections();
        assert_eq!(connections.len(), 1, "there is one open connection");
    }
}

async fn serve(
    random: &mut Random,
    narrow: bool,
    config: &WebSocketConfig,
    tls: Option<ServerConfig>,
) -> (Running, UnboundedReceiver<(u64, Outcome)>) {
    let (outcomes_tx, outcomes_rx) = mpsc::unbounded_channel();
    let mut builder = Server::builder()
        .http2(http2_config(random, narrow))
        .socket(config.clone());
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let server = server::serve(builder, move |upgrade, _| {
        let outcomes_tx = outcomes_tx.clone();
        async move {
            let seed: u64 = upgrade.path()[1..].parse().unwrap();
            if let Ok(socket) = upgrade.accept().await {
                let outcome = talk(socket, Plan::new(seed).of_server()).await;
                let _ = outcomes_tx.send((seed, outcome));
            }
        }
    })
    .await;
    (server, outcomes_rx)
}

fn open(client: Client, url: String, seed: u64) -> ClientEnd {
    let mut random = Random::new(seed ^ 1);
    tokio::spawn(async move {
        for _ in 0..random.below(200) {
            tokio::task::yield_now().await;
        }
        let outcome = match client.connect(&url).await {
            Ok(socket) => talk(socket, Plan::new(seed)).await,
            // The server dropped the socket before its answer was sent.
            Err(error) => Outcome::not_opened(error),
        };
        (seed, outcome)
    })
}

/// Chooses windows and buffers, some of them of a single byte.
fn http2_config(random: &mut Random, narrow: bool) -> Http2Config {
    let windows = match narrow {
        true => &[1, 7, 100],
        false => &[1_000, 65_535, 256 * 1024],
    };
    Http2Config::default()
        .stream_window(random.one_of(windows))
        .connection_window(random.one_of(&[65_535, 100_000, (1 << 31) - 1]))
        .write_buffer(random.one_of(&[1, 200, 10_000, 128 * 1024]))
        .max_frame_size(random.one_of(&[16_384, 65_536]))
}
