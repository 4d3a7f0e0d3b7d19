//! Logs, on stderr.

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogFormat;

/// Whether those who read stderr take JSON for granted.
static JSON: AtomicBool = AtomicBool::new(false);

/// What whoever runs the program is told, whatever is logged.
pub(crate) fn tell(text: impl Display) {
    if JSON.load(Ordering::Relaxed) {
        tracing::warn!("{text}");
    } else {
        eprintln!("h2ws: {text}");
    }
}

/// Why the program ends.
pub(crate) fn tell_failure(text: impl Display) {
    if JSON.load(Ordering::Relaxed) {
        tracing::error!("{text}");
    } else {
        eprintln!("h2ws: {text}");
    }
}

/// Warnings always, and what a service has to tell; more with each `-v`;
/// `RUST_LOG` in their stead.
pub(crate) fn init(verbose: u8, format: LogFormat, is_service: bool) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let level = match verbose {
        0 if is_service => LevelFilter::INFO,
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below are of use only to those who look for a bug in them.
    let below = if verbose > 2 {
        level
    } else {
        LevelFilter::WARN
    };
    let default = Targets::new()
        .with_default(below)
        .with_target("h2ws", level);
    let filter = match std::env::var("RUST_LOG").map(|text| text.parse::<Targets>()) {
        Ok(Ok(targets)) => targets,
        Ok(Err(error)) => {
            eprintln!("h2ws: RUST_LOG is not understood: {error}");
            default
        }
        Err(_) => default,
    };
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let output = match format {
        LogFormat::Text => output.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => output.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(output)
        .with(filter)
        .init();
}
