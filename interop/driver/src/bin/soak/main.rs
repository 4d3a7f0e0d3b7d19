//! `interop-soak CERT KEY SOCKETS SECONDS`: sockets that open, talk, close and are cut at random on
//! both ends, and whether everything is back afterwards where it began.
//!
//! The server is a process of its own (this program as `interop-soak --serve CERT KEY`), so that
//! each counts its own tasks and memory. Between them stands a relay that drops connections.

mod client;
mod figures;
mod relay;
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use h2ws::{Client, Http2Config};
use interop_driver::{Failure, trusting};

use client::{Slots, Tally};
use figures::Figures;
use relay::Relay;
use server::ServerProcess;

/// A connection that carries nothing is ended after this long, on both ends: then all tasks are gone.
const IDLE: Duration = Duration::from_secs(1);

/// Heap that may be held at the end and was not after the warm-up, in bytes. A leak of a mere 100
/// bytes a socket is more within a minute.
const SLACK: usize = 512 * 1024;

/// How long all that is closing may take to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", cert, key] => server::run(Path::new(cert), Path::new(key), IDLE).await,
        [cert, key, sockets, seconds] => {
            let soak = Soak::prepare(cert, key, sockets.parse()?).await?;
            soak.run(Duration::from_secs_f64(seconds.parse()?)).await
        }
        _ => Err("wanted CERT KEY SOCKETS SECONDS".into()),
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
        // The query has the server compress where that is offered.
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
        // What is made once and kept (buffers of the runtime, TLS, tables at their largest) is made here.
        let mut warm = self.slots();
        tokio::time::sleep((time / 10).clamp(Duration::from_secs(3), Duration::from_secs(30)))
            .await;
        warm.stop().await?;
        let before = self.settled(None).await?;
        println!("begin   client {}\n        server {}", before.0, before.1);

        let mut slots = self.slots();
        let (started, mut peak) = (Instant::now(), (Figures::default(), Figures::default()));
        let step = (time / 20).clamp(Duration::from_secs(1), Duration::from_secs(30));
        let mut cut = tokio::time::interval(
            (time / 60).clamp(Duration::from_millis(500), Duration::from_secs(2)),
        );
        let mut tell = tokio::time::interval(step);
        while started.elapsed() < time {
            tokio::select! {
                _ = cut.tick() => self.relay.cut_one(),
                _ = tell.tick() => {
                    peak = self.figures().await?;
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
        let after = self.settled(Some(before)).await?;
        println!("end     client {}\n        server {}", after.0, after.1);
        let wrong = [
            tally.wrong(),
            left("client", before.0, after.0),
            left("server", before.1, after.1),
        ]
        .concat();
        self.server.stop().await?;
        if peak.0.tasks <= before.0.tasks {
            return Err("nothing was running in between: this run proves nothing".into());
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

    /// Of client and server.
    async fn figures(&mut self) -> Result<(Figures, Figures), Failure> {
        let streams: u64 = self
            .client
            .connections()
            .iter()
            .map(|connection| connection.streams_open)
            .sum();
        Ok((Figures::now(streams as usize), self.server.figures().await?))
    }

    /// The figures once they are those from before, or nothing happens any more for long.
    async fn settled(
        &mut self,
        before: Option<(Figures, Figures)>,
    ) -> Result<(Figures, Figures), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Longer than an idle connection lives.
            tokio::time::sleep(IDLE * 2).await;
            let now = self.figures().await?;
            let quiet = now.0.sockets == 0 && now.1.sockets == 0 && self.relay.open() == 0;
            let back = before.is_none_or(|before| {
                left("", before.0, now.0).is_empty() && left("", before.1, now.1).is_empty()
            });
            if (quiet && back) || Instant::now() > deadline {
                if !quiet {
                    return Err(format!(
                        "still open after {PATIENCE:?}: client {}, server {}",
                        now.0, now.1
                    )
                    .into());
                }
                return Ok(now);
            }
        }
    }
}

/// What is there at the end and was not at the beginning.
fn left(who: &str, before: Figures, after: Figures) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, was, is, slack) in [
        ("tasks", before.tasks, after.tasks, 0),
        ("sockets", before.sockets, after.sockets, 0),
        ("descriptors", before.descriptors, after.descriptors, 0),
        ("bytes of heap", before.heap, after.heap, SLACK),
    ] {
        if is > was + slack {
            wrong.push(format!("the {who} had {was} {what} and has {is}"));
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
