//! What a run gave, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use h2ws::Transport;
use serde_json::{Value, json};

use super::Measured;
use crate::args::BenchArgs;

pub(super) struct Report<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) open_time: Duration,
    pub(super) over_http2: usize,
    pub(super) connections: usize,
    /// Memory that the open, silent sockets took.
    pub(super) client_kib: Option<u64>,
    pub(super) server_kib: Option<u64>,
    pub(super) measured: Measured,
}

/// Which connection a socket is on.
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
    fn messages_per_second(&self) -> f64 {
        self.measured.load.tally.messages() as f64 / self.measured.time.as_secs_f64().max(1e-9)
    }

    fn opened_per_second(&self) -> f64 {
        f64::from(self.args.sockets) / self.open_time.as_secs_f64().max(1e-9)
    }

    fn bytes_per_socket(&self, kib: Option<u64>) -> Option<f64> {
        Some(kib? as f64 * 1024.0 / f64::from(self.args.sockets))
    }

    fn micros_per_message(&self, cpu: Option<Duration>) -> Option<f64> {
        let messages = self.measured.load.tally.messages();
        (messages > 0).then_some(cpu?.as_secs_f64() * 1e6 / messages as f64)
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let (args, measured) = (self.args, &self.measured);
        writeln!(
            out,
            "{} sockets on {} connections ({} over HTTP/2), opened in {:.0?}: {:.0} a second",
            args.sockets,
            self.connections,
            self.over_http2,
            self.open_time,
            self.opened_per_second()
        )?;
        let mode = args.rate.map_or_else(
            || format!("{} in flight on each", args.in_flight),
            |rate| format!("{rate} a second due"),
        );
        writeln!(
            out,
            "{} messages of {} bytes each way in {:.1?}, {mode}",
            measured.load.tally.messages(),
            args.size,
            measured.time
        )?;
        let rate = self.messages_per_second();
        writeln!(
            out,
            "  {rate:.0} messages/s, {:.1} MB/s each way",
            rate * f64::from(args.size) / 1e6
        )?;
        let tally = &measured.load.tally;
        let from = if args.rate.is_some() {
            "from when a message was due"
        } else {
            "closed loop"
        };
        write!(out, "  round trip, {from}:")?;
        for (name, percentile) in PERCENTILES {
            write!(out, " {name} {:.2?}", tally.latency(percentile))?;
        }
        writeln!(out)?;
        self.print_process(&mut out, "client", self.client_kib, measured.cpu)?;
        self.print_process(&mut out, "server", self.server_kib, measured.server_cpu)?;
        if let Some(failure) = &measured.failure {
            writeln!(out, "  {} sockets failed: {failure}", measured.failed)?;
        }
        Ok(())
    }

    fn print_process(
        &self,
        out: &mut impl Write,
        name: &str,
        kib: Option<u64>,
        cpu: Option<Duration>,
    ) -> io::Result<()> {
        let Some(memory) = self.bytes_per_socket(kib) else {
            return Ok(());
        };
        write!(out, "  {name}: {memory:.0} bytes of memory an idle socket")?;
        match self.micros_per_message(cpu) {
            Some(micros) => writeln!(out, ", {micros:.3} µs of CPU a message"),
            None => writeln!(out),
        }
    }

    pub(super) fn json(&self) -> Value {
        let measured = &self.measured;
        let latency: serde_json::Map<_, _> = PERCENTILES
            .iter()
            .map(|(name, percentile)| {
                let name = format!("{}_us", name.replace('.', ""));
                (
                    name,
                    json!(measured.load.tally.latency(*percentile).as_micros() as u64),
                )
            })
            .collect();
        json!({
            "sockets": self.args.sockets,
            "connections": self.connections,
            "over_http2": self.over_http2,
            "size": self.args.size,
            "in_flight": self.args.in_flight,
            "rate": self.args.rate,
            "open_seconds": self.open_time.as_secs_f64(),
            "opened_per_second": self.opened_per_second(),
            "seconds": measured.time.as_secs_f64(),
            "messages": measured.load.tally.messages(),
            "messages_per_second": self.messages_per_second(),
            "bytes_per_second": self.messages_per_second() * f64::from(self.args.size),
            "latency": latency,
            "client_bytes_per_idle_socket": self.bytes_per_socket(self.client_kib),
            "server_bytes_per_idle_socket": self.bytes_per_socket(self.server_kib),
            "client_cpu_seconds": measured.cpu.map(|d| d.as_secs_f64()),
            "server_cpu_seconds": measured.server_cpu.map(|d| d.as_secs_f64()),
            "failed": measured.failed,
            "failure": measured.failure,
        })
    }
}
