//! Probes HTTP/2: SETTINGS, then WebSockets by extended CONNECT (RFC 8441): one that is examined
//! closely, one after it, and one while the second is open.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason};
use h2ws::handshake::{Key, Negotiated, extended_connect};
use http::header::{CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, response};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Options;
use super::carrier::{Carrier, blame};
use super::facts::{Capability, Echo, Ending, Facts, Opening, Socket};
use super::finding::{Finding, Found, Place, Step};
use super::io::BoxIo;
use super::observe::{CAPABILITY, EndStream, GoAway, MAX_STREAMS, Observed, Seen};
use super::refusal::first_line;
use super::socket::{Conversation, Depth, random};

/// How long to wait for a later SETTINGS frame that enables extended CONNECT.
const LATER: Duration = Duration::from_secs(1);
/// How long the server may take to end the stream after the closing handshake.
const ENDING: Duration = Duration::from_secs(2);
/// How long to wait for our last frames to be sent.
const LAST_FRAMES: Duration = Duration::from_millis(500);
const SETTINGS: u8 = 4;
/// The connection's receive window, in bytes: enough for three WebSockets that are flooded.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Maximum size of an answer's head, in bytes.
const MAX_HEADERS: u32 = 64 * 1024;
/// A server may send as many short messages as the windows allow. By default the `h2` crate closes
/// the connection after little more than a hundred.
const FRAME_BUDGET: usize = 64 << 20;

/// Probes the HTTP/2 server at the other end of `io`, and stores the results in `facts`.
pub(super) async fn probe(io: BoxIo, options: &Options<'_>, facts: &mut Facts) {
    let (io, seen) = Observed::new(io);
    let handshake = h2::client::Builder::new()
        .enable_push(false)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .data_frame_budget(FRAME_BUDGET)
        .handshake::<_, Bytes>(io);
    let (send, mut connection) = match timeout(options.timeout, handshake).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => {
            let lost = blame(&error, &seen.borrow());
            return facts.findings.push(lost.at(Place::Http2));
        }
        // The preface fits into any send buffer, so the server is to blame.
        Err(_) => {
            let finding = Finding::Silent(Step::Settings);
            return facts.findings.push(finding.at(Place::Http2));
        }
    };
    let ping = connection.ping_pong();
    // Errors are reported to the streams and to the observer.
    let mut driver = tokio::spawn(async move { connection.await.is_ok() });
    let mut session = Session {
        send,
        ping,
        seen,
        options,
        key: options.key,
    };
    session.run(facts).await;
    session.sum_up(facts);
    drop(session);
    if timeout(LAST_FRAMES, &mut driver).await.is_err() {
        driver.abort();
    }
}

struct Session<'a> {
    send: SendRequest<Bytes>,
    ping: Option<PingPong>,
    seen: watch::Receiver<Seen>,
    options: &'a Options<'a>,
    /// Whether a `Sec-WebSocket-Key` is sent.
    key: bool,
}

impl Session<'_> {
    async fn run(&mut self, facts: &mut Facts) {
        match self.settings().await {
            Ok(capability) => facts.http2.capability = capability,
            Err(finding) => {
                let finding = self.tried(finding);
                return facts.findings.push(finding.at(Place::Http2));
            }
        }
        match facts.http2.capability {
            Capability::First => {}
            Capability::Later(_) => facts
                .findings
                .push(Finding::LateCapability.at(Place::Http2)),
            Capability::Absent | Capability::Unknown => {
                return facts.findings.push(Finding::NoCapability.at(Place::Http2));
            }
        }
        facts.http2.stopped = self.sockets(facts).await.err();
    }

    /// Waits for the first SETTINGS frame, and a little longer for one that enables extended CONNECT.
    async fn settings(&mut self) -> Result<Capability, Finding> {
        let came = |seen: &Seen| !seen.settings.is_empty() || seen.closed.is_some();
        let in_time = self.wait(self.options.timeout, came).await;
        let start = self.seen.borrow().start.clone();
        if start.starts_with(b"HTTP/") {
            let line = start[..]
                .split(|byte| *byte == b'\r')
                .next()
                .unwrap_or(&start);
            let line = String::from_utf8_lossy(line).into_owned();
            return Err(not_http2(format!("{line:?}")));
        }
        if self.seen.borrow().settings.is_empty() {
            let closed = self.seen.borrow().closed.clone();
            return Err(match closed {
                Some(why) if in_time => not_http2(format!("the end of the connection, {why}")),
                _ => Finding::Silent(Step::Settings),
            });
        }
        if let Some(kind) = start.get(3).filter(|kind| **kind != SETTINGS) {
            return Err(Finding::FirstFrame(*kind));
        }
        let has = |seen: &Seen| seen.capability() == Some(1) || seen.is_ending();
        self.wait(self.options.timeout.min(LATER), has).await;
        let seen = self.seen.borrow();
        let with = seen
            .settings
            .iter()
            .position(|frame| frame.list.contains(&(CAPABILITY, 1)));
        Ok(match with {
            None => Capability::Absent,
            Some(0) => Capability::First,
            Some(later) => Capability::Later(seen.settings[later].after),
        })
    }

    /// Turns the finding into a remark if there was no ALPN, because then the server did not claim to
    /// support HTTP/2.
    fn tried(&self, finding: Finding) -> Finding {
        let answer = match finding {
            _ if self.options.target.secure() => return finding,
            Finding::NotHttp2 { answer, .. } => answer,
            Finding::Silent(_) => "silence".to_owned(),
            finding => return finding,
        };
        Finding::NotHttp2 {
            answer,
            tried: true,
        }
    }

    /// Waits until the condition holds, and returns whether it does in time. Holds no lock afterwards.
    async fn wait(&mut self, time: Duration, what: impl FnMut(&Seen) -> bool) -> bool {
        timeout(time, self.seen.wait_for(what))
            .await
            .is_ok_and(|done| done.is_ok())
    }

    /// Opens and uses three WebSockets. Fails with the reason if there are fewer.
    async fn sockets(&mut self, facts: &mut Facts) -> Result<(), &'static str> {
        let mut first = Socket::new(Place::Socket(1));
        self.open_and_use(&mut first, Depth::Full, facts).await;
        let missed = |socket: &Socket| {
            let opening = socket.opening.as_ref();
            opening.is_some_and(|opening| opening.status == StatusCode::BAD_REQUEST)
        };
        // The library's client does the same.
        if missed(&first) && !self.key {
            self.key = true;
            first = Socket::new(Place::Socket(1));
            self.open_and_use(&mut first, Depth::Full, facts).await;
        }
        let (works, echoes) = (first.works, matches!(first.echo, Echo::Same(_)));
        facts.http2.sockets.push(first);
        if !works {
            return Err("the first did not work");
        }
        if !self.is_alive().await {
            return Err("the server closed the connection with the first");
        }
        let depth = Depth::Short { echoes };
        let mut second = Socket::new(Place::Socket(2));
        let streams = self.seen.borrow().values(MAX_STREAMS).last();
        if streams.is_some_and(|streams| streams < 2) {
            self.open_and_use(&mut second, depth, facts).await;
            facts.http2.sockets.push(second);
            return Err("the server allows one stream at a time");
        }
        let mut third = Socket::new(Place::Socket(3));
        let opened = self.open(&mut second, &mut facts.findings).await;
        // The second stays open while the third is opened and used.
        if let Some((mut carrier, negotiated)) = opened {
            self.open_and_use(&mut third, depth, facts).await;
            self.talk(
                &mut second,
                &mut carrier,
                &negotiated,
                depth,
                &mut facts.findings,
            )
            .await;
            facts.http2.sockets.extend([second, third]);
            Ok(())
        } else {
            facts.http2.sockets.push(second);
            Err("the second was not opened")
        }
    }

    /// Whether the connection is still open after the server has read the end of the first stream.
    async fn is_alive(&mut self) -> bool {
        let Some(ping) = &mut self.ping else {
            return !self.seen.borrow().is_ending();
        };
        let pong = timeout(self.options.timeout, ping.ping(Ping::opaque())).await;
        matches!(pong, Ok(Ok(_))) && self.seen.borrow().goaway.is_none()
    }

    async fn open_and_use(&mut self, socket: &mut Socket, depth: Depth, facts: &mut Facts) {
        let findings = &mut facts.findings;
        if let Some((mut carrier, negotiated)) = self.open(socket, findings).await {
            self.talk(socket, &mut carrier, &negotiated, depth, findings)
                .await;
        }
    }

    async fn open(
        &mut self,
        socket: &mut Socket,
        findings: &mut Vec<Found>,
    ) -> Option<(Carrier, Negotiated)> {
        match self.try_open(socket, findings).await {
            Ok(opened) => Some(opened),
            Err(finding) => {
                findings.push(finding.at(socket.place));
                None
            }
        }
    }

    async fn try_open(
        &mut self,
        socket: &mut Socket,
        findings: &mut Vec<Found>,
    ) -> Result<(Carrier, Negotiated), Finding> {
        let options = self.options;
        let key = self.key.then(|| Key::new(random()));
        let headers = options.headers.clone();
        let mut request =
            extended_connect::request(options.target, headers, options.offer, key.as_ref())
                .map_err(Finding::Handshake)?;
        let protocol = h2::ext::Protocol::from_static(extended_connect::PROTOCOL);
        request.extensions_mut().insert(protocol);
        let seen = self.seen.clone();
        let failed = |error: h2::Error| match blame(&error, &seen.borrow()) {
            Finding::Reset(reason) => Finding::NotOpened(reason),
            finding => finding,
        };
        let ready = timeout(options.timeout, self.send.clone().ready()).await;
        let mut ready = ready
            .map_err(|_| Finding::Silent(Step::Answer))?
            .map_err(failed)?;
        let began = Instant::now();
        let (response, send) = ready.send_request(request, false).map_err(failed)?;
        let stream = u32::from(send.stream_id());
        socket.stream = Some(stream);
        let response = timeout(options.timeout, response)
            .await
            .map_err(|_| Finding::Silent(Step::Answer))?
            .map_err(failed)?;
        let time = began.elapsed();
        let (parts, mut recv) = response.into_parts();
        let opening = socket.opening.insert(opening(time, &parts));
        if let Err(refused) = check_status(&parts) {
            let next = async || recv.data().await?.ok();
            opening.body = first_line(&parts.headers, next).await;
            return Err(refused);
        }
        if self.seen.borrow().end(stream).end_stream == Some(EndStream::Headers) {
            return Err(Finding::EndedWithAnswer(parts.status));
        }
        if has_length(&parts.headers) {
            findings.push(Finding::ContentLength.at(socket.place));
        }
        let negotiated =
            extended_connect::check_response(&parts, options.offer).map_err(Finding::Handshake)?;
        store_negotiated(opening, &negotiated);
        let seen = self.seen.clone();
        Ok((Carrier::Http2 { send, recv, seen }, negotiated))
    }

    async fn talk(
        &mut self,
        socket: &mut Socket,
        carrier: &mut Carrier,
        negotiated: &Negotiated,
        depth: Depth,
        findings: &mut Vec<Found>,
    ) {
        let place = socket.place;
        let found = Conversation::new(carrier, negotiated, socket, self.options.timeout)
            .run(depth)
            .await;
        findings.extend(found.into_iter().map(|finding| finding.at(place)));
        if socket.close.is_some() {
            let ending = self.ending(socket.stream.unwrap_or_default()).await;
            socket.ending = Some(ending);
            match ending {
                Ending::Nothing => findings.push(Finding::NotEnded(place).at(place)),
                Ending::GoAway(_) => {
                    let finding = self.seen.borrow().goaway.as_ref().map(GoAway::finding);
                    findings.extend(finding.map(|finding| finding.at(place)));
                }
                _ => {}
            }
        }
        self.end(socket.ending, carrier);
    }

    /// Waits for the server to end the stream after the closing handshake.
    async fn ending(&mut self, stream: u32) -> Ending {
        let over = |seen: &Seen| seen.is_over(stream);
        let wait = self.options.timeout.min(ENDING);
        if !self.wait(wait, over).await {
            return Ending::Nothing;
        }
        let seen = self.seen.borrow();
        let end = seen.end(stream);
        match (end.end_stream, end.reset, &seen.goaway) {
            (Some(EndStream::LastData), ..) => Ending::EndStreamWithData,
            (Some(_), ..) => Ending::EndStream,
            (None, Some(reason), _) => Ending::Reset(reason),
            (None, None, Some(goaway)) if goaway.reason != Reason::NO_ERROR => {
                Ending::GoAway(goaway.reason)
            }
            _ => Ending::Disconnected,
        }
    }

    /// Ends our side in the way that every known peer handles well: END_STREAM only in answer to the
    /// peer's own, in an empty frame (ARCHITECTURE.md, "Endings").
    fn end(&self, ending: Option<Ending>, carrier: &mut Carrier) {
        let Carrier::Http2 { send, .. } = carrier else {
            return;
        };
        if ending != Some(Ending::EndStream) || send.send_data(Bytes::new(), true).is_err() {
            send.send_reset(Reason::CANCEL);
        }
    }

    /// Stores what was learned about the connection as a whole.
    fn sum_up(&self, facts: &mut Facts) {
        let seen = self.seen.borrow();
        facts.http2.settings.clone_from(&seen.settings);
        facts.http2.goaway = seen.goaway.as_ref().map(|goaway| goaway.reason);
        let values: Vec<_> = seen.values(CAPABILITY).collect();
        if let Some(value) = values.iter().find(|value| **value > 1) {
            let finding = Finding::CapabilityValue(*value);
            facts.findings.push(finding.at(Place::Http2));
        }
        if values
            .iter()
            .skip_while(|value| **value != 1)
            .any(|value| *value == 0)
        {
            let finding = Finding::CapabilityTakenBack;
            facts.findings.push(finding.at(Place::Http2));
        }
        let works = facts.http2.sockets.first().is_some_and(|first| first.works);
        let gone = seen.closed.is_some() || facts.http2.goaway == Some(Reason::NO_ERROR);
        let reported = facts
            .findings
            .iter()
            .any(|found| matches!(found.finding, Finding::Lost(_) | Finding::GoAway(..)));
        if works && gone && !reported {
            facts.findings.push(Finding::HungUp.at(Place::Http2));
        }
    }
}

fn not_http2(answer: String) -> Finding {
    Finding::NotHttp2 {
        answer,
        tried: false,
    }
}

/// Checks that the status is 2xx.
fn check_status(parts: &response::Parts) -> Result<(), Finding> {
    match parts.status {
        status if status.is_success() => Ok(()),
        // SETTINGS advertised the method.
        status @ (StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) => {
            Err(Finding::Unserved(status))
        }
        _ => Err(rejected(parts)),
    }
}

pub(super) fn rejected(parts: &response::Parts) -> Finding {
    let location = parts.headers.get(LOCATION);
    let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Finding::Rejected(parts.status, location)
}

fn has_length(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

pub(super) fn opening(time: Duration, parts: &response::Parts) -> Opening {
    Opening {
        time,
        status: parts.status,
        headers: parts.headers.clone(),
        subprotocol: None,
        extensions: Vec::new(),
        body: None,
    }
}

pub(super) fn store_negotiated(opening: &mut Opening, negotiated: &Negotiated) {
    opening.subprotocol.clone_from(&negotiated.subprotocol);
    let extensions = negotiated.extensions.iter().map(ToString::to_string);
    opening.extensions = extensions.collect();
}
