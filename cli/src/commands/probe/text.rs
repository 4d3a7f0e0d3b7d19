//! The report on one URL as text: short aligned lines, the findings, and a verdict.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use h2ws::handshake::Offer;

use super::advice::advice;
use super::facts::{
    Capability, Close, Echo, Ending, Facts, Http2, Link, Opening, Settings, Socket, Tls, Trust,
    Verdict,
};
use super::finding::{Place, reason_name};
use super::groups::{grouped, named};
use crate::terminal::{Color, Styled};

/// Width of the column of names.
const NAME: usize = 13;

pub(super) fn report(facts: &Facts, offer: &Offer) -> Styled {
    let color = color(facts.verdict());
    let mut out = Lines::default();
    out.title(&facts.target.to_string(), Some(color));
    addresses(&mut out, facts);
    if let Some(first) = &facts.first {
        link(&mut out, facts, first, true);
    }
    if !facts.http2.settings.is_empty() {
        out.title("HTTP/2", None);
        http2(&mut out, &facts.http2, offer);
    }
    if let Some(socket) = &facts.http1 {
        out.title("HTTP/1.1", None);
        if let Some(second) = &facts.second {
            link(&mut out, facts, second, false);
        }
        closely(&mut out, socket, offer);
    }
    out.title("findings", None);
    findings(&mut out, facts);
    out.title("verdict", None);
    out.colored(color, &verdict(facts), "");
    out.0
}

/// The color of a verdict.
pub(super) fn color(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Http2 => Color::Green,
        Verdict::Http1 => Color::Yellow,
        Verdict::None => Color::Red,
    }
}

#[derive(Default)]
struct Lines(Styled);

impl Lines {
    fn title(&mut self, name: &str, color: Option<Color>) {
        self.0.push(color, name.to_owned());
        self.0.push(None, "\n".to_owned());
    }

    /// Adds a name and its text. Control characters in the text, which may be the server's, are
    /// escaped.
    fn line(&mut self, name: &str, text: impl Display) {
        self.add(None, name, text);
    }

    /// As [`line`](Self::line), with a name in color.
    fn colored(&mut self, color: Color, name: &str, text: impl Display) {
        self.add(Some(color), name, text);
    }

    fn add(&mut self, color: Option<Color>, name: &str, text: impl Display) {
        let text = clean(&text.to_string());
        self.0.push(None, "  ".to_owned());
        self.0.push(color, name.to_owned());
        let rest = if text.is_empty() {
            "\n".to_owned()
        } else {
            let gap = NAME.saturating_sub(name.chars().count()) + 1;
            format!("{:gap$}{text}\n", "")
        };
        self.0.push(None, rest);
    }
}

pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

fn addresses(out: &mut Lines, facts: &Facts) {
    if let Some(proxy) = &facts.proxy {
        out.line("proxy", proxy);
    }
    let peer = facts.first.as_ref().and_then(|first| first.peer);
    if facts.addresses.len() > 1 || peer.is_none() && !facts.addresses.is_empty() {
        let addresses: Vec<_> = facts.addresses.iter().map(ToString::to_string).collect();
        out.line("addresses", addresses.join(", "));
    }
}

fn link(out: &mut Lines, facts: &Facts, link: &Link, first: bool) {
    let connect = time(link.connect);
    match link.peer {
        Some(peer) => out.line("TCP", format!("{peer} in {connect}")),
        // Either the proxy was not reached, or the tunnel is up.
        None if link.connect.is_zero() => {}
        None if facts.target.unix_path().is_some() => {
            out.line("Unix socket", format!("in {connect}"));
        }
        None => out.line("tunnel", format!("in {connect}")),
    }
    if let Some(tls) = &link.tls {
        session(out, tls);
        if first {
            certificate(out, tls);
        }
    }
}

fn session(out: &mut Lines, tls: &Tls) {
    let Some(took) = tls.time else {
        return;
    };
    let unknown = || "unknown".to_owned();
    out.line(
        "TLS",
        format!(
            "{}, {}, ALPN {}, in {}",
            tls.version.clone().unwrap_or_else(unknown),
            tls.cipher.clone().unwrap_or_else(unknown),
            tls.alpn.as_deref().unwrap_or("not answered"),
            time(took)
        ),
    );
}

fn certificate(out: &mut Lines, tls: &Tls) {
    let trust = match &tls.trust {
        Trust::Unknown => return,
        Trust::NotChecked => "not checked (--insecure)".to_owned(),
        Trust::Trusted => "trusted".to_owned(),
        Trust::Rejected(why) => format!("rejected: {why}"),
    };
    let Some(certificate) = &tls.certificate else {
        return out.line("certificate", format!("cannot be parsed, {trust}"));
    };
    let by = if certificate.issuer == certificate.subject {
        "itself"
    } else {
        &certificate.issuer
    };
    out.line("certificate", &certificate.subject);
    out.line("", format!("issued by {by}"));
    out.line(
        "",
        format!("{} to {}, {trust}", certificate.from, certificate.until),
    );
}

fn http2(out: &mut Lines, http2: &Http2, offer: &Offer) {
    for (index, frame) in http2.settings.iter().enumerate() {
        settings(out, frame, index == 0);
    }
    let capability = match http2.capability {
        Capability::Unknown | Capability::Absent => "ENABLE_CONNECT_PROTOCOL is not set".to_owned(),
        Capability::First => "ENABLE_CONNECT_PROTOCOL in the first SETTINGS".to_owned(),
        Capability::Later(after) => {
            let after = time(after);
            format!("ENABLE_CONNECT_PROTOCOL in later SETTINGS, after {after}")
        }
    };
    out.line("capability", capability);
    for socket in &http2.sockets {
        if socket.place == Place::Socket(1) {
            closely(out, socket, offer);
        } else {
            briefly(out, socket);
        }
    }
    if let Some(why) = http2.stopped {
        out.line("more sockets", format!("not tried: {why}"));
    }
    if let Some(reason) = http2.goaway {
        out.line("GOAWAY", reason_name(reason));
    }
}

fn settings(out: &mut Lines, frame: &Settings, first: bool) {
    let name = if first { "SETTINGS" } else { "later" };
    out.line(name, format!("after {}", time(frame.after)));
    for (id, value) in &frame.list {
        out.line("", format!("{id:#x} {} = {value}", setting(*id)));
    }
    if frame.list.is_empty() {
        out.line("", "empty");
    }
}

/// The names of RFC 9113 §6.5.2, RFC 8441 §3 and RFC 9218 §2.1.
pub(super) fn setting(id: u16) -> &'static str {
    match id {
        1 => "HEADER_TABLE_SIZE",
        2 => "ENABLE_PUSH",
        3 => "MAX_CONCURRENT_STREAMS",
        4 => "INITIAL_WINDOW_SIZE",
        5 => "MAX_FRAME_SIZE",
        6 => "MAX_HEADER_LIST_SIZE",
        8 => "ENABLE_CONNECT_PROTOCOL",
        9 => "NO_RFC7540_PRIORITIES",
        _ => "unknown",
    }
}

fn closely(out: &mut Lines, socket: &Socket, offer: &Offer) {
    let Some(opening) = &socket.opening else {
        return out.line(handshake(socket), "no answer");
    };
    let stream = socket.stream.map(|stream| format!(", stream {stream}"));
    out.line(
        handshake(socket),
        format!(
            "{} in {}{}",
            opening.status,
            time(opening.time),
            stream.unwrap_or_default()
        ),
    );
    let accepted = opening.status.is_success() || opening.status.as_u16() == 101;
    for (name, value) in &opening.headers {
        if accepted && HIDDEN.contains(&name.as_str()) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        out.line("", format!("{name}: {value}"));
    }
    if !accepted {
        if let Some(body) = &opening.body {
            out.line("body", body);
        }
        return;
    }
    if !offer.subprotocols.is_empty() || opening.subprotocol.is_some() {
        let none = || "none of the offered ones".to_owned();
        out.line(
            "subprotocol",
            opening.subprotocol.clone().unwrap_or_else(none),
        );
    }
    out.line("extensions", extensions(opening));
    out.line("echo", echo(socket));
    if socket.pings_sent > 0 {
        out.line("ping", pings(socket));
    }
    out.line("close", close(socket));
}

fn handshake(socket: &Socket) -> &'static str {
    if socket.place == Place::Http1 {
        "Upgrade"
    } else {
        "CONNECT"
    }
}

fn extensions(opening: &Opening) -> String {
    if opening.extensions.is_empty() {
        "none (permessage-deflate offered)".to_owned()
    } else {
        opening.extensions.join(", ")
    }
}

fn echo(socket: &Socket) -> String {
    let mut text = match &socket.echo {
        Echo::NotTried => "not tried".to_owned(),
        Echo::Same(took) => format!("yes, in {}", time(*took)),
        Echo::Nothing => "none".to_owned(),
        Echo::Other {
            kind,
            len,
            beginning,
        } => format!("none; first message: {kind}, {len} bytes: {beginning:?}"),
    };
    if socket.pushed > 0 {
        let _ = write!(text, "; {} unsolicited messages", socket.pushed);
    }
    text
}

fn pings(socket: &Socket) -> String {
    let mut text = format!("{} of {} answered", socket.pings.len(), socket.pings_sent);
    if let Some(median) = socket.ping_median() {
        let _ = write!(text, ", median {}", time(median));
    }
    text
}

fn close(socket: &Socket) -> String {
    let Some(close) = &socket.close else {
        return "no Close frame from the server".to_owned();
    };
    let how = if close.by_server {
        "by the server"
    } else {
        "answered"
    };
    format!("{how}, {}; then {}", code(close), ending(socket))
}

fn code(close: &Close) -> String {
    let code = close
        .code
        .map_or_else(|| "no code".to_owned(), |code| code.to_string());
    if close.reason.is_empty() {
        code
    } else {
        format!("{code} {:?}", close.reason)
    }
}

fn ending(socket: &Socket) -> String {
    match socket.ending {
        None | Some(Ending::Nothing) => "nothing".to_owned(),
        Some(Ending::EndStream) => "END_STREAM".to_owned(),
        Some(Ending::EndStreamWithData) => {
            "END_STREAM in the DATA frame of the Close frame".to_owned()
        }
        Some(Ending::Reset(reason)) => format!("RST_STREAM {}", reason_name(reason)),
        Some(Ending::GoAway(reason)) => format!("GOAWAY {}", reason_name(reason)),
        Some(Ending::Disconnected) => "the connection closed".to_owned(),
    }
}

/// Prints one line for a WebSocket that is not examined closely.
fn briefly(out: &mut Lines, socket: &Socket) {
    let (name, when) = match socket.place {
        Place::Socket(2) => ("socket 2", "after the first"),
        _ => ("socket 3", "while the second is open"),
    };
    let Some(opening) = &socket.opening else {
        return out.line(name, format!("{when}: no answer"));
    };
    let mut text = format!("{when}: {} in {}", opening.status, time(opening.time));
    if let Echo::Same(took) = socket.echo {
        let _ = write!(text, ", echo in {}", time(took));
    }
    if let Some(median) = socket.ping_median() {
        let _ = write!(text, ", ping {}", time(median));
    }
    match &opening.body {
        Some(body) => text.push_str(&format!(", body {body}")),
        None => text.push_str(&format!(", close {}", close(socket))),
    }
    out.line(name, text);
}

fn findings(out: &mut Lines, facts: &Facts) {
    let groups = grouped(&facts.findings);
    if groups.is_empty() {
        out.line("none", "");
    }
    for (found, places) in groups {
        let finding = &found.finding;
        let (name, color) = if finding.is_fault() {
            (finding.party().name(), Color::Red)
        } else {
            ("remark", Color::Yellow)
        };
        let clause = finding.clause().map(|clause| format!(" ({clause})"));
        let (place, clause) = (named(&places), clause.unwrap_or_default());
        out.colored(color, name, format!("{place}: {finding}{clause}"));
        out.line("  to do", advice(found, facts));
    }
}

pub(super) fn verdict(facts: &Facts) -> String {
    let verdict = match facts.verdict() {
        Verdict::Http2 => "WebSockets work over HTTP/2",
        Verdict::Http1 => "WebSockets work over HTTP/1.1 only",
        Verdict::None => "WebSockets do not work",
    };
    if facts.verdict() == Verdict::Http1 && facts.is_advertised() {
        let auto = if facts.falls_back() {
            "`h2ws connect` falls back to it"
        } else {
            "`h2ws connect` needs --http1, because the server advertises HTTP/2"
        };
        return format!("{verdict}; {auto}");
    }
    if facts.verdict() != Verdict::Http2 {
        return verdict.to_owned();
    }
    let too = facts.http1.as_ref().is_some_and(|socket| socket.works);
    let other = if too { "and over" } else { "but not over" };
    format!("{verdict}, {other} HTTP/1.1")
}

/// Fields that the report shows separately, or that have no information about the server.
const HIDDEN: [&str; 6] = [
    "connection",
    "date",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "upgrade",
];

pub(super) fn time(time: Duration) -> String {
    if time < Duration::from_millis(1) {
        format!("{time:.0?}")
    } else {
        format!("{time:.1?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Lines::default();
        out.line("name", "a\u{1b}[2Jb\r\u{9b}c");
        assert_eq!(out.0.plain(), "  name          a\\u{1b}[2Jb\\r\\u{9b}c\n");
    }
}
