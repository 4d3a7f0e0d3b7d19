//! `h2ws serve`: an echo server.

use std::io::Write;
use std::sync::Arc;

use h2ws::handshake::{AllowedAuthorities, AllowedOrigins};
use h2ws::tls::ServerTls;
use h2ws::{DeflateConfig, Drained, Http2Config, Server};

use super::echo::echo;
use super::page::Page;
use crate::args::ServeArgs;
use crate::tls::ServerFiles;
use crate::{Failure, signals};

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let http2 = Http2Config::default()
        .max_concurrent_streams(args.max_streams)
        .stream_window(args.stream_window);
    let mut builder = Server::builder()
        .http2(http2)
        .max_connections(args.max_connections)
        .extended_connect(!args.no_extended_connect);
    if args.deflate {
        builder = builder.deflate(DeflateConfig::default());
    }
    if !args.allow_origin.is_empty() {
        builder = builder.allowed_origins(AllowedOrigins::parse(&args.allow_origin)?);
    }
    if !args.allow_host.is_empty() {
        builder = builder.allowed_authorities(AllowedAuthorities::parse(&args.allow_host)?);
    }
    if !args.cleartext {
        let files = files(&args)?;
        let tls = ServerTls::new(files.load()?);
        builder = builder.tls(tls.clone());
        if files.is_any() {
            signals::on_hangup(move || reload(&files, &tls));
        }
    }
    let server = builder
        .bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let scheme = if args.cleartext { "ws" } else { "wss" };
    announce(&format!("{scheme}://{}", server.local_addr()?))?;
    let subprotocols: Arc<[String]> = args.subprotocol.into();
    let drained = server
        .serve(move |request| {
            let subprotocols = subprotocols.clone();
            async move { echo(request, &subprotocols).await }
        })
        .fallback(Page)
        .with_graceful_shutdown(signals::stop())
        .await?;
    if drained != Drained::default() {
        eprintln!(
            "h2ws: cut {} sockets and {} connections that did not close in time",
            drained.sockets_cut, drained.connections_cut
        );
    }
    Ok(())
}

fn files(args: &ServeArgs) -> Result<ServerFiles, Failure> {
    if args.cert.len() != args.key.len() {
        return Err("each --cert needs its --key".into());
    }
    if args.cert.is_empty() {
        eprintln!("h2ws: no --cert: using a self-signed certificate for localhost");
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
            eprintln!("h2ws: certificates reloaded");
        }
        Err(error) => eprintln!("h2ws: certificates not reloaded, the old stay in use: {error}"),
    }
}

/// Tells, on the first line of stdout, where the program listens.
fn announce(url: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening on {url}")?;
    stdout.flush()
}
