//! The JSON report: everything that was learned, under stable keys.

use std::time::Duration;

use h2ws::handshake::Offer;
use http::HeaderMap;
use serde_json::{Value, json};

use super::advice::advice;
use super::facts::{
    Capability, Echo, Ending, Facts, Http2, Link, Opening, Socket, Tls, Trust, Verdict,
};
use super::finding::{Found, reason_name};
use super::text::{setting, verdict};

/// Returns the report for one URL. Times are in microseconds.
pub(super) fn report(facts: &Facts, offer: &Offer) -> Value {
    let extensions: Vec<_> = offer.extensions.iter().map(ToString::to_string).collect();
    json!({
        "url": facts.target.to_string(),
        "verdict": match facts.verdict() {
            Verdict::Http2 => "http2",
            Verdict::Http1 => "http1",
            Verdict::None => "none",
        },
        "verdict_text": verdict(facts),
        "exit_status": facts.verdict().exit_status(),
        "proxy": facts.proxy,
        "addresses": facts.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "offered": { "subprotocols": offer.subprotocols, "extensions": extensions },
        "connection": facts.first.as_ref().map(link),
        "http2": http2(&facts.http2),
        "http1": facts.http1.as_ref().map(|h1| json!({
            "connection": facts.second.as_ref().map(link),
            "socket": socket(h1),
        })),
        "findings": facts.findings.iter().map(|found| finding(found, facts)).collect::<Vec<_>>(),
    })
}

fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

fn link(link: &Link) -> Value {
    json!({
        "peer": link.peer.map(|peer| peer.to_string()),
        "connect_us": micros(link.connect),
        "tls": link.tls.as_ref().map(tls),
    })
}

fn tls(tls: &Tls) -> Value {
    let (trust, error) = match &tls.trust {
        Trust::Unknown => ("unknown", None),
        Trust::NotChecked => ("not checked", None),
        Trust::Trusted => ("trusted", None),
        Trust::Rejected(why) => ("refused", Some(why)),
    };
    json!({
        "handshake_us": tls.time.map(micros),
        "version": tls.version,
        "cipher": tls.cipher,
        "alpn": tls.alpn,
        "trust": trust,
        "trust_error": error,
        "certificate": tls.certificate.as_ref().map(|certificate| json!({
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "not_before": certificate.from,
            "not_after": certificate.until,
        })),
    })
}

/// Returns null if the server does not support HTTP/2.
fn http2(http2: &Http2) -> Value {
    if http2.settings.is_empty() {
        return Value::Null;
    }
    let (capability, after) = match http2.capability {
        Capability::Unknown | Capability::Absent => ("absent", None),
        Capability::First => ("first", None),
        Capability::Later(after) => ("later", Some(micros(after))),
    };
    let settings = http2.settings.iter().map(|frame| {
        let list = frame
            .list
            .iter()
            .map(|(id, value)| json!({ "id": id, "name": setting(*id), "value": value }));
        json!({ "after_us": micros(frame.after), "settings": list.collect::<Vec<_>>() })
    });
    json!({
        "settings_frames": settings.collect::<Vec<_>>(),
        "enable_connect_protocol": capability,
        "enable_connect_protocol_after_us": after,
        "sockets": http2.sockets.iter().map(socket).collect::<Vec<_>>(),
        "more_sockets_not_tried": http2.stopped,
        "goaway": http2.goaway.map(reason_name),
    })
}

fn socket(socket: &Socket) -> Value {
    json!({
        "works": socket.works,
        "stream": socket.stream,
        "opening": socket.opening.as_ref().map(opening),
        "echo": echo(&socket.echo),
        "messages_unasked": socket.pushed,
        "pings_sent": socket.pings_sent,
        "pings_answered": socket.pings.len(),
        "ping_median_us": socket.ping_median().map(micros),
        "close": socket.close.as_ref().map(|close| json!({
            "code": close.code,
            "reason": close.reason,
            "begun_by": if close.by_server { "server" } else { "probe" },
        })),
        "ending": socket.ending.map(ending),
    })
}

fn opening(opening: &Opening) -> Value {
    json!({
        "time_us": micros(opening.time),
        "status": opening.status.as_u16(),
        "headers": fields(&opening.headers),
        "subprotocol": opening.subprotocol,
        "extensions": opening.extensions,
        "body": opening.body,
    })
}

/// Returns a list of pairs, because names may be repeated.
fn fields(headers: &HeaderMap) -> Value {
    let fields = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        json!([name.as_str(), value])
    });
    fields.collect()
}

fn echo(echo: &Echo) -> Value {
    match echo {
        Echo::NotTried => Value::Null,
        Echo::Same(took) => json!({ "result": "same", "time_us": micros(*took) }),
        Echo::Nothing => json!({ "result": "nothing" }),
        Echo::Other {
            kind,
            len,
            beginning,
        } => json!({ "result": "other", "kind": kind, "bytes": len, "beginning": beginning }),
    }
}

fn ending(ending: Ending) -> Value {
    let (how, code) = match ending {
        Ending::EndStream => ("end_stream", None),
        Ending::EndStreamWithData => ("end_stream_with_data", None),
        Ending::Reset(reason) => ("rst_stream", Some(u32::from(reason))),
        Ending::GoAway(reason) => ("goaway", Some(u32::from(reason))),
        Ending::Disconnected => ("disconnected", None),
        Ending::Nothing => ("nothing", None),
    };
    json!({ "how": how, "code": code })
}

fn finding(found: &Found, facts: &Facts) -> Value {
    let finding = &found.finding;
    json!({
        "fault": finding.is_fault(),
        "party": finding.party().name(),
        "place": found.place.to_string(),
        "clause": finding.clause(),
        "text": finding.to_string(),
        "advice": advice(found, facts),
    })
}
