//! The counters of a load client and its JSON report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Error;
use crate::args::Args;
use crate::process::{cpu_seconds, resident_bytes};

/// The arguments with a value that every load client takes.
pub const NAMES: [&str; 13] = [
    "url",
    "addr",
    "sockets",
    "connections",
    "in-flight",
    "size",
    "duration",
    "messages",
    "runtime",
    "server-pid",
    "mode",
    "portion",
    "rest",
];
/// The switches that every load client takes.
pub const SWITCHES: [&str; 3] = ["frames", "key", "tls"];

/// The warm-up time as a share of the measured time. It is not counted.
const WARM_UP: f64 = 0.1;

/// The load to generate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `host:port`.
    pub addr: String,
    /// Sockets to open.
    pub sockets: usize,
    /// HTTP/2 connections to spread them over.
    pub connections: usize,
    /// Messages in flight on each socket.
    pub in_flight: usize,
    /// Payload bytes per message.
    pub size: usize,
    /// How long to count.
    pub duration: Duration,
    /// How many messages to wait for, instead of a duration.
    pub messages: Option<u64>,
    /// How long the sockets are idle before memory is measured.
    pub rest: Duration,
    /// Whether to use TLS, for clients that support it.
    pub tls: bool,
    /// The server's process ID, to read its CPU time and memory.
    pub server: Option<u32>,
}

impl Plan {
    /// Creates the plan from the arguments.
    ///
    /// # Errors
    ///
    /// If an argument cannot be parsed, or the address is missing.
    pub fn new(args: &Args) -> Result<Self, Error> {
        let addr = match (args.find::<String>("addr")?, args.find::<String>("url")?) {
            (Some(addr), _) => addr,
            (None, Some(url)) => authority(&url).to_owned(),
            (None, None) => return Err("--addr HOST:PORT or --url URL is needed".into()),
        };
        Ok(Self {
            addr,
            sockets: args.or("sockets", 1)?,
            connections: args.or("connections", 1)?.max(1),
            in_flight: args.or("in-flight", 1)?,
            size: args.or("size", 64)?,
            duration: Duration::from_secs_f64(args.or("duration", 2.0)?),
            messages: args.find("messages")?,
            rest: Duration::from_secs_f64(args.or("rest", 0.0)?),
            tls: args.has("tls"),
            server: args.find("server-pid")?,
        })
    }
}

/// Returns the `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The message counter of one socket. A shared counter would be contended.
pub type Count = Arc<AtomicU64>;

/// The counters of all sockets, and the flag that stops them.
#[derive(Debug, Default)]
pub struct Load {
    counts: Vec<Count>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Adds a socket. Returns its counter, and the flag after which it must not send.
    pub fn socket(&mut self) -> (Count, Arc<AtomicBool>) {
        let count = Count::default();
        self.counts.push(Arc::clone(&count));
        (count, Arc::clone(&self.stop))
    }

    fn total(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

/// CPU time and memory of both processes at one moment.
#[derive(Debug, Clone, Copy)]
struct Usage {
    client_cpu: f64,
    server_cpu: Option<f64>,
    client_memory: u64,
    server_memory: Option<u64>,
}

impl Usage {
    fn now(server: Option<u32>) -> Result<Self, Error> {
        let own = std::process::id();
        Ok(Self {
            client_cpu: cpu_seconds(own)?,
            server_cpu: server.map(cpu_seconds).transpose()?,
            client_memory: resident_bytes(own)?,
            server_memory: server.map(resident_bytes).transpose()?,
        })
    }
}

/// Measures the opening, then the traffic.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    before: Usage,
    opening: Instant,
    opened: Option<(Duration, Usage)>,
}

impl Report {
    /// Starts measuring. Call when the connections are open and before the first socket.
    ///
    /// # Errors
    ///
    /// If the server's process does not exist.
    pub fn start(plan: &Plan) -> Result<Self, Error> {
        let before = Usage::now(plan.server)?;
        Ok(Self {
            plan: plan.clone(),
            before,
            opening: Instant::now(),
            opened: None,
        })
    }

    /// Records the end of the opening. Call when the last socket is open.
    ///
    /// # Errors
    ///
    /// If the server's process has ended.
    pub async fn opened(&mut self) -> Result<(), Error> {
        let took = self.opening.elapsed();
        tokio::time::sleep(self.plan.rest).await;
        self.opened = Some((took, Usage::now(self.plan.server)?));
        Ok(())
    }

    /// Measures the traffic, stops the sockets, and prints one JSON object. Call when all sockets
    /// are sending.
    ///
    /// # Errors
    ///
    /// If the server's process has ended, or no message was counted.
    pub async fn finish(self, load: &Load) -> Result<(), Error> {
        let (opening, open) = self.opened.ok_or("finish before opened")?;
        let plan = &self.plan;
        wait(load, plan, WARM_UP).await;
        let (first, from, clock) = (load.total(), Usage::now(plan.server)?, Instant::now());
        wait(load, plan, 1.0).await;
        let (messages, to, took) = (
            load.total() - first,
            Usage::now(plan.server)?,
            clock.elapsed(),
        );
        if messages == 0 {
            return Err("no message came back".into());
        }
        load.stop.store(true, Ordering::Relaxed);
        tokio::time::sleep(plan.rest).await;
        let after = Usage::now(plan.server)?;
        self.print(messages, took, opening, [open, from, to, after]);
        Ok(())
    }

    fn print(&self, messages: u64, took: Duration, opening: Duration, usage: [Usage; 4]) {
        let plan = &self.plan;
        let [open, from, to, after] = usage;
        let seconds = took.as_secs_f64();
        let per_second = messages as f64 / seconds;
        let number = |value: Option<f64>| value.map_or("null".to_owned(), |v| format!("{v:.3}"));
        let bytes = |value: Option<u64>| value.map_or("null".to_owned(), |v| v.to_string());
        let server_cpu = to
            .server_cpu
            .zip(from.server_cpu)
            .map(|(to, from)| to - from);
        println!(
            "{{\"sockets\":{},\"connections\":{},\"in_flight\":{},\"size\":{},\
             \"messages\":{messages},\"seconds\":{seconds:.3},\
             \"messages_per_second\":{per_second:.1},\"bytes_per_second\":{:.1},\
             \"opened_per_second\":{:.1},\
             \"client_cpu_seconds\":{:.3},\"server_cpu_seconds\":{},\
             \"client_memory\":{{\"before\":{},\"open\":{},\"after\":{}}},\
             \"server_memory\":{{\"before\":{},\"open\":{},\"after\":{}}}}}",
            plan.sockets,
            plan.connections,
            plan.in_flight,
            plan.size,
            per_second * plan.size as f64,
            plan.sockets as f64 / opening.as_secs_f64(),
            to.client_cpu - from.client_cpu,
            number(server_cpu),
            self.before.client_memory,
            open.client_memory,
            after.client_memory,
            bytes(self.before.server_memory),
            bytes(open.server_memory),
            bytes(after.server_memory),
        );
    }
}

/// Waits for a share of the plan's duration, or of its messages.
async fn wait(load: &Load, plan: &Plan, share: f64) {
    let Some(messages) = plan.messages else {
        return tokio::time::sleep(plan.duration.mul_f64(share)).await;
    };
    let goal = load.total() + (messages as f64 * share) as u64;
    while load.total() < goal {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_a_url_is_its_host_and_port() {
        for url in ["ws://a:1", "ws://a:1/", "a:1/echo", "a:1"] {
            assert_eq!(authority(url), "a:1");
        }
    }

    #[tokio::test]
    async fn waiting_ends_after_the_share_of_the_messages() {
        let mut load = Load::default();
        let (count, _) = load.socket();
        count.store(5, Ordering::Relaxed);
        let args = ["--addr", "x", "--messages", "10"].map(str::to_owned);
        let plan = Plan::new(&Args::parse(args.into_iter(), &NAMES, &SWITCHES).unwrap()).unwrap();
        tokio::join!(wait(&load, &plan, 1.0), async {
            tokio::task::yield_now().await;
            count.store(15, Ordering::Relaxed);
        });
        assert_eq!(load.total(), 15);
    }
}
