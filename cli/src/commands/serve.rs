//! `h2ws serve`: an echo server.

use std::sync::Arc;
use std::time::Duration;

use h2ws::config::{ProcessBuffer, TcpConfig};
use h2ws::handshake::DeflateConfig;
use h2ws::handshake::{AllowedHosts, AllowedOrigins};
use h2ws::{Http2Config, Server};

use super::echo::echo;
use super::listen;
use super::page::Page;
use crate::args::ServeArgs;
use crate::error::{Failure, Usage};
use crate::listener::{Listeners, Runtimes, Versions};
use crate::{log, signals, systemd, tls};

/// Maximum duration of a drain; `--help` names it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    args.log.apply(None, None);
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
    if let Some(timeout) = args.listen.connection_idle_timeout {
        builder = builder.idle_timeout(timeout.duration());
    }
    // Must come before the program announces itself: a signal may follow at once.
    let stop = signals::drain();
    let mut configs = listen::listeners(&args.listen)?;
    if let Some(address) = &args.listen_http1 {
        configs.push(listen::http1(&args.listen, address)?);
    }
    listen::check_addresses(&configs, None)?;
    listen::warn_if_self_signed(&configs);
    tls::warn_of(&args.listen.cert);
    let listeners = Listeners::bind(
        &configs,
        &builder,
        args.listen.reuse_port,
        &Runtimes::default(),
    )
    .await?;
    let certificates = listeners.certificates();
    if args.listen.client_ca.is_some() || !args.listen.cert.is_empty() {
        let files = args.listen.cert.clone();
        signals::on_hangup(move || {
            systemd::reloading();
            tls::warn_of(&files);
            let reloaded = certificates.reload(&configs);
            if !reloaded.is_empty() {
                log::notice(format_args!(
                    "certificates reloaded: {}",
                    reloaded.join(", ")
                ));
            }
            systemd::ready();
        });
    }
    listeners.announce([])?;
    systemd::ready();
    systemd::watch();
    let stop = async {
        stop.await;
        systemd::stopping();
        tracing::info!("draining");
    };
    let subprotocols: Arc<[String]> = args.subprotocol.into();
    let http1_port = listeners.http1_port();
    let serve = |server: Server, versions| {
        let subprotocols = subprotocols.clone();
        let handler = move |request| echo(request, subprotocols.clone());
        server.serve(handler).fallback(match versions {
            Versions::Both => Page::Whole { http1_port },
            Versions::Http1 => Page::Http1Port,
        })
    };
    let drained = listeners.serve(serve, DRAIN_TIMEOUT, stop).await;
    listen::report_cut(drained);
    listen::report_end();
    Ok(())
}
