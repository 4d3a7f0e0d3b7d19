//! The report on a run, as text and JSON.

use std::io::{self, Write};
use std::time::Duration;

use h2ws::Transport;
use serde_json::{Value, json};

use super::super::text::count;
use super::run::Measured;
use super::usage::{Process, Usage};
use super::{Carriers, histogram};
use crate::args::BenchArgs;
use crate::error::Failure;

pub(super) struct Report<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) open_time: Duration,
    pub(super) ping_time: Option<Duration>,
    pub(super) close_time: Duration,
    pub(super) carriers: Carriers,
    /// Before the WebSockets were opened, after that, and after the load.
    pub(super) usage: [Usage; 3],
    /// Number of WebSockets whose closing handshake failed.
    pub(super) unclosed: u32,
    /// The first error of those.
    pub(super) unclosed_failure: Option<String>,
    pub(super) measured: Measured,
}

/// Returns the number of the connection that carries a WebSocket.
pub(super) fn connection(transport: Transport) -> Option<u64> {
    match transport {
        Transport::Http2 { connection, .. } | Transport::Http1 { connection } => Some(connection),
        _ => None,
    }
}

const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];

impl Report<'_> {
    fn messages(&self) -> u64 {
        self.measured.load.tally.messages()
    }

    /// Fails if a WebSocket did.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let measured = &self.measured;
        let failure = measured.failure.as_ref();
        match failure.or(self.unclosed_failure.as_ref()) {
            Some(failure) => {
                let (failed, all) = (measured.failed + self.unclosed, self.args.sockets);
                Err(format!("{failed} of {all} WebSockets failed: {failure}").into())
            }
            None => Ok(()),
        }
    }

    pub(super) fn messages_per_second(&self) -> f64 {
        per_second(self.messages() as f64, self.measured.time)
    }

    pub(super) fn opened_per_second(&self) -> f64 {
        per_second(self.args.sockets.into(), self.open_time)
    }

    /// Returns a percentile of the round-trip time, in seconds.
    pub(super) fn latency(&self, percentile: f64) -> f64 {
        self.measured.load.tally.latency(percentile).as_secs_f64()
    }

    /// Returns the CPU time of this process per message, in seconds.
    pub(super) fn client_cpu_per_message(&self) -> Option<f64> {
        self.cpu_per_message(|usage| usage.client)
    }

    /// Returns the CPU time of the process of `--server-pid` per message, in seconds.
    pub(super) fn server_cpu_per_message(&self) -> Option<f64> {
        self.cpu_per_message(|usage| usage.server)
    }

    fn cpu_per_message(&self, process: fn(&Usage) -> Process) -> Option<f64> {
        let cpu = self.end(process).cpu?;
        Some(cpu.as_secs_f64() / self.messages().max(1) as f64)
    }

    /// Describes the WebSockets and what carried them.
    pub(super) fn carried(&self) -> String {
        format!(
            "{} on {} ({} over HTTP/2)",
            count(self.args.sockets as usize, "WebSocket"),
            count(self.carriers.connections, "connection"),
            self.carriers.over_http2,
        )
    }

    /// Describes how messages were sent.
    pub(super) fn mode(&self) -> String {
        match self.args.rate {
            Some(rate) => format!("{rate}/s due"),
            None => format!("{} in flight per WebSocket", self.args.in_flight),
        }
    }

    /// Returns what one end uses.
    fn end(&self, process: fn(&Usage) -> Process) -> End {
        let [before, open, after] = self.usage.each_ref().map(process);
        let [from, to] = self.measured.usage.each_ref().map(process);
        End {
            bytes_open: open.bytes_since(before, self.args.sockets),
            bytes_after: after.bytes_since(before, self.args.sockets),
            memory: after.memory,
            cpu: to.cpu_since(from),
        }
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let mut out = crate::terminal::stdout();
        let (args, measured) = (self.args, &self.measured);
        writeln!(
            out,
            "{}, opened in {:.1?}: {:.0}/s",
            self.carried(),
            self.open_time,
            self.opened_per_second(),
        )?;
        if let Some(time) = self.ping_time {
            writeln!(out, "all answered a Ping, in {time:.1?}")?;
        }
        let talkers = args
            .talkers
            .map_or_else(String::new, |n| format!(" on {n} WebSockets"));
        let mode = self.mode();
        writeln!(
            out,
            "{} messages of {} bytes echoed{talkers} in {:.1?}, {mode}",
            self.messages(),
            args.size,
            measured.time
        )?;
        let rate = self.messages_per_second();
        writeln!(
            out,
            "  {rate:.0} messages/s, {:.1} MB/s in each direction",
            rate * f64::from(args.size) / 1e6
        )?;
        self.print_latency(&mut out)?;
        if args.bulk > 0 {
            let (bulk, rate) = (
                count(args.bulk as usize, "bulk WebSocket"),
                measured.bulk / 1e6,
            );
            writeln!(
                out,
                "  {bulk} moved {rate:.0} MB/s in each direction meanwhile"
            )?;
        }
        self.end(|usage| usage.client)
            .print(&mut out, "client", self.messages())?;
        self.end(|usage| usage.server)
            .print(&mut out, "server", self.messages())?;
        writeln!(out, "closed in {:.1?}", self.close_time)?;
        if let Some(failure) = &measured.failure {
            writeln!(out, "  {} WebSockets failed: {failure}", measured.failed)?;
        }
        Ok(())
    }

    fn print_latency(&self, out: &mut impl Write) -> io::Result<()> {
        let from = if self.args.rate.is_some() {
            "from the time a message was due"
        } else {
            "closed loop"
        };
        write!(out, "  round-trip time, {from}:")?;
        for (name, percentile) in PERCENTILES {
            write!(
                out,
                " {name} {:.2?}",
                self.measured.load.tally.latency(percentile)
            )?;
        }
        writeln!(out)?;
        histogram::print(&self.measured.load.tally.histogram(), out)
    }

    pub(super) fn json(&self) -> Value {
        let (args, measured) = (self.args, &self.measured);
        let latency: serde_json::Map<_, _> = PERCENTILES
            .iter()
            .map(|(name, percentile)| {
                let latency = measured.load.tally.latency(*percentile);
                let name = format!("{}_us", name.replace('.', ""));
                (name, json!(latency.as_micros() as u64))
            })
            .collect();
        let (client, server) = (
            self.end(|usage| usage.client),
            self.end(|usage| usage.server),
        );
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "sockets": args.sockets,
            "connections": self.carriers.connections,
            "over_http2": self.carriers.over_http2,
            "talkers": args.talkers.unwrap_or(args.sockets),
            "size": args.size,
            "in_flight": args.in_flight,
            "rate": args.rate,
            "open_seconds": self.open_time.as_secs_f64(),
            "opened_per_second": self.opened_per_second(),
            "ping_seconds": seconds(self.ping_time),
            "seconds": measured.time.as_secs_f64(),
            "messages": self.messages(),
            "messages_per_second": self.messages_per_second(),
            "bytes_per_second": self.messages_per_second() * f64::from(args.size),
            "latency": latency,
            "bulk_bytes_per_second": measured.bulk,
            "client_bytes_per_idle_socket": client.bytes_open,
            "server_bytes_per_idle_socket": server.bytes_open,
            "client_bytes_per_socket_after": client.bytes_after,
            "server_bytes_per_socket_after": server.bytes_after,
            "client_memory": client.memory,
            "server_memory": server.memory,
            "client_cpu_seconds": seconds(client.cpu),
            "server_cpu_seconds": seconds(server.cpu),
            "close_seconds": self.close_time.as_secs_f64(),
            "unclosed": self.unclosed,
            "failed": measured.failed,
            "failure": measured.failure,
        })
    }
}

fn per_second(count: f64, time: Duration) -> f64 {
    count / time.as_secs_f64().max(1e-9)
}

struct End {
    /// Memory per WebSocket that has not been used yet.
    bytes_open: Option<f64>,
    /// Memory per WebSocket that is idle after the load.
    bytes_after: Option<f64>,
    /// Resident memory after the load, before the WebSockets are closed, in bytes.
    memory: Option<u64>,
    cpu: Option<Duration>,
}

impl End {
    fn print(&self, out: &mut impl Write, name: &str, messages: u64) -> io::Result<()> {
        let (Some(open), Some(after), Some(memory)) =
            (self.bytes_open, self.bytes_after, self.memory)
        else {
            return Ok(());
        };
        write!(
            out,
            "  {name}: memory per WebSocket {open:.0} bytes before the load, {after:.0} after; \
             {:.0} MB in total",
            memory as f64 / 1e6
        )?;
        match self.cpu {
            Some(cpu) if messages > 0 => {
                let micros = cpu.as_secs_f64() * 1e6 / messages as f64;
                writeln!(out, "; {micros:.3} µs of CPU time per message")
            }
            _ => writeln!(out),
        }
    }
}
