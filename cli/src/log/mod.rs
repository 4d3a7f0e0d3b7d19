//! Logs, and what else goes to stderr.

mod fields;
mod queue;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::fields::Logfmt;
use self::queue::Queue;
use crate::args::LogFormat;
use crate::terminal;

static LOG: OnceLock<Log> = OnceLock::new();

/// Where all that is said on stderr goes.
struct Log {
    /// Whether those who read stderr take JSON for granted.
    is_json: bool,
    /// None where there is no thread to be had.
    queue: Option<Queue>,
}

/// What the user is told, whatever is logged.
pub(crate) fn tell(text: impl Display) {
    match LOG.get() {
        Some(log) if log.is_json => tracing::warn!("{text}"),
        _ => say(text),
    }
}

/// Why the program ends.
pub(crate) fn tell_failure(text: impl Display) {
    match LOG.get() {
        Some(log) if log.is_json => tracing::error!("{text}"),
        _ => say(text),
    }
}

fn say(text: impl Display) {
    let mut line = format!("h2ws: {text}\n").into_bytes();
    if io::stderr().is_terminal() {
        line = terminal::shown(&line).into_owned();
    }
    // To a reader that is gone nothing can be said.
    let _ = stderr().write_all(&line);
}

/// Takes whole lines, and holds up nobody.
fn stderr() -> Box<dyn Write> {
    match LOG.get().and_then(|log| log.queue.clone()) {
        Some(queue) => Box::new(queue),
        None => Box::new(io::stderr()),
    }
}

/// To be called before the program ends: waits for the last lines, but for a
/// reader that does not read no longer than [`queue::LAST`].
pub(crate) fn flush() {
    if let Some(queue) = LOG.get().and_then(|log| log.queue.as_ref()) {
        queue.flush(queue::LAST);
    }
}

/// Ends the program, with its last lines.
pub(crate) fn exit(status: u8) -> ! {
    flush();
    std::process::exit(status.into())
}

/// Whether colours are wanted on stderr (<https://no-color.org>).
fn has_colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !unwanted
}

/// Warnings always, and what a service has to tell; more with each `-v`;
/// `RUST_LOG` in their stead.
pub(crate) fn init(verbose: u8, format: LogFormat, is_service: bool) {
    let lost = |lines| tracing::warn!(lines, "lines of the log were lost: stderr was not read");
    LOG.get_or_init(|| Log {
        is_json: format == LogFormat::Json,
        queue: Queue::start(io::stderr(), lost).ok(),
    });
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
            tell(format_args!("RUST_LOG is not understood: {error}"));
            default
        }
        Err(_) => default,
    };
    let output = tracing_subscriber::fmt::layer().with_writer(stderr);
    let output = match format {
        LogFormat::Text => output.with_ansi(has_colours()).fmt_fields(Logfmt).boxed(),
        LogFormat::Json => output.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(output)
        .with(filter)
        .init();
}
