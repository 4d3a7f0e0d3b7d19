//! The command line: one file per command, and one per group of options that commands share.
//!
//! A doc comment here is the text of `--help`. Each has one paragraph, so that `-h` and `--help`
//! print the same compact list. Every option has a heading, in the order in which they are to
//! appear; the headings are constants, because two commands use the same word for the same thing.
//! Every command ends with examples, which `tests/program/help.rs` runs.

mod bench;
mod bridge;
mod certificate;
mod connect;
mod demo;
mod generate;
mod health;
mod help;
mod listen;
mod log;
mod probe;
mod request;
mod serve;
mod tcp;
mod tunnel;
mod values;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand};

pub(crate) use self::bench::BenchArgs;
pub(crate) use self::bridge::BridgeArgs;
pub(crate) use self::certificate::CertificateArgs;
pub(crate) use self::connect::{ConnectArgs, Encoding};
pub(crate) use self::demo::DemoArgs;
pub(crate) use self::generate::{CompletionsArgs, ManArgs};
pub(crate) use self::health::HealthArgs;
pub(crate) use self::help::{HelpArgs, TOPICS};
pub(crate) use self::listen::ListenArgs;
pub(crate) use self::log::{LogArgs, LogFormat};
pub(crate) use self::probe::ProbeArgs;
pub(crate) use self::request::{ConnectionArgs, RequestArgs, VersionArgs};
pub(crate) use self::serve::ServeArgs;
pub(crate) use self::tcp::TcpArgs;
pub(crate) use self::tunnel::{At, TunnelArgs};
pub(crate) use self::values::{ColorChoice, SecondsOrNone};

const ACCESS: &str = "Access control";
const BY_HAND: &str = "At a terminal";
const CONNECTION: &str = "Connection";
const FORWARDING: &str = "Forwarding headers";
const GLOBAL: &str = "Global options";
const HTTP: &str = "HTTP version";
const LIMITS: &str = "Limits";
const LISTENING: &str = "Listening";
const LOAD: &str = "Load";
const LOGGING: &str = "Logging and metrics";
const MESSAGES: &str = "Messages";
const OUTPUT: &str = "Output";
const PROCESS: &str = "Process";
const PROXY: &str = "Proxy";
const REQUEST: &str = "Request";
const TCP: &str = "TCP";
const TIMEOUTS: &str = "Timeouts";
const TLS: &str = "TLS";
const UPSTREAM: &str = "Upstream";
const UPSTREAM_TLS: &str = "TLS to the upstream";
const WEBSOCKET: &str = "WebSocket";

#[derive(Debug, Parser)]
#[command(
    name = "h2ws",
    version = env!("H2WS_VERSION"),
    about = "WebSockets over HTTP/2 (RFC 8441), with HTTP/1.1 Upgrade (RFC 6455) as the fallback",
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Commands",
    max_term_width = 100,
    after_help = "\
Topics of `h2ws help`:
  versions, proxies, tls, troubleshooting

Exit status:
  0    done
  1    failed
  2    bad usage, or a configuration file with errors
  3    probe: WebSockets work over HTTP/1.1 but not over HTTP/2; bridge --check: no errors, but
       clients reject a certificate
  130  stopped by Ctrl-C (143: by SIGTERM); `serve` and `bridge` drain and exit with 0

Examples:
  h2ws demo --sockets 200
  h2ws help bridge
  h2ws help tls"
)]
pub(crate) struct Args {
    /// Log more to stderr (-v: debug, -vv: dependencies too); RUST_LOG overrides this
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = GLOBAL)]
    pub(crate) verbose: u8,
    /// Print help
    #[arg(short, long, action = ArgAction::Help, global = true, help_heading = GLOBAL)]
    help: Option<bool>,
    /// Print version
    #[arg(short = 'V', long, action = ArgAction::Version, global = true, help_heading = GLOBAL)]
    version: Option<bool>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a self-contained demo: 1,000 WebSockets over one TCP connection
    #[command(after_help = demo::EXAMPLES)]
    Demo(DemoArgs),
    /// Run an echo server, with a page for browsers
    #[command(after_help = serve::EXAMPLES)]
    Serve(ServeArgs),
    /// Run a reverse proxy: accept WebSockets over HTTP/2 and HTTP/1.1, forward them to a ws://,
    /// wss:// or tcp:// upstream
    #[command(after_help = bridge::EXAMPLES)]
    Bridge(Box<BridgeArgs>),
    /// Connect to a WebSocket by hand, or with stdin and stdout: send each line as a text message,
    /// print the messages that arrive
    #[command(after_help = connect::EXAMPLES)]
    Connect(Box<ConnectArgs>),
    /// Tunnel TCP connections, or stdin and stdout, to a tcp:// upstream of `h2ws bridge`
    #[command(after_help = tunnel::EXAMPLES)]
    Tunnel(Box<TunnelArgs>),
    /// Probe servers: report their WebSocket support and protocol violations
    #[command(after_help = probe::EXAMPLES)]
    Probe(ProbeArgs),
    /// Load-test an echo server
    #[command(after_help = bench::EXAMPLES)]
    Bench(BenchArgs),
    /// Check a running bridge: exit with 0 if it is alive, for health checks of containers
    #[command(after_help = health::EXAMPLES)]
    Health(HealthArgs),
    /// Write certificates for development: a certificate authority, and one for a server
    #[command(after_help = certificate::EXAMPLES)]
    Certificate(CertificateArgs),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = generate::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write man pages to a directory
    #[command(after_help = generate::MAN)]
    Man(ManArgs),
    /// Print the help of a command, or about a topic: versions, proxies, tls, troubleshooting
    #[command(after_help = help::EXAMPLES)]
    Help(HelpArgs),
}

impl Command {
    /// Returns the format of the logs, and whether the command is a service, which logs at level
    /// info without `-v`.
    pub(crate) fn logs(&self) -> (LogFormat, bool) {
        match self {
            // What `--check` prints is for people.
            Self::Bridge(args) if args.check => (LogFormat::Text, true),
            Self::Bridge(args) => (args.log.log_format.unwrap_or_default(), true),
            Self::Serve(args) => (args.log.log_format.unwrap_or_default(), true),
            _ => (LogFormat::Text, false),
        }
    }

    pub(crate) fn threads(&self) -> Option<u16> {
        match self {
            Self::Serve(args) => args.threads.threads,
            // It starts its other threads itself.
            Self::Bridge(_) => Some(1),
            Self::Bench(args) => args.threads.threads,
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub(crate) struct ThreadsArgs {
    /// Worker threads; 1 runs a single-threaded runtime. A bridge to HTTP/1.1 serves each connection
    /// by one of them [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = PROCESS)]
    threads: Option<u16>,
}

impl ThreadsArgs {
    pub(crate) fn number(self) -> Option<u16> {
        self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_option_has_a_heading() {
        let mut root = Args::command();
        root.build();
        for command in root.get_subcommands() {
            for option in command.get_opts() {
                let name = (command.get_name(), option.get_id());
                assert!(option.get_help_heading().is_some(), "{name:?}");
            }
        }
    }
}
