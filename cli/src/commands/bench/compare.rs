//! Two servers, or the two HTTP versions of one, under the same load, in turns.
//!
//! What else a machine does comes and goes, so one long run of each would compare the minutes in
//! which they ran. Here the runs are short, each pair follows one another, and the order within a
//! pair changes; a ratio is that of one pair, and what is reported is the median of the ratios and
//! their range.

use std::io::{self, Write};
use std::pin::Pin;
use std::time::Duration;

use h2ws::handshake::{Target, UrlError};
use serde_json::{Value, json};

use super::super::text::count;
use super::measure;
use super::report::Report;
use crate::args::{BenchArgs, VersionArgs};
use crate::error::{Failure, Stopped, Usage};
use crate::{signals, terminal};

/// Seconds per run, unless an option says otherwise.
const DURATION: f64 = 2.0;

/// Returns the options of the two sides, if there is something to compare.
pub(super) fn both(args: &BenchArgs) -> Option<[BenchArgs; 2]> {
    let mut first = args.clone();
    if first.messages.is_none() {
        first.duration.get_or_insert(DURATION);
    }
    let mut second = first.clone();
    if args.compare_http1 {
        (first.label, second.label) = ("HTTP/2: ".to_owned(), "HTTP/1.1: ".to_owned());
        // Without this, a server that does not support HTTP/2 would be compared with itself.
        first.request.version = VersionArgs::HTTP2;
        second.request.version = VersionArgs::HTTP1;
    } else {
        (first.label, second.label) = ("first: ".to_owned(), "second: ".to_owned());
        second.url.clone_from(args.compare.as_ref()?);
    }
    Some([first, second])
}

/// Measures both sides in turns and prints the comparison. After a failure or signal, it has the
/// pairs that were complete.
pub(super) async fn run(
    both: [BenchArgs; 2],
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Failure> {
    let args = &both[0];
    let mut pairs = Pairs::new(&both)?;
    let mut failure = None;
    for repeat in 0..args.repeats {
        match pair(&both, &pairs.names, repeat, stop.as_mut()).await {
            Ok(pair) => pairs.runs.push(pair),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if !pairs.runs.is_empty() {
        if args.json {
            writeln!(terminal::stdout(), "{}", pairs.json())?;
        } else {
            pairs.print(&mut terminal::stdout())?;
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Measures each side once.
async fn pair<'a>(
    both: &'a [BenchArgs; 2],
    names: &[String; 2],
    repeat: u32,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<[Report<'a>; 2], Failure> {
    let is_swapped = repeat % 2 == 1;
    let order = if is_swapped { [1, 0] } else { [0, 1] };
    let mut reports = Vec::with_capacity(2);
    for index in order {
        let report = measure(&both[index], stop.as_mut()).await;
        let report = report.and_then(|report| report.verdict().map(|()| report));
        let named = |error: Failure| format!("{}: {error}", names[index]);
        reports.push(report.map_err(named)?);
        // The run was cut short.
        if signals::status().is_some() {
            return Err(Stopped.into());
        }
    }
    if is_swapped {
        reports.reverse();
    }
    let pair: Result<[Report<'_>; 2], _> = reports.try_into();
    pair.map_err(|_| "a pair has two runs".into())
}

/// The runs that are compared: of the first and the second side.
struct Pairs<'a> {
    urls: [String; 2],
    /// What the sides are called: the URL, and the HTTP version if that is compared.
    names: [String; 2],
    runs: Vec<[Report<'a>; 2]>,
}

/// A number of a run that is compared.
struct Metric {
    name: &'static str,
    key: &'static str,
    of: fn(&Report<'_>) -> Option<f64>,
    shown: fn(f64) -> String,
}

const METRICS: [Metric; 7] = [
    Metric {
        name: "messages/s",
        key: "messages_per_second",
        of: |report| Some(report.messages_per_second()),
        shown: number,
    },
    Metric {
        name: "round trip, p50",
        key: "p50",
        of: |report| Some(report.latency(50.0)),
        shown: time,
    },
    Metric {
        name: "round trip, p99",
        key: "p99",
        of: |report| Some(report.latency(99.0)),
        shown: time,
    },
    Metric {
        name: "round trip, max",
        key: "max",
        of: |report| Some(report.latency(100.0)),
        shown: time,
    },
    Metric {
        name: "WebSockets opened/s",
        key: "opened_per_second",
        of: |report| Some(report.opened_per_second()),
        shown: number,
    },
    Metric {
        name: "CPU time here/message",
        key: "client_cpu_per_message",
        of: |report| report.client_cpu_per_message(),
        shown: time,
    },
    Metric {
        name: "server CPU/message",
        key: "server_cpu_per_message",
        of: |report| report.server_cpu_per_message(),
        shown: time,
    },
];

fn number(value: f64) -> String {
    terminal::grouped(value as u64)
}

fn time(seconds: f64) -> String {
    format!("{:.2?}", Duration::from_secs_f64(seconds))
}

/// The median of some numbers, and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Median {
    median: f64,
    min: f64,
    max: f64,
}

impl Median {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            (values.get(half.checked_sub(1)?)? + values[half]) / 2.0
        };
        Some(Self {
            median,
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

impl Metric {
    /// Returns the median of one side's runs.
    fn median(&self, runs: &[[Report<'_>; 2]], index: usize) -> Option<f64> {
        let values: Option<Vec<f64>> = runs.iter().map(|pair| (self.of)(&pair[index])).collect();
        Some(Median::of(values?)?.median)
    }

    /// Returns the ratios of the first side's to the second's.
    fn ratio(&self, runs: &[[Report<'_>; 2]]) -> Option<Median> {
        let ratios = runs.iter().map(|[first, second]| {
            let divisor = (self.of)(second).filter(|value| *value > 0.0)?;
            Some((self.of)(first)? / divisor)
        });
        Median::of(ratios.collect::<Option<_>>()?)
    }
}

impl<'a> Pairs<'a> {
    fn new(both: &'a [BenchArgs; 2]) -> Result<Self, Failure> {
        let url = |args: &BenchArgs| {
            let target: Result<Target, UrlError> = args.url.parse();
            target.map(|target| target.to_string())
        };
        // The error does not quote the URL, which may contain a password.
        let first = url(&both[0]).map_err(|error| Usage::options(&error))?;
        let second = url(&both[1]).map_err(|error| Usage::option("--compare", &error))?;
        let mut names = [first.clone(), second.clone()];
        if both[0].compare_http1 {
            names[0].push_str(" over HTTP/2");
            names[1].push_str(" over HTTP/1.1");
        }
        Ok(Self {
            urls: [first, second],
            names,
            runs: Vec::new(),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(last) = self.runs.last() else {
            return Ok(());
        };
        for (index, report) in last.iter().enumerate() {
            let (number, name) = (index + 1, &self.names[index]);
            writeln!(out, "{number}: {name}\n   {}", report.carried())?;
        }
        let args = last[0].args;
        let repeats = count(self.runs.len(), "run");
        let load = last[0].mode();
        writeln!(
            out,
            "{repeats} of each, in turns: {} bytes, {load}\n",
            args.size
        )?;
        let (first, second) = ("1", "2");
        writeln!(
            out,
            "{:<22} {first:>12} {second:>12} {:>8}   range",
            "medians", "1 / 2"
        )?;
        for metric in METRICS {
            let median = |index| metric.median(&self.runs, index).map(metric.shown);
            let (Some(first), Some(second), Some(ratio)) =
                (median(0), median(1), metric.ratio(&self.runs))
            else {
                continue;
            };
            writeln!(
                out,
                "{:<22} {first:>12} {second:>12} {:>8.2}   {:.2} to {:.2}",
                metric.name, ratio.median, ratio.min, ratio.max
            )?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let side = |index: usize| {
            let runs = self.runs.iter().map(|pair| pair[index].json());
            json!({ "url": self.urls[index], "runs": runs.collect::<Vec<_>>() })
        };
        let ratios = METRICS.iter().map(|metric| {
            let ratio = metric
                .ratio(&self.runs)
                .map(|ratio| json!({ "median": ratio.median, "min": ratio.min, "max": ratio.max }));
            (metric.key.to_owned(), json!(ratio))
        });
        json!({
            "repeats": self.runs.len(),
            "first": side(0),
            "second": side(1),
            "ratios": ratios.collect::<serde_json::Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Median::of(Vec::new()), None);
        for (values, median, min, max) in [
            (&[2.0][..], 2.0, 2.0, 2.0),
            (&[3.0, 1.0], 2.0, 1.0, 3.0),
            (&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
        ] {
            let expected = Some(Median { median, min, max });
            assert_eq!(Median::of(values.to_vec()), expected);
        }
    }
}
