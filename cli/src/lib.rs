//! The h2ws program: WebSockets over HTTP/2 from the command line.
//!
//! All of the program is here, and nothing for other programs: a library can be fuzzed, a program
//! cannot. The fuzz targets need none of the commands, which take minutes to compile with coverage.
#![cfg_attr(fuzzing, allow(dead_code, unused_imports, reason = "`main` uses them"))]

mod args;
mod commands;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod listener;
mod log;
#[cfg(target_os = "linux")]
mod memory;
mod progress;
#[cfg(unix)]
mod raw_terminal;
mod signals;
mod systemd;
mod terminal;
mod tls;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use self::args::{Args, Command};
use self::error::{CheckFailed, Failure, Stopped, Usage, with_causes};

/// Runs the program with the arguments of the process.
#[cfg(not(fuzzing))]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap returns help and version as errors too; those go to stdout and are a success.
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
    files::raise_limit();
    #[cfg(target_os = "linux")]
    memory::return_freed_pages();
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
            Command::Health(args) => unless_stopped(commands::health::run(args)).await,
            Command::Certificate(args) => commands::certificate::run(&args),
            Command::Help(args) => commands::help::run(&args).map_err(Failure::from),
            Command::Completions(args) => commands::generate::completions(args),
            Command::Man(args) => commands::generate::man(&args),
            Command::Bridge(args) => commands::bridge::run(*args).await,
            Command::Connect(args) => commands::connect::run(*args).await,
            Command::Tunnel(args) => commands::tunnel::run(*args).await,
            // Its exit status depends on the findings.
            Command::Probe(args) => return unless_stopped(commands::probe::run(args)).await,
            Command::Bench(args) => commands::bench::run(args).await,
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    // A read of stdin blocks a thread of the runtime until the user types a line. Do not wait for
    // it.
    runtime.shutdown_background();
    let status = match done {
        Ok(status) => status,
        // The user sent the signal, so there is nothing to report.
        Err(failure) if failure.is::<Stopped>() => ExitCode::FAILURE,
        Err(failure) if failure.is::<Usage>() => {
            fail(&failure);
            ExitCode::from(2)
        }
        Err(failure) if failure.is::<CheckFailed>() => {
            fail(&failure);
            ExitCode::from(3)
        }
        Err(failure) => fail(&failure),
    };
    log::flush();
    match signals::status() {
        Some(stopped) if !drains => ExitCode::from(stopped),
        _ => status,
    }
}

/// Runs a command that a signal may drop at any point.
async fn unless_stopped<T>(run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let stop = signals::stop();
    tokio::select! {
        done = run => done,
        () = stop => Err(Stopped.into()),
    }
}

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
    log::failure(with_causes(&**failure));
    ExitCode::FAILURE
}
