//! Everything that goes to stderr: logs, notices and the error that ends the program.
//!
//! All of it passes through one [`Queue`], so that a reader of stderr that has stopped cannot stall
//! the program. Nothing else may write to stderr.

mod access;
mod fields;
mod limit;
mod queue;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use self::access::{AccessLog, set_format};
pub(crate) use self::limit::{DEFAULT as DEFAULT_LIMIT, set_limit};

use self::access::Lines;
use self::fields::Fields;
use self::limit::Limit;
use self::queue::Queue;
use crate::args::{ColorChoice, LogFormat};
use crate::{progress, terminal};

static LOG: OnceLock<Log> = OnceLock::new();

/// Whether every line must be JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

struct Log {
    /// `None` if its thread could not be started; lines are then written directly.
    queue: Option<Queue>,
}

fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Sets the format of all further lines. To be called before there are connections: their spans
/// have what the format needs.
pub(crate) fn set_log_format(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Returns a line about `url` that a program prints when it starts: `text`, or an object with
/// `message`, if all lines are objects.
pub(crate) fn startup_line(text: String, message: &str, url: &str) -> String {
    if !is_json() {
        return text;
    }
    let mut time = String::new();
    // Fails only if the string does.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let target = env!("CARGO_CRATE_NAME");
    let line = serde_json::json!({
        "timestamp": time, "level": "INFO", "message": message, "url": url, "target": target,
    });
    line.to_string()
}

/// Prints a notice, whatever the log level.
pub(crate) fn notice(text: impl Display) {
    match LOG.get() {
        Some(_) if is_json() => tracing::warn!("{text}"),
        _ => print(text),
    }
}

/// Prints the error that ends the program.
pub(crate) fn failure(text: impl Display) {
    match LOG.get() {
        Some(_) if is_json() => tracing::error!("{text}"),
        _ => print(text),
    }
}

fn print(text: impl Display) {
    let mut line = format!("h2ws: {text}\n").into_bytes();
    if io::stderr().is_terminal() {
        line = terminal::escaped(&line).into_owned();
    }
    // There is nowhere to report that stderr is closed.
    let _ = stderr().write_all(&line);
}

/// Returns a writer for whole lines, which does not block.
fn stderr() -> Box<dyn Write> {
    match LOG.get().and_then(|log| log.queue.clone()) {
        Some(queue) => Box::new(queue),
        None => Box::new(progress::Stderr),
    }
}

/// Waits until all lines are written, at most for [`queue::FLUSH_LIMIT`]. Called before the program
/// exits.
pub(crate) fn flush() {
    limit::finish();
    if let Some(queue) = LOG.get().and_then(|log| log.queue.as_ref()) {
        queue.flush(queue::FLUSH_LIMIT);
    }
}

/// Restores the terminal, flushes and exits.
pub(crate) fn exit(status: u8) -> ! {
    #[cfg(unix)]
    crate::raw_terminal::restore();
    flush();
    std::process::exit(status.into())
}

/// Whether stderr is a terminal and the user has not turned colors off.
fn use_colors() -> bool {
    ColorChoice::Auto.at(io::stderr().is_terminal())
}

/// Starts logging: warnings, and level info for services; more with each `-v`. `RUST_LOG` overrides
/// all of this.
pub(crate) fn init(verbose: u8, format: LogFormat, is_service: bool) {
    let lost = |lines| tracing::warn!(lines, "log lines were dropped: stderr was not read");
    set_log_format(format);
    LOG.get_or_init(|| Log {
        queue: Queue::start(progress::Stderr, lost).ok(),
    });
    let level = match verbose {
        0 if is_service => LevelFilter::INFO,
        0 => LevelFilter::WARN,
        _ => LevelFilter::DEBUG,
    };
    // The libraries that this one is built on log much, and of interest only to their developers.
    let dependencies = if verbose > 1 {
        level
    } else {
        LevelFilter::WARN
    };
    let default = Targets::new()
        .with_default(dependencies)
        .with_target("h2ws", level);
    let filter = match std::env::var("RUST_LOG").map(|text| text.parse::<Targets>()) {
        Ok(Ok(targets)) => targets,
        Ok(Err(error)) => {
            notice(format_args!("invalid RUST_LOG is ignored: {error}"));
            default
        }
        Err(_) => default,
    };
    let output = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(use_colors())
        .fmt_fields(Fields::default())
        .map_event_format(Lines::new);
    tracing_subscriber::registry()
        .with(output)
        .with(Limit)
        .with(filter)
        .init();
}
