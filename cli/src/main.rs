//! The h2ws program: WebSockets over HTTP/2 from the command line.

mod args;
mod commands;
mod files;
mod log;
#[cfg(target_os = "linux")]
mod memory;
mod signals;
mod terminal;
mod tls;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use self::args::{Args, Command};

/// What a command ends with when it fails; printed with its causes.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the command line says cannot be meant, although its form is right.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    /// All that is wrong with a file.
    pub(crate) fn all(mistakes: &dyn std::fmt::Display) -> Self {
        Self(mistakes.to_string())
    }

    /// What is wrong with this option.
    pub(crate) fn of(option: &str, error: &dyn std::fmt::Display) -> Self {
        Self::options(&format_args!("{option}: {error}"))
    }

    /// What is wrong with options that are named, or with several together.
    pub(crate) fn options(error: &dyn std::fmt::Display) -> Self {
        Self(format!("{error}\n\nFor more information, try '--help'."))
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no mistakes (exit 0), bad usage is (2).
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let (format, is_service) = args.command.logs();
    log::init(args.verbose, format, is_service);
    files::allow_all();
    #[cfg(target_os = "linux")]
    memory::give_back();
    let runtime = match runtime(args.command.threads()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let status = fail(&error.into());
            log::flush();
            return status;
        }
    };
    let drains = matches!(args.command, Command::Serve(_) | Command::Bridge(_));
    let done = runtime.block_on(async {
        let done = match args.command {
            Command::Demo(args) => unless_stopped(commands::demo::run(args)).await,
            Command::Serve(args) => commands::serve::run(args).await,
            Command::Bridge(args) => commands::bridge::run(*args).await,
            Command::Connect(args) => commands::connect::run(args).await,
            // Its status says what was found.
            Command::Probe(args) => return unless_stopped(commands::probe::run(args)).await,
            Command::Bench(args) => commands::bench::run(args).await,
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    // Reading stdin blocks a thread of the runtime for as long as a terminal
    // is silent; the program need not wait for it.
    runtime.shutdown_background();
    let status = match done {
        Ok(status) => status,
        // The user knows that it was stopped.
        Err(failure) if failure.is::<Stopped>() => ExitCode::FAILURE,
        Err(failure) if failure.is::<Usage>() => {
            fail(&failure);
            ExitCode::from(2)
        }
        Err(failure) => fail(&failure),
    };
    log::flush();
    match signals::status() {
        Some(stopped) if !drains => ExitCode::from(stopped),
        _ => status,
    }
}

/// Ends what can be left at any time by a signal.
async fn unless_stopped<T>(run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let stop = signals::stop();
    tokio::select! {
        done = run => done,
        () = stop => Err(Stopped.into()),
    }
}

/// A signal came before it was done.
#[derive(Debug)]
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Stopped {}

fn runtime(threads: Option<u16>) -> std::io::Result<Runtime> {
    let mut builder = match threads {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = threads {
        builder.worker_threads(threads.into());
    }
    builder.enable_all().build()
}

fn fail(failure: &Failure) -> ExitCode {
    let mut all = failure.to_string();
    let mut said = all.clone();
    let mut source = failure.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !said.contains(&text) {
            all = format!("{all}: {text}");
            said = text;
        }
        source = cause.source();
    }
    log::tell_failure(all);
    ExitCode::FAILURE
}
