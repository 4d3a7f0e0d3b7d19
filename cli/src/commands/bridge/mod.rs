//! `h2ws bridge`: takes sockets on to a server behind it.

use std::time::Duration;

use h2ws::handshake::AllowedOrigins;
use h2ws::{Bridge, BridgeBuilder, Client, Http2Config, Server};

use super::listen;
use super::request::shutdown;
use crate::args::BridgeArgs;
use crate::{Failure, Usage, signals, tls};

/// Longer than the bridge waits for an upstream, which is what says 504.
const ANSWER: Duration = Duration::from_secs(60);

/// HTTP/2 connections to one upstream.
const CONNECTIONS: usize = 1024;

pub(crate) async fn run(args: BridgeArgs) -> Result<(), Failure> {
    let bridge = bridge(&args)?;
    let http2 = Http2Config::default().max_concurrent_streams(args.max_streams);
    let builder = Server::builder()
        .http2(http2)
        .answer_timeout(ANSWER)
        .max_connections(args.max_sockets);
    // Before anybody is told that the program is there.
    let stop = signals::stop();
    let server = listen::bind(builder, &args.listen).await?;
    let drained = server
        .serve(bridge.handler())
        .with_graceful_shutdown(stop)
        .await?;
    listen::report(drained);
    shutdown(bridge.client()).await;
    Ok(())
}

impl BridgeArgs {
    fn scheme(&self) -> String {
        let scheme = self.to.split_once("://").map_or("", |(scheme, _)| scheme);
        scheme.to_ascii_lowercase()
    }
}

fn bridge(args: &BridgeArgs) -> Result<Bridge, Failure> {
    let mut builder = Bridge::to(&args.to)
        .upstream_version(args.upstream.version())
        .upstream_host(args.upstream_host)
        .trust_forwarded(args.trust_forwarded)
        .idle_timeout(args.idle_timeout.map(Duration::from_secs_f64))
        .max_sockets(args.max_sockets);
    builder = origins(builder, args)?;
    if let Some(config) = upstream_tls(args)? {
        let client = Client::builder().tls(config).max_connections(CONNECTIONS);
        builder = builder.client(client.build()?);
    }
    Ok(builder.build().map_err(|error| Usage::of("--to", &error))?)
}

fn origins(builder: BridgeBuilder, args: &BridgeArgs) -> Result<BridgeBuilder, Failure> {
    if args.allow_any_origin {
        return Ok(builder.allowed_origins(AllowedOrigins::any()));
    }
    if args.allow_origin.is_empty() {
        if args.scheme() == "tcp" {
            let text = "whose pages may open sockets to a tcp target? --allow-origin ORIGIN says it, \
                        --allow-any-origin if any may";
            return Err(Usage::of("--to", &text).into());
        }
        return Ok(builder);
    }
    let origins = AllowedOrigins::parse(&args.allow_origin)
        .map_err(|error| Usage::of("--allow-origin", &error))?;
    Ok(builder.allowed_origins(origins))
}

/// How TLS to the upstream goes; `None` where there is none, for cleartext
/// works on a machine that trusts nobody.
fn upstream_tls(args: &BridgeArgs) -> Result<Option<rustls::ClientConfig>, Failure> {
    let secure = matches!(&args.scheme()[..], "wss" | "https");
    Ok(match (secure, args.upstream_insecure) {
        (false, _) => None,
        (true, insecure) => Some(tls::verified_by(tls::verifier(insecure, None)?, None)?),
    })
}
