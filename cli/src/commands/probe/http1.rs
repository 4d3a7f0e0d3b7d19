//! Probes HTTP/1.1: one Upgrade (RFC 6455 §4) on a connection of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2ws::handshake::{Key, Negotiated, upgrade};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Options;
use super::carrier::Carrier;
use super::facts::{Ending, Facts, Socket};
use super::finding::{Finding, Place, Step};
use super::http2::{opening, rejected, store_negotiated};
use super::io::BoxIo;
use super::refusal::first_line;
use super::socket::{Conversation, Depth, random};
use crate::error::with_causes;

/// How long the server may take to close the connection after the closing handshake.
const ENDING: Duration = Duration::from_secs(2);
/// Maximum size of an answer's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Probes the HTTP/1.1 server at the other end of `io`, and stores the results in `facts`.
pub(super) async fn probe(io: BoxIo, options: &Options<'_>, facts: &mut Facts) {
    let place = Place::Http1;
    let mut socket = Socket::new(place);
    match open(io, options, &mut socket).await {
        Ok((mut carrier, negotiated)) => {
            let found = Conversation::new(&mut carrier, &negotiated, &mut socket, options.timeout)
                .run(Depth::Full)
                .await;
            let found = found.into_iter().map(|finding| finding.at(place));
            facts.findings.extend(found);
            if socket.close.is_some() {
                let ending = ending(&mut carrier, options.timeout.min(ENDING)).await;
                socket.ending = Some(ending);
                if ending == Ending::Nothing {
                    facts.findings.push(Finding::NotEnded(place).at(place));
                }
            }
        }
        Err(finding) => facts.findings.push(finding.at(place)),
    }
    facts.http1 = Some(socket);
}

async fn open(
    io: BoxIo,
    options: &Options<'_>,
    socket: &mut Socket,
) -> Result<(Carrier, Negotiated), Finding> {
    let broken = |error: hyper::Error| Finding::BrokenHttp1 {
        text: with_causes(&error),
        tried: !options.target.secure(),
    };
    let silent = |_| Finding::Silent(Step::Answer);
    let key = Key::new(random());
    let request = upgrade::request(options.target, options.headers.clone(), options.offer, &key)
        .map_err(Finding::Handshake)?
        .map(|()| Empty::<Bytes>::new());
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(broken)?;
    // The task ends when the handles below are dropped.
    tokio::spawn(connection.with_upgrades());
    let began = Instant::now();
    let response = timeout(options.timeout, send.send_request(request))
        .await
        .map_err(silent)?
        .map_err(broken)?;
    let time = began.elapsed();
    let (parts, mut body) = response.into_parts();
    let opening = socket.opening.insert(opening(time, &parts));
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        let next = async || {
            let frame = body.frame().await?.ok()?;
            // Trailers come last.
            frame.into_data().ok()
        };
        opening.body = first_line(&parts.headers, next).await;
        return Err(rejected(&parts));
    }
    let negotiated =
        upgrade::check_response(&parts, options.offer, &key).map_err(Finding::Handshake)?;
    store_negotiated(opening, &negotiated);
    let upgraded = hyper::upgrade::on(Response::from_parts(parts, body));
    let upgraded = timeout(options.timeout, upgraded)
        .await
        .map_err(silent)?
        .map_err(broken)?;
    Ok((Carrier::Http1(Box::new(TokioIo::new(upgraded))), negotiated))
}

/// Waits for the server to close the connection, as it must (RFC 6455 §7.1.1).
async fn ending(carrier: &mut Carrier, wait: Duration) -> Ending {
    let end = async { while let Ok(Some(_)) = carrier.read().await {} };
    match timeout(wait, end).await {
        Ok(()) => Ending::Disconnected,
        Err(_) => Ending::Nothing,
    }
}
