//! `interop-soak CERT KEY SOCKETS SECONDS`: opens, uses, closes and cuts sockets at random on both
//! sides, and checks that resource usage returns to where it began.
//!
//! The server runs in a separate process (`interop-soak --serve CERT KEY`), so that each process
//! measures its own tasks and memory. A relay between the two drops connections.

mod client;
mod relay;
mod server;
mod usage;

use std::path::Path;
use std::time::{Duration, Instant};

use h2ws::{Client, Http2Config};
use interop_driver::{Failure, trusting};

use client::{Slots, Tally};
use relay::Relay;
use server::ServerProcess;
use usage::Usage;

/// Both sides end an idle connection after this time, which ends its tasks.
const IDLE: Duration = Duration::from_secs(1);

/// By how many bytes the heap may grow between the warm-up and the end. A leak of only 100 bytes
/// per socket exceeds this within a minute.
const SLACK: usize = 512 * 1024;

/// How long closing everything may take at the end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", cert, key] => server::run(Path::new(cert), Path::new(key), IDLE).await,
        [cert, key, sockets, seconds] => {
            let soak = Soak::prepare(cert, key, sockets.parse()?).await?;
            soak.run(Duration::from_secs_f64(seconds.parse()?)).await
        }
        _ => Err("expected CERT KEY SOCKETS SECONDS".into()),
    }
}

struct Soak {
    client: Client,
    server: ServerProcess,
    relay: Relay,
    url: String,
    sockets: usize,
}

impl Soak {
    async fn prepare(cert: &str, key: &str, sockets: usize) -> Result<Self, Failure> {
        let server = ServerProcess::start(cert, key).await?;
        let relay = Relay::start(server.address).await?;
        let client = Client::builder()
            .tls(trusting(Path::new(cert))?)
            .idle_timeout(IDLE)
            .http2(Http2Config::default())
            .build()?;
        // With this query the server compresses if the client offers it.
        let url = format!("wss://{}/echo?deflate", relay.address);
        Ok(Self {
            client,
            server,
            relay,
            url,
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
        let mut cut = tokio::time::interval(
            (time / 60).clamp(Duration::from_millis(500), Duration::from_secs(2)),
        );
        let mut report = tokio::time::interval(step);
        while started.elapsed() < time {
            tokio::select! {
                _ = cut.tick() => self.relay.cut_one(),
                _ = report.tick() => {
                    peak = self.usage().await?;
                    println!("{:>5.0} s client {}\n        server {}", started.elapsed().as_secs_f64(), peak.0, peak.1);
                }
            }
        }
        let tally = slots.stop().await?;
        println!("{tally}");
        println!(
            "{} TCP connections, {} of them cut by the relay",
            self.relay.accepted(),
            self.relay.cuts()
        );
        let after = self.wait_until_settled(Some(before)).await?;
        println!("end     client {}\n        server {}", after.0, after.1);
        let wrong = [
            tally.wrong(),
            growth("client", before.0, after.0),
            growth("server", before.1, after.1),
        ]
        .concat();
        self.server.stop().await?;
        if peak.0.tasks <= before.0.tasks {
            return Err(
                "no tasks were running during the test, so the result means nothing".into(),
            );
        }
        if wrong.is_empty() {
            println!("soak: tasks, streams and memory are back where they began");
            return Ok(());
        }
        Err(wrong.join("; ").into())
    }

    fn slots(&self) -> Slots {
        Slots::start(&self.client, &self.url, self.sockets)
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
            let quiet = now.0.sockets == 0 && now.1.sockets == 0 && self.relay.open() == 0;
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
