//! Where the program's servers listen, and how they end.

use std::io::Write;
use std::net::SocketAddr;

use h2ws::{Drained, Server, ServerBuilder};

use crate::Failure;
use crate::args::ListenArgs;
use crate::tls::Identity;

/// Binds as the command line says, and tells so on the first line of stdout.
pub(crate) async fn bind(builder: ServerBuilder, args: &ListenArgs) -> Result<Server, Failure> {
    let (builder, scheme) = if args.cleartext {
        (builder, "ws")
    } else {
        (builder.tls(identity(args)?.server_config()?), "wss")
    };
    let address = args.listen.unwrap_or(ListenArgs::DEFAULT);
    let server = bound(builder, address).await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening on {scheme}://{}", server.local_addr()?)?;
    stdout.flush()?;
    Ok(server)
}

pub(crate) async fn bound(builder: ServerBuilder, address: SocketAddr) -> Result<Server, Failure> {
    let bound = builder.bind(address).await;
    Ok(bound.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

pub(crate) fn identity(args: &ListenArgs) -> Result<Identity, Failure> {
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        return Identity::load(cert, key);
    }
    eprintln!("h2ws: no --cert: using a self-signed certificate for localhost");
    Identity::self_signed()
}

/// Tells of what had to be cut.
pub(crate) fn report(drained: Drained) {
    if drained != Drained::default() {
        eprintln!(
            "h2ws: cut {} sockets and {} connections that did not close in time",
            drained.sockets_cut, drained.connections_cut
        );
    }
}
