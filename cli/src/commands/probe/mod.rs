//! `h2ws probe`: reports a server's WebSocket support and its protocol violations.
//!
//! The library hides what the probe needs: SETTINGS as they were sent, the frames that end a stream,
//! certificates that are not trusted. So the probe makes its own connections, puts an observer below
//! the `h2` crate, and uses the library only for what does no I/O: handshakes and WebSocket frames.
//!
//! Files, from the bottom: `io` and `finding`; `facts`, the results; `observe`, `carrier` and `socket`,
//! which use one WebSocket; `refusal`, the body of an answer without one; `tls` and `connect`; `http2` and
//! `http1`, one HTTP version each; `advice` and `groups`, for the report of findings; `text`, `table` and
//! `json`, the reports.

mod advice;
mod carrier;
mod connect;
mod facts;
mod finding;
mod groups;
mod http1;
mod http2;
mod io;
mod json;
mod observe;
mod refusal;
mod socket;
mod table;
mod text;
mod tls;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use h2ws::handshake::DeflateConfig;
use h2ws::handshake::{Offer, Target};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use self::connect::Connector;
use self::facts::{Facts, Link, Verdict};
use self::finding::{Finding, Place};
use self::io::{H2, HTTP1};
use self::tls::TlsOptions;
use super::request::build;
use crate::args::{ConnectionArgs, ProbeArgs};
use crate::error::Failure;
use crate::terminal;

/// The user agent, unless `-H` sets one.
const AGENT: &str = concat!("h2ws-probe/", env!("CARGO_PKG_VERSION"));

/// The requests to one server, and the time limit.
pub(super) struct Options<'a> {
    pub(super) target: &'a Target,
    pub(super) headers: &'a HeaderMap,
    pub(super) offer: &'a Offer,
    /// Whether `Sec-WebSocket-Key` is sent over HTTP/2 too.
    pub(super) key: bool,
    /// Time limit of each step.
    pub(super) timeout: Duration,
}

pub(crate) async fn run(args: ProbeArgs) -> Result<ExitCode, Failure> {
    let timeout = Duration::from_secs_f64(args.timeout);
    let targets: Vec<Target> = args
        .urls
        .iter()
        .map(|url| args.connection.target(url))
        .collect::<Result<_, _>>()?;
    let (headers, offer) = (headers(&args.connection), offer(&args.connection));
    let verifier = args.connection.verifier()?;
    let tls = crate::tls::verified_by(verifier.clone(), args.connection.identity()?)?;
    let client = args
        .connection
        .client()
        .connect_timeout(timeout)
        .tls(tls.clone());
    let connector = Connector {
        client: build(client)?,
        connect_to: args.connect_to.clone(),
        tls: TlsOptions {
            config: tls,
            verifier,
            insecure: args.connection.insecure,
        },
        timeout,
    };
    let colors = args.color.at(std::io::stdout().is_terminal());
    let mut all = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        let options = Options {
            target,
            headers: &headers,
            offer: &offer,
            key: args.connection.websocket_key,
            timeout,
        };
        let mut facts = probe(&connector, &options).await;
        facts.findings.sort_by_key(|found| found.place);
        if !args.json {
            let mut out = terminal::stdout();
            if index > 0 {
                writeln!(out)?;
            }
            out.write_styled(&text::report(&facts, &offer), colors)?;
        }
        all.push(facts);
    }
    let worst = all.iter().map(Facts::verdict).max();
    let status = worst.unwrap_or(Verdict::None).exit_status();
    if args.json {
        let results = all.iter().map(|facts| json::report(facts, &offer));
        let object = serde_json::json!({
            "exit_status": status,
            "results": results.collect::<Vec<_>>(),
        });
        writeln!(terminal::stdout(), "{object:#}")?;
    } else if all.len() > 1 {
        let mut out = terminal::stdout();
        writeln!(out)?;
        out.write_styled(&table::table(&all), colors)?;
    }
    Ok(ExitCode::from(status))
}

/// Probes one server, over at most two connections.
async fn probe(connector: &Connector, options: &Options<'_>) -> Facts {
    let mut facts = Facts::new(options.target.clone());
    if let Err(finding) = connector.resolve(&mut facts).await {
        facts.findings.push(finding.at(Place::Connection));
        return facts;
    }
    let mut link = Link::default();
    let io = connector.connect(&facts, &[H2, HTTP1], &mut link).await;
    let alpn = link.tls.as_ref().map(|tls| tls.alpn.clone());
    facts.first = Some(link);
    let io = match io {
        Ok(io) => io,
        Err(finding) => {
            facts.findings.push(finding.at(Place::Connection));
            return facts;
        }
    };
    match alpn {
        Some(picked) if picked.as_deref() != Some(H2) => {
            let finding = Finding::Alpn(picked);
            facts.findings.push(finding.at(Place::Http2));
            http1::probe(io, options, &mut facts).await;
            return facts;
        }
        // Without TLS there is no ALPN: HTTP/2 with prior knowledge (RFC 9113 §3.3).
        _ => http2::probe(io, options, &mut facts).await,
    }
    let mut link = Link::default();
    let io = connector.connect(&facts, &[HTTP1], &mut link).await;
    facts.second = Some(link);
    match io {
        Ok(io) => http1::probe(io, options, &mut facts).await,
        Err(finding) => facts.findings.push(finding.at(Place::Http1)),
    }
    facts
}

fn headers(args: &ConnectionArgs) -> HeaderMap {
    let mut headers = args.headers();
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(AGENT));
    headers
}

/// Offers compression always, to see the server's answer.
fn offer(args: &ConnectionArgs) -> Offer {
    let offer = Offer::default().deflate(&DeflateConfig::default());
    args.subprotocol.iter().fold(offer, Offer::subprotocol)
}
