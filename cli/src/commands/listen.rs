//! What `serve` and `bridge` share: listening, certificates, and the report of a shutdown.

use std::io::Write;
use std::net::SocketAddr;

use h2ws::Server;
use h2ws::server::{ServerBuilder, ShutdownReport};
use h2ws::tls::ServerTls;

use super::text::count;
use crate::args::ListenArgs;
use crate::error::{Failure, Usage, with_causes};
use crate::tls::ServerFiles;
use crate::{log, signals, terminal};

/// Listens as the options say, and prints the URL as the first line of stdout.
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

/// Returns the files that the options name; none for a self-signed certificate.
pub(crate) fn files(args: &ListenArgs) -> Result<ServerFiles, Failure> {
    if args.cert.len() != args.key.len() {
        return Err(Usage::options(&"there must be one --key per --cert").into());
    }
    if args.cert.is_empty() {
        log::notice(
            "no --cert: using a self-signed certificate for localhost, which clients reject unless \
             told otherwise (such as by --insecure)",
        );
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

/// Uses the current contents of the files for new connections, if they are valid.
fn reload(files: &ServerFiles, tls: &ServerTls) {
    match files.load() {
        Ok(config) => {
            tls.replace(config);
            log::notice("certificates reloaded");
        }
        Err(error) => log::notice(format_args!(
            "certificates not reloaded, the old ones stay in use: {}",
            with_causes(&*error)
        )),
    }
}

/// Reports connections that did not close within the drain timeout.
pub(crate) fn report(drained: ShutdownReport) {
    if drained != ShutdownReport::default() {
        log::notice(format_args!(
            "dropped {} and {} that did not close in time",
            count(drained.sockets_cut, "WebSocket"),
            count(drained.connections_cut, "connection"),
        ));
    }
}
