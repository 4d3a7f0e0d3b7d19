//! Where the program's servers listen, by which certificates, and how they end.

use std::io::Write;
use std::net::SocketAddr;

use h2ws::Server;
use h2ws::server::{ServerBuilder, ShutdownReport};
use h2ws::tls::ServerTls;

use crate::args::ListenArgs;
use crate::tls::ServerFiles;
use crate::{Failure, Usage, log, signals, terminal};

/// Binds as the command line says, and tells so on the first line of stdout.
pub(crate) async fn bind(mut builder: ServerBuilder, args: &ListenArgs) -> Result<Server, Failure> {
    if !args.cleartext {
        let files = files(args)?;
        let tls = ServerTls::new(files.load()?);
        builder = builder.tls(tls.clone());
        if files.is_any() {
            signals::on_hangup(move || reload(&files, &tls));
        }
    }
    if let Some(timeout) = args.connection_idle_timeout {
        builder = builder.idle_timeout(timeout.duration());
    }
    let server = bound(builder, args.listen.unwrap_or(ListenArgs::DEFAULT)).await?;
    let scheme = if args.cleartext { "ws" } else { "wss" };
    let mut stdout = terminal::stdout();
    writeln!(stdout, "listening on {scheme}://{}", server.local_addr()?)?;
    stdout.flush()?;
    Ok(server)
}

pub(crate) async fn bound(builder: ServerBuilder, address: SocketAddr) -> Result<Server, Failure> {
    let bound = builder.bind(address).await;
    Ok(bound.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

/// The files that the command line names; none for a self-signed certificate.
pub(crate) fn files(args: &ListenArgs) -> Result<ServerFiles, Failure> {
    if args.cert.len() != args.key.len() {
        return Err(Usage::options(&"each --cert needs its --key").into());
    }
    if args.cert.is_empty() {
        log::tell("no --cert: using a self-signed certificate for localhost");
    }
    Ok(ServerFiles {
        pairs: args
            .cert
            .iter()
            .cloned()
            .zip(args.key.iter().cloned())
            .collect(),
        client_ca: args.client_ca.clone(),
        client_cert_optional: args.client_cert_optional,
    })
}

/// New connections get what the files hold now, if it is good.
fn reload(files: &ServerFiles, tls: &ServerTls) {
    match files.load() {
        Ok(config) => {
            tls.replace(config);
            log::tell("certificates reloaded");
        }
        Err(error) => log::tell(format_args!(
            "certificates not reloaded, the old stay in use: {error}"
        )),
    }
}

/// So many of them, in words.
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Reports what had to be cut.
pub(crate) fn report(drained: ShutdownReport) {
    if drained != ShutdownReport::default() {
        log::tell(format_args!(
            "cut {} and {} that did not close in time",
            count(drained.sockets_cut, "socket"),
            count(drained.connections_cut, "connection"),
        ));
    }
}
