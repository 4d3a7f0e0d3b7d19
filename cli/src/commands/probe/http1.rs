//! The HTTP/1.1 side: one Upgrade (RFC 6455 §4) on a connection of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2ws::handshake::{Key, Negotiated, upgrade};
use http::{Response, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Ask;
use super::carrier::Carrier;
use super::connect::{BoxIo, with_causes};
use super::facts::{Ending, Facts, Socket};
use super::finding::{Finding, Place, Step};
use super::http2::{note, opening, refused};
use super::socket::{Depth, Talk, random};

/// How long the server may take to close the connection of a closed socket.
const ENDING: Duration = Duration::from_secs(2);
/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// Looks at the HTTP/1.1 end of `io`, and fills in `facts`.
pub(super) async fn probe(io: BoxIo, ask: &Ask<'_>, facts: &mut Facts) {
    let place = Place::Http1;
    let mut socket = Socket::new(place);
    match open(io, ask, &mut socket).await {
        Ok((mut carrier, agreed)) => {
            let amiss = Talk::new(&mut carrier, &agreed, &mut socket, ask.timeout)
                .run(Depth::Full)
                .await;
            let amiss = amiss.into_iter().map(|finding| finding.at(place));
            facts.findings.extend(amiss);
            if socket.close.is_some() {
                let ending = ending(&mut carrier, ask.timeout.min(ENDING)).await;
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
    ask: &Ask<'_>,
    socket: &mut Socket,
) -> Result<(Carrier, Negotiated), Finding> {
    let broken = |error: hyper::Error| Finding::BrokenHttp1 {
        text: with_causes(&error),
        tried: !ask.target.secure(),
    };
    let silent = |_| Finding::Silent(Step::Answer);
    let key = Key::new(random());
    let request = upgrade::request(ask.target, ask.headers.clone(), ask.offer, &key)
        .map_err(Finding::Handshake)?
        .map(|()| Empty::<Bytes>::new());
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(broken)?;
    // Ends with the handles that are dropped when this function is left.
    tokio::spawn(connection.with_upgrades());
    let began = Instant::now();
    let response = timeout(ask.timeout, send.send_request(request))
        .await
        .map_err(silent)?
        .map_err(broken)?;
    let time = began.elapsed();
    let (parts, body) = response.into_parts();
    let opening = socket.opening.insert(opening(time, &parts));
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(&parts));
    }
    let agreed = upgrade::check_response(&parts, ask.offer, &key).map_err(Finding::Handshake)?;
    note(opening, &agreed);
    let upgraded = hyper::upgrade::on(Response::from_parts(parts, body));
    let upgraded = timeout(ask.timeout, upgraded)
        .await
        .map_err(silent)?
        .map_err(broken)?;
    Ok((Carrier::Http1(Box::new(TokioIo::new(upgraded))), agreed))
}

/// Whether the server closes the connection, as it must (RFC 6455 §7.1.1).
async fn ending(carrier: &mut Carrier, wait: Duration) -> Ending {
    let end = async { while let Ok(Some(_)) = carrier.read().await {} };
    match timeout(wait, end).await {
        Ok(()) => Ending::Disconnected,
        Err(_) => Ending::Nothing,
    }
}
