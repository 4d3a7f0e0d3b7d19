//! Sockets that do what a random number says, many on one connection: whatever
//! they do, each gets every message of the other end in order and learns how
//! it ended, nobody waits for ever, and nothing is left.
//!
//! A failure names its seed. `H2WS_SEEDS=100..200` runs those instead of a few,
//! each test by itself for as long as it takes.

mod talk;
mod windows;
mod wringer;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::future::join_all;
use h2ws::{Client, Http2Config, Server, WebSocketConfig};
use rustls::ServerConfig;
use tokio::runtime;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;

use self::talk::{Plan, Said, talk};
use self::wringer::wring;
use crate::support::client::{http2, no_stream_is_left};
use crate::support::server::{self, Running};
use crate::support::{tasks, tls, until, within};

/// Small numbers for tests, the same on each machine (SplitMix64).
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

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Leaves nothing to be ended by time.
fn patient() -> WebSocketConfig {
    WebSocketConfig::default().linger(Duration::from_secs(600))
}

/// Runs each seed on a runtime of its own, with one thread or several.
fn each<F: Future<Output = ()>>(seeds: Range<u64>, run: impl Fn(u64) -> F) {
    let asked = std::env::var("H2WS_SEEDS").ok();
    let asked = asked.as_deref().map(|seeds| {
        let (from, to) = seeds.split_once("..").expect("from..to");
        from.parse().unwrap()..to.parse().unwrap()
    });
    for seed in asked.unwrap_or(seeds) {
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
fn sockets_that_do_whatever_they_like() {
    each(0..4, |seed| async move {
        let before = tasks();
        let mut random = Random::new(seed);
        let mut talks = Talks::begin(&mut random, None).await;
        talks.all().await;
        drop(talks);
        until(|| tasks() <= before).await;
    });
}

/// The connection ends within any frame. What was heard until then is right,
/// and everybody learns of it.
#[test]
fn connections_that_are_cut_anywhere() {
    each(0..12, |seed| async move {
        let before = tasks();
        let mut random = Random::new(seed);
        let most = random.one_of(&[100, 1_000, 20_000, 300_000]);
        let cut = random.below(most) + 1;
        let talks = Talks::begin(&mut random, Some(cut)).await;
        within(join_all(talks.ours)).await;
        drop((talks.client, talks.server));
        until(|| tasks() <= before).await;
    });
}

#[test]
fn windows_of_a_client_that_gives_and_takes() {
    each(0..2, |seed| windows::of_a_client(seed, 4));
}

#[test]
fn windows_of_a_server_that_gives_and_takes() {
    each(0..2, |seed| windows::of_a_server(seed, 4));
}

const SOCKETS: u64 = 10;

type Ours = JoinHandle<(u64, Said)>;

/// Sockets between a client and a server of ours.
struct Talks {
    client: Client,
    server: Running,
    ours: Vec<Ours>,
    theirs: UnboundedReceiver<(u64, Said)>,
}

impl Talks {
    async fn begin(random: &mut Random, cut: Option<usize>) -> Self {
        let narrow = random.once_in(4);
        let tls = random.once_in(2).then(tls::pair);
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let (server_tls, client_tls) = tls.unzip();
        let fragments = random.one_of(&[100, 16_384, 1 << 20]);
        let config = patient();
        let limits = config.limits.fragment_size(fragments);
        let config = config.limits(limits);
        let (server, theirs) = serve(random, narrow, &config, server_tls).await;
        let addr = match cut {
            None if random.once_in(2) => server.addr,
            _ => wring(server.addr, Random::new(random.next()), cut).await,
        };
        let client = http2()
            .tls(client_tls.unwrap_or_else(tls::none))
            .http2(http2_config(random, narrow))
            .socket(config)
            .build()
            .unwrap();
        let ours = (0..SOCKETS).map(|_| {
            let seed = Plan::seed(random, narrow);
            let url = format!("{scheme}://localhost:{}/{seed}", addr.port());
            open(client.clone(), url, seed)
        });
        Self {
            ours: ours.collect(),
            client,
            server,
            theirs,
        }
    }

    /// Waits until all are over, as they were meant to be.
    async fn all(&mut self) {
        for ours in within(join_all(&mut self.ours)).await {
            let (seed, ours) = ours.unwrap();
            ours.is_as_planned(&Plan::new(seed));
        }
        for _ in 0..SOCKETS {
            let (seed, theirs) = within(self.theirs.recv()).await.unwrap();
            theirs.is_as_planned(&Plan::new(seed).of_server());
        }
        no_stream_is_left(&self.client).await;
        let connections = self.client.connections();
        assert_eq!(connections.len(), 1, "one connection, and it lives");
    }
}

async fn serve(
    random: &mut Random,
    narrow: bool,
    config: &WebSocketConfig,
    tls: Option<ServerConfig>,
) -> (Running, UnboundedReceiver<(u64, Said)>) {
    let (said, heard) = mpsc::unbounded_channel();
    let mut builder = Server::builder()
        .http2(http2_config(random, narrow))
        .socket(config.clone());
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let server = server::serve(builder, move |upgrade, _| {
        let said = said.clone();
        async move {
            let seed: u64 = upgrade.path()[1..].parse().unwrap();
            if let Ok(socket) = upgrade.accept().await {
                let theirs = talk(socket, Plan::new(seed).of_server()).await;
                let _ = said.send((seed, theirs));
            }
        }
    })
    .await;
    (server, heard)
}

fn open(client: Client, url: String, seed: u64) -> Ours {
    let mut random = Random::new(seed ^ 1);
    tokio::spawn(async move {
        for _ in 0..random.below(200) {
            tokio::task::yield_now().await;
        }
        let said = match client.connect(&url).await {
            Ok(socket) => talk(socket, Plan::new(seed)).await,
            // Dropped by the server before its answer had left.
            Err(error) => Said::nothing(error),
        };
        (seed, said)
    })
}

/// Windows and buffers, from a byte up.
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
