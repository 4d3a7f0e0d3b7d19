//! `h2ws serve`: an echo server.

use std::sync::Arc;

use h2ws::config::{ProcessBuffer, TcpConfig};
use h2ws::handshake::DeflateConfig;
use h2ws::handshake::{AllowedHosts, AllowedOrigins};
use h2ws::{Http2Config, Server};

use super::echo::echo;
use super::listen;
use super::page::Page;
use crate::args::ServeArgs;
use crate::error::{Failure, Usage};
use crate::signals;

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    if let Some(bytes) = args.process_buffer {
        ProcessBuffer::default().set_limit(bytes);
    }
    let http2 = Http2Config::default()
        .max_concurrent_streams(args.max_concurrent_streams)
        .stream_window(args.stream_window);
    let mut builder = Server::builder()
        .http2(http2)
        .tcp(args.tcp.over(TcpConfig::default()))
        .max_connections(args.max_connections)
        .max_connections_per_client(args.max_connections_per_client)
        .extended_connect(!args.no_extended_connect);
    if args.deflate {
        builder = builder.deflate(DeflateConfig::default());
    }
    if !args.allow_origin.is_empty() {
        let origins = AllowedOrigins::parse(&args.allow_origin);
        let origins = origins.map_err(|error| Usage::option("--allow-origin", &error))?;
        builder = builder.allowed_origins(origins);
    }
    if !args.allow_host.is_empty() {
        let hosts = AllowedHosts::parse(&args.allow_host);
        let hosts = hosts.map_err(|error| Usage::option("--allow-host", &error))?;
        builder = builder.allowed_hosts(hosts);
    }
    // Must come before the program announces itself: a signal may follow at once.
    let stop = signals::drain();
    let server = listen::bind(builder, &args.listen).await?;
    let subprotocols: Arc<[String]> = args.subprotocol.into();
    let drained = server
        .serve(move |request| echo(request, subprotocols.clone()))
        .fallback(Page)
        .with_graceful_shutdown(stop)
        .await?;
    listen::report(drained);
    Ok(())
}
