//! What the same WebSockets would cost on TCP connections of their own.
//!
//! It is measured, with some of them: opened over HTTP/1.1 through the same bridge to the same backend,
//! after the others have closed. The time for all is computed from that, as if it grew in proportion;
//! it does nearly, because it is the processor's time for handshakes. What cannot be measured well in
//! one process, such as memory that was in use before, is left out.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2ws::{Client, CloseCode, HttpVersion};
use rustls::ClientConfig;

use super::sockets::Outcome;
use crate::args::DemoArgs;
use crate::error::Failure;
use crate::files;
use crate::progress::Progress;

/// WebSockets to measure with, at most.
const SOCKETS: u32 = 100;

/// Open files that each needs: both ends of two connections are in this process.
const FILES: u64 = 4;

/// WebSockets that were opened over HTTP/1.1.
pub(super) struct Own {
    pub(super) sockets: u32,
    pub(super) open_time: Duration,
}

/// Opens WebSockets over HTTP/1.1. Returns `None` if the limit on open files leaves no room.
pub(super) async fn measure(
    args: &DemoArgs,
    config: ClientConfig,
    url: &str,
) -> Result<Option<Own>, Failure> {
    let room = files::room().map_or(SOCKETS, |room| {
        u32::try_from(room / FILES).unwrap_or(SOCKETS)
    });
    let sockets = args.sockets.min(SOCKETS).min(room);
    if sockets == 0 {
        return Ok(None);
    }
    let client = Client::builder()
        .version(HttpVersion::Http1)
        .tls(config)
        .build()?;
    let total = u64::from(sockets);
    let (progress, count) = Progress::count(!args.json, "opening over HTTP/1.1".to_owned(), total);
    let began = Instant::now();
    let mut opening: FuturesUnordered<_> = (0..sockets)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move { client.connect(&url).await })
        })
        .collect();
    let mut open = Vec::with_capacity(sockets as usize);
    while let Some(opened) = opening.next().await {
        open.push(opened??);
        count.increment();
    }
    let open_time = began.elapsed();
    drop(progress);
    for mut socket in open {
        socket.close(CloseCode::NORMAL).await?;
    }
    Ok(Some(Own { sockets, open_time }))
}

impl Own {
    /// Computes the time for as many as were opened over HTTP/2.
    pub(super) fn scaled(&self, outcome: &Outcome) -> Duration {
        self.open_time
            .mul_f64(f64::from(outcome.opened) / f64::from(self.sockets))
    }

    pub(super) fn text(&self, outcome: &Outcome) -> String {
        let (opened, scaled) = (outcome.opened, self.scaled(outcome));
        let times = scaled.as_secs_f64() / outcome.open_time.as_secs_f64().max(1e-9);
        let how = if self.sockets == opened {
            "measured".to_owned()
        } else {
            format!("measured with {}, in proportion", self.sockets)
        };
        format!(
            "each on a connection {opened:>9}   TCP and TLS handshakes, {scaled:.0?} to open, \
             {times:.1} times as long ({how})"
        )
    }
}
