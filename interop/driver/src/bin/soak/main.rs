//! `interop-soak CERT KEY SOCKETS SECONDS`: opens, uses, closes and cuts sockets at random on both
//! sides, and checks that resource usage returns to where it began.
//!
//! The servers run in a separate process (`interop-soak --serve CERT KEY`), so that each process
//! measures its own tasks and memory: an echo server, and a bridge to it. From time to time another
//! echo server takes over, the bridge's routes are reloaded, and the old server drains. A relay
//! before each cuts connections, or makes them vanish.

mod client;
mod relay;
mod server;
mod usage;

use std::path::Path;
use std::time::{Duration, Instant};

use h2ws::{Client, Http2Config, WebSocketConfig};
use interop_driver::{Failure, trusting};

use client::{Slots, Tally};
use relay::Relay;
use server::ServerProcess;
use usage::Usage;

/// Both sides end an idle connection after this time, which ends its tasks.
const IDLE: Duration = Duration::from_secs(1);

/// How long both sides wait before they ask whether a silent peer is still there, and for its
/// answer.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// By how many bytes the heap may grow between the warm-up and the end. A leak of only 100 bytes
/// per socket exceeds this within a minute.
const SLACK: usize = 512 * 1024;

/// How long closing everything may take at the end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", cert, key] => server::run(Path::new(cert), Path::new(key)).await,
        [cert, key, sockets, seconds] => {
            let soak = Soak::prepare(cert, key, sockets.parse()?).await?;
            soak.run(Duration::from_secs_f64(seconds.parse()?)).await
        }
        _ => Err("expected CERT KEY SOCKETS SECONDS".into()),
    }
}

/// The settings of each client and server for HTTP/2.
fn http2() -> Http2Config {
    Http2Config::default()
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
}

/// The settings of each socket. Over HTTP/1.1, only Pings find a peer that has vanished.
fn socket() -> WebSocketConfig {
    WebSocketConfig::default()
        .ping_interval(KEEP_ALIVE)
        .ping_timeout(KEEP_ALIVE)
}

struct Soak {
    client: Client,
    server: ServerProcess,
    /// Relays to the echo server, and to the bridge.
    relays: [Relay; 2],
    urls: [String; 2],
    sockets: usize,
}

impl Soak {
    async fn prepare(cert: &str, key: &str, sockets: usize) -> Result<Self, Failure> {
        let server = ServerProcess::start(cert, key).await?;
        let relays = [
            Relay::start(server.echo).await?,
            Relay::start(server.bridge).await?,
        ];
        let client = Client::builder()
            .tls(trusting(Path::new(cert))?)
            .idle_timeout(IDLE)
            .http2(http2())
            .socket(socket())
            .build()?;
        // With this query the server compresses if the client offers it.
        let url = |relay: &Relay| format!("wss://{}/echo?deflate", relay.address);
        let urls = [url(&relays[0]), url(&relays[1])];
        Ok(Self {
            client,
            server,
            relays,
            urls,
            sockets,
        })
    }

    async fn run(mut self, time: Duration) -> Result<(), Failure> {
        // The warm-up allocates what is kept afterwards: buffers of the runtime, TLS, and tables.
        let mut warm = self.slots();
        tokio::time::sleep((time / 10).clamp(Duration::from_secs(3), Duration::from_secs(30)))
            .await;
        warm.stop().await?;
        let before = self.wait_until_settled(None).await?;
        println!("begin   client {}\n        server {}", before.0, before.1);

        let mut slots = self.slots();
        let (started, mut peak) = (Instant::now(), (Usage::default(), Usage::default()));
        let step = (time / 20).clamp(Duration::from_secs(1), Duration::from_secs(30));
        let mut harm = tokio::time::interval(
            (time / 60).clamp(Duration::from_millis(250), Duration::from_secs(1)),
        );
        let mut harmed = 0;
        let mut renew = tokio::time::interval((time / 6).min(Duration::from_secs(20)));
        let mut renewed = 0;
        let mut report = tokio::time::interval(step);
        while started.elapsed() < time {
            tokio::select! {
                _ = harm.tick() => {
                    harmed += 1;
                    let relay = &self.relays[harmed % 2];
                    if harmed % 8 < 6 {
                        relay.cut_one();
                    } else {
                        relay.vanish_one();
                    }
                }
                _ = renew.tick() => {
                    self.server.renew().await?;
                    self.relays[0].redirect(self.server.echo);
                    renewed += 1;
                }
                _ = report.tick() => {
                    peak = self.usage().await?;
                    println!("{:>5.0} s client {}\n        server {}", started.elapsed().as_secs_f64(), peak.0, peak.1);
                }
            }
        }
        let tally = slots.stop().await?;
        println!("{tally}");
        for (relay, to) in self.relays.iter().zip(["the echo server", "the bridge"]) {
            println!(
                "{} TCP connections to {to}, {} of them cut, {} vanished",
                relay.accepted(),
                relay.cuts(),
                relay.vanished()
            );
        }
        println!("{renewed} times another echo server took over");
        let after = self.wait_until_settled(Some(before)).await?;
        println!("end     client {}\n        server {}", after.0, after.1);
        let wrong = [
            tally.wrong(),
            growth("client", before.0, after.0),
            growth("server", before.1, after.1),
        ]
        .concat();
        self.server.stop().await?;
        let harmless = |relay: &Relay| relay.cuts() == 0 || relay.vanished() == 0;
        if peak.0.tasks <= before.0.tasks || self.relays.iter().any(harmless) {
            return Err("nothing ran, or nothing was harmed, so the result means nothing".into());
        }
        if wrong.is_empty() {
            println!("soak: tasks, streams and memory are back where they began");
            return Ok(());
        }
        Err(wrong.join("; ").into())
    }

    fn slots(&self) -> Slots {
        Slots::start(&self.client, &self.urls, self.sockets)
    }

    /// Returns the resource usage of the client and of the server.
    async fn usage(&mut self) -> Result<(Usage, Usage), Failure> {
        let streams: u64 = self
            .client
            .connections()
            .iter()
            .map(|connection| connection.streams_open)
            .sum();
        Ok((Usage::now(streams as usize), self.server.usage().await?))
    }

    /// Waits until nothing is open and the usage has returned to `before`, or until the time limit,
    /// and returns the usage.
    async fn wait_until_settled(
        &mut self,
        before: Option<(Usage, Usage)>,
    ) -> Result<(Usage, Usage), Failure> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            // Longer than the idle timeout.
            tokio::time::sleep(IDLE * 2).await;
            let now = self.usage().await?;
            let relayed = self.relays.iter().map(Relay::open).sum::<usize>();
            let quiet = now.0.sockets == 0 && now.1.sockets == 0 && relayed == 0;
            let back = before.is_none_or(|before| {
                growth("", before.0, now.0).is_empty() && growth("", before.1, now.1).is_empty()
            });
            if (quiet && back) || Instant::now() > deadline {
                if !quiet {
                    return Err(format!(
                        "still open after {SETTLE_TIMEOUT:?}: client {}, server {}",
                        now.0, now.1
                    )
                    .into());
                }
                return Ok(now);
            }
        }
    }
}

/// Returns a message for each resource whose usage has grown.
fn growth(process: &str, before: Usage, after: Usage) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, was, is, slack) in [
        ("tasks", before.tasks, after.tasks, 0),
        ("sockets", before.sockets, after.sockets, 0),
        ("descriptors", before.descriptors, after.descriptors, 0),
        ("bytes of heap", before.heap, after.heap, SLACK),
    ] {
        if is > was + slack {
            wrong.push(format!("the {process} had {was} {what} and has {is}"));
        }
    }
    wrong
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} sockets opened, {} messages echoed; their ends:",
            self.opened, self.messages
        )?;
        for (end, times) in &self.ends {
            writeln!(f, "{times:>9} x {end}")?;
        }
        Ok(())
    }
}
