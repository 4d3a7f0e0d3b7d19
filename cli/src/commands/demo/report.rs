//! The report of the demo, as text and JSON.

use std::io::{self, Write};
use std::time::Duration;

use h2ws::client::ConnectionStats;
use serde_json::json;

use super::own::Own;
use super::sockets::Outcome;
use crate::args::DemoArgs;
use crate::error::Failure;
use crate::terminal;

/// What to try next.
const NEXT: &str = "
next
  h2ws demo --keep              the same, with a page to open in a browser
  h2ws serve                    an echo server, for a client of your own
  h2ws probe wss://HOST/PATH    whether a server supports WebSockets over HTTP/2
  h2ws bridge --to ws://HOST    HTTP/2 in front of a server that does not";

pub(super) struct Report<'a> {
    pub(super) args: &'a DemoArgs,
    pub(super) outcome: &'a Outcome,
    pub(super) connections: Vec<ConnectionStats>,
    pub(super) upgraded: u64,
    /// `None` if it was not measured.
    pub(super) own: Option<Own>,
}

impl Report<'_> {
    pub(super) fn print(&self) -> io::Result<()> {
        let mut out = terminal::stdout();
        let outcome = self.outcome;
        let rate = rate(u64::from(outcome.opened), outcome.open_time);
        writeln!(
            out,
            "WebSockets opened    {:>9}   in {:.0?}, {rate}, from the first request to the last answer",
            outcome.opened, outcome.open_time
        )?;
        writeln!(out, "  over HTTP/2        {:>9}", outcome.over_http2)?;
        let rate = self::rate(outcome.echoes, outcome.talk_time);
        writeln!(
            out,
            "messages echoed      {:>9}   in {:.0?}, {rate}, from the first sent to the last echo",
            outcome.echoes, outcome.talk_time
        )?;
        writeln!(out, "TCP connections      {:>9}", self.connections.len())?;
        for c in &self.connections {
            writeln!(out, "connection {}", c.connection)?;
            writeln!(out, "  streams opened     {:>9}", c.streams_opened)?;
            writeln!(out, "  DATA frames sent   {:>9}", c.data_frames_sent)?;
            writeln!(out, "  DATA frames recv'd {:>9}", c.data_frames_received)?;
            writeln!(out, "  bytes sent         {:>9}", c.bytes_sent)?;
            writeln!(out, "  bytes received     {:>9}", c.bytes_received)?;
        }
        writeln!(
            out,
            "backend connections  {:>9}   one TCP connection per WebSocket",
            self.upgraded
        )?;
        if let Some(memory) = outcome.memory_kib {
            writeln!(
                out,
                "memory, all parts    {:>9} KiB, {:.1} KiB per WebSocket",
                memory,
                memory as f64 / f64::from(self.args.sockets)
            )?;
        }
        if let Some(own) = &self.own {
            writeln!(out, "{}", own.text(outcome))?;
        }
        Ok(())
    }

    pub(super) fn print_next() -> io::Result<()> {
        writeln!(terminal::stdout(), "{NEXT}")
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let connections: Vec<_> = self
            .connections
            .iter()
            .map(|c| {
                json!({
                    "connection": c.connection,
                    "streams_opened": c.streams_opened,
                    "data_frames_sent": c.data_frames_sent,
                    "data_frames_received": c.data_frames_received,
                    "bytes_sent": c.bytes_sent,
                    "bytes_received": c.bytes_received,
                })
            })
            .collect();
        json!({
            "sockets": self.args.sockets,
            "opened": self.outcome.opened,
            "over_http2": self.outcome.over_http2,
            "messages": self.outcome.echoes,
            "open_seconds": self.outcome.open_time.as_secs_f64(),
            "talk_seconds": self.outcome.talk_time.as_secs_f64(),
            "slowest_socket_seconds": self.outcome.slowest.as_secs_f64(),
            "memory_kib": self.outcome.memory_kib,
            "connections": connections,
            "backend_connections": self.upgraded,
            "own_connections": self.own.as_ref().map(|own| json!({
                "measured": own.sockets,
                "open_seconds": own.open_time.as_secs_f64(),
                "scaled_open_seconds": own.scaled(self.outcome).as_secs_f64(),
            })),
            "failure": self.outcome.failure.as_ref().map(|(text, _)| text),
        })
    }

    /// Fails if a WebSocket did.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if let Some((text, count)) = &self.outcome.failure {
            return Err(
                format!("{count} of {} WebSockets failed: {text}", self.args.sockets).into(),
            );
        }
        Ok(())
    }
}

fn rate(count: u64, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64().max(1e-9))
}
