//! `h2ws demo`: a client, a bridge and a backend in one process, over real TLS and TCP.
//!
//! To the client, every WebSocket is a stream of one HTTP/2 connection. To the backend, each is an
//! HTTP/1.1 connection of its own, upgraded as in RFC 6455.

mod own;
mod report;
mod servers;
mod sockets;

use std::io::Write;
use std::sync::atomic::Ordering;

use h2ws::Client;

use self::report::Report;
use self::servers::{Backend, Front};
use self::sockets::EchoCounter;
use crate::args::DemoArgs;
use crate::error::Failure;
use crate::{files, terminal, tls};

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    // Each needs a connection between bridge and backend, both ends of which are in this process.
    files::check_limit(args.sockets, 2)?;
    let identity = tls::self_signed()?;
    let backend = Backend::start(&args).await?;
    let Front { address, server } = servers::bridge(&args, &identity, &backend).await?;
    let url = format!("wss://localhost:{}/echo", address.port());
    if !args.json {
        writeln!(
            terminal::stdout(),
            "echo server: {} (RFC 6455 only)\n\
             bridge:      {url} (self-signed certificate)",
            backend.url()
        )?;
    }
    let trusting = tls::trusting(&identity)?;
    let client = Client::builder().tls(trusting.clone()).build()?;
    let counter = EchoCounter::new(args.cut_after, server);
    let outcome = sockets::run(&args, &client, &url, &counter).await?;
    let (connections, upgraded) = (
        client.connections(),
        backend.upgraded.load(Ordering::Relaxed),
    );
    let own = match outcome.failure {
        None => own::measure(&args, trusting, &url).await?,
        Some(_) => None,
    };
    let report = Report {
        args: &args,
        outcome: &outcome,
        connections,
        upgraded,
        own,
    };
    if args.json {
        writeln!(terminal::stdout(), "{}", report.json())?;
    } else {
        report.print()?;
    }
    report.verdict()?;
    if args.keep {
        writeln!(
            terminal::stdout(),
            "\nstill running: open https://localhost:{}/ in a browser and accept the self-signed \
             certificate\npress Ctrl-C to stop",
            address.port()
        )?;
        // A signal drops this future.
        std::future::pending::<()>().await;
    }
    if !args.json {
        Report::print_next()?;
    }
    Ok(())
}
