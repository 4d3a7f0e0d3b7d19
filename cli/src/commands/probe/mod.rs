//! `h2ws probe`: what a server can do, and who is to blame for what it cannot.
//!
//! The library's sockets hide what is asked for here: SETTINGS as they came, the
//! frames that end a stream, certificates that are not trusted. So the probe has
//! a way of its own to the server, puts an observer under the `h2` crate, and
//! uses the library for what is pure: handshakes and frames.

mod carrier;
mod connect;
mod facts;
mod finding;
mod http1;
mod http2;
mod json;
mod observe;
mod socket;
mod text;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use h2ws::handshake::DeflateConfig;
use h2ws::handshake::{Offer, Target};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use self::connect::{H2, HTTP1, Way};
use self::facts::{Facts, Link, Verdict};
use self::finding::{Finding, Place};
use super::request::build;
use crate::args::{ProbeArgs, WayArgs};
use crate::{Failure, terminal};

/// Who we are, for those who read their logs.
const AGENT: &str = concat!("h2ws-probe/", env!("CARGO_PKG_VERSION"));

/// What is asked of a server.
pub(super) struct Ask<'a> {
    pub(super) target: &'a Target,
    pub(super) headers: &'a HeaderMap,
    pub(super) offer: &'a Offer,
    /// Whether a key is sent over HTTP/2, too.
    pub(super) key: bool,
    /// Of each step.
    pub(super) timeout: Duration,
}

pub(crate) async fn run(args: ProbeArgs) -> Result<ExitCode, Failure> {
    let timeout = Duration::from_secs_f64(args.timeout);
    for target in &args.targets {
        args.way.check(target)?;
    }
    let (headers, offer) = (headers(&args.way), offer(&args.way));
    let verifier = args.way.verifier()?;
    let tls = crate::tls::verified_by(verifier.clone(), args.way.identity()?)?;
    let client = args.way.client().connect_timeout(timeout).tls(tls.clone());
    let way = Way {
        client: build(client)?,
        tls,
        verifier,
        insecure: args.way.insecure,
        timeout,
    };
    let mut worst = Verdict::Http2;
    let mut results = Vec::new();
    for (index, target) in args.targets.iter().enumerate() {
        let ask = Ask {
            target,
            headers: &headers,
            offer: &offer,
            key: args.way.websocket_key,
            timeout,
        };
        let mut facts = probe(&way, &ask).await;
        facts.findings.sort_by_key(|found| found.place);
        worst = worst.max(facts.verdict());
        if args.json {
            results.push(json::report(&facts, &offer));
        } else {
            let apart = if index > 0 { "\n" } else { "" };
            let report = text::report(&facts, &offer);
            write!(terminal::stdout(), "{apart}{report}")?;
        }
    }
    if args.json {
        let all = serde_json::json!({
            "exit_status": worst.exit_status(),
            "results": results,
        });
        writeln!(terminal::stdout(), "{all:#}")?;
    }
    Ok(ExitCode::from(worst.exit_status()))
}

/// One server, over at most two connections.
async fn probe(way: &Way, ask: &Ask<'_>) -> Facts {
    let mut facts = Facts::new(ask.target.clone());
    if let Err(finding) = way.resolve(&mut facts).await {
        facts.findings.push(finding.at(Place::Connection));
        return facts;
    }
    let mut link = Link::default();
    let io = way.connect(&facts, &[H2, HTTP1], &mut link).await;
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
            http1::probe(io, ask, &mut facts).await;
            return facts;
        }
        // Without TLS there is no ALPN, but prior knowledge (RFC 9113 §3.3).
        _ => http2::probe(io, ask, &mut facts).await,
    }
    let mut link = Link::default();
    let io = way.connect(&facts, &[HTTP1], &mut link).await;
    facts.second = Some(link);
    match io {
        Ok(io) => http1::probe(io, ask, &mut facts).await,
        Err(finding) => facts.findings.push(finding.at(Place::Http1)),
    }
    facts
}

fn headers(way: &WayArgs) -> HeaderMap {
    let mut headers = way.headers();
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(AGENT));
    headers
}

/// Compression is always offered, to see what becomes of it.
fn offer(way: &WayArgs) -> Offer {
    let offer = Offer::default().deflate(&DeflateConfig::default());
    way.subprotocol.iter().fold(offer, Offer::subprotocol)
}
