//! What the progress bar shows while the load runs: the rate and the latency since it was last drawn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::is_shown;
use super::load::Load;
use crate::args::BenchArgs;
use crate::progress::{Now, Progress};
use crate::terminal::grouped;

/// When the run is over.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Time(Duration),
    Messages(u64),
}

pub(super) struct Live {
    load: Arc<Load>,
    until: Until,
    began: Instant,
    /// When the bar was last drawn, and the latencies at that time.
    last: (Instant, Histogram<u64>),
    text: String,
}

impl Live {
    pub(super) fn show(args: &BenchArgs, until: Until, load: Arc<Load>) -> Progress {
        let total = match until {
            Until::Time(time) => time.as_millis() as u64,
            Until::Messages(messages) => messages,
        };
        let began = Instant::now();
        let mut live = Self {
            last: (began, load.tally.histogram()),
            load,
            until,
            began,
            text: "warming up".to_owned(),
        };
        let name = format!("{}running", args.label);
        Progress::start(is_shown(args), name, total, move || live.now())
    }

    fn now(&mut self) -> Now {
        let now = Instant::now();
        let all = self.load.tally.histogram();
        let position = match self.until {
            Until::Time(_) => self.began.elapsed().as_millis() as u64,
            Until::Messages(_) => all.len(),
        };
        let mut recent = all.clone();
        // Fails only if there were fewer before, which cannot be.
        let is_known = recent.subtract(&self.last.1).is_ok();
        if is_known && !all.is_empty() {
            self.text = text(&recent, now - self.last.0);
        }
        self.last = (now, all);
        Now {
            position,
            text: self.text.clone(),
        }
    }
}

fn text(recent: &Histogram<u64>, time: Duration) -> String {
    let rate = recent.len() as f64 / time.as_secs_f64().max(1e-9);
    let rate = grouped(rate as u64);
    if recent.is_empty() {
        return format!("{rate} messages/s");
    }
    let at = |percentile| Duration::from_micros(recent.value_at_percentile(percentile));
    format!(
        "{rate} messages/s  p50 {:.1?}  p99 {:.1?}",
        at(50.0),
        at(99.0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use h2ws::Message;

    #[test]
    fn the_latency_is_that_since_the_last_time() {
        let load = Arc::new(Load::new(Message::text("x"), 1));
        let mut live = Live {
            last: (Instant::now(), load.tally.histogram()),
            load: load.clone(),
            until: Until::Messages(10),
            began: Instant::now(),
            text: "warming up".to_owned(),
        };
        assert_eq!(live.now().text, "warming up");
        load.tally.add(&mut vec![1000; 4]);
        let now = live.now();
        assert_eq!(now.position, 4);
        assert!(
            now.text.ends_with("messages/s  p50 1.0ms  p99 1.0ms"),
            "{}",
            now.text
        );
        load.tally.add(&mut vec![2000; 3]);
        let now = live.now();
        assert_eq!(now.position, 7);
        assert!(now.text.ends_with("p50 2.0ms  p99 2.0ms"), "{}", now.text);
        assert_eq!(live.now().text, "0 messages/s");
    }
}
