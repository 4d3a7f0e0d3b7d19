//! Decides whether a WebSocket that was rejected over HTTP/2 is tried over HTTP/1.1.
//!
//! SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3) is sent by the server's HTTP/2 stack;
//! what is behind it may not support WebSockets over HTTP/2. RFC 8441 does not define what a
//! client does then. Traefik 3.7 advertises the setting and answers every extended CONNECT
//! with 501; lighttpd 1.4 advertises it and answers 405 on paths without WebSockets; Envoy
//! 1.40 forwards the 400 of a server that requires a key. Browsers fail such WebSockets;
//! undici and others use HTTP/2 only on request. Here `Auto` promises a WebSocket wherever
//! HTTP/1.1 has one.
//!
//! # The rule
//!
//! HTTP/1.1 is tried after a rejection of the *method*: 400, 405, 426 without a version of
//! WebSocket, 501, HTTP_1_1_REQUIRED (RFC 9113 §7), and a reset whose code does not blame the
//! request. It is not tried after a rejection of the *request*: 401, 403, 404, 421, 429,
//! redirects, 503 and all others would be the same in HTTP/1.1.
//!
//! | known about the origin, for `http1_cache_ttl` | the rejected request |
//! |---|---|
//! | nothing | probes HTTP/1.1 once, within the same call |
//! | a probe is running | waits for its result; if it is abandoned, one of the waiting requests probes |
//! | HTTP/1.1 answered 101 | uses HTTP/1.1, as do all later requests, without trying HTTP/2 |
//! | HTTP/1.1 answered anything else | fails with the response to the extended CONNECT |
//!
//! So an origin gets at most one additional connection in that time, however many requests
//! it rejects at once.
//!
//! # The key
//!
//! RFC 8441 §5 does not use `Sec-WebSocket-Key`, and browsers do not send it over HTTP/2.
//! Gateways to RFC 6455 servers differ: nghttpx 1.52 and Caddy 2.11 generate a key and
//! forward ours beside it, and such a server answers two keys with 400 (RFC 6455 §4.2.1);
//! Envoy 1.40 does not generate one, with the same result. So a request is sent without a key
//! first, and after a 400 again with one, over the same connection and before HTTP/1.1 is
//! tried. If that helps, later requests have a key at once; if not, they have none; for
//! `http1_cache_ttl`.

use std::time::Duration;

use http::StatusCode;
use http::header::SEC_WEBSOCKET_VERSION;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, RejectedResponse};

/// What is known about an origin that rejects extended CONNECT.
#[derive(Default)]
pub(super) struct FallbackProbe {
    /// When the last probe finished, and whether HTTP/1.1 works.
    finished: Option<(Instant, bool)>,
    /// The running probe.
    running: Option<watch::Receiver<Option<bool>>>,
    /// When a key was tried over HTTP/2, and whether it helped.
    key: Option<(Instant, bool)>,
}

/// What to do with a rejected request.
pub(super) enum Decision {
    /// Use HTTP/1.1, which works.
    Use,
    /// Try HTTP/1.1, and publish the result.
    Probe(watch::Sender<Option<bool>>),
    /// Wait for the result of the running probe.
    Wait(watch::Receiver<Option<bool>>),
    /// Fail.
    No,
}

impl FallbackProbe {
    /// Whether WebSockets are known to work only over HTTP/1.1.
    pub(super) fn needs_http1(&self, http1_cache_ttl: Duration) -> bool {
        self.known(http1_cache_ttl) == Some(true)
    }

    fn known(&self, http1_cache_ttl: Duration) -> Option<bool> {
        let (at, works) = self.finished?;
        (at.elapsed() < http1_cache_ttl).then_some(works)
    }

    /// Whether a key helps over HTTP/2, if that was tried.
    pub(super) fn key_helps(&self, http1_cache_ttl: Duration) -> Option<bool> {
        let (at, helps) = self.key?;
        (at.elapsed() < http1_cache_ttl).then_some(helps)
    }

    pub(super) fn tried_key(&mut self, helps: bool) {
        self.key = Some((Instant::now(), helps));
    }

    pub(super) fn rejected(&mut self, http1_cache_ttl: Duration) -> Decision {
        match self.known(http1_cache_ttl) {
            Some(true) => return Decision::Use,
            Some(false) => return Decision::No,
            None => {}
        }
        // A probe whose sender was dropped is abandoned.
        let is_alive = |running: &&watch::Receiver<_>| running.has_changed().is_ok();
        if let Some(running) = self.running.as_ref().filter(is_alive) {
            return Decision::Wait(running.clone());
        }
        let (result, running) = watch::channel(None);
        self.running = Some(running);
        Decision::Probe(result)
    }

    pub(super) fn finished(&mut self, result: &watch::Sender<Option<bool>>, works: bool) {
        self.finished = Some((Instant::now(), works));
        self.running = None;
        result.send_replace(Some(works));
    }
}

/// Whether the server may have rejected the request because it had no key.
pub(super) fn may_want_key(error: &Error) -> bool {
    matches!(error, Error::Rejected(response) if response.status == StatusCode::BAD_REQUEST)
}

/// Whether the request may succeed over HTTP/1.1. If early messages were sent with it
/// (`is_sent`), they must not be repeated to a server that may have processed them.
pub(super) fn may_work_over_http1(error: &Error, is_sent: bool) -> bool {
    match error {
        Error::Rejected(response) => rejects_the_method(response),
        Error::Reset {
            code,
            by_peer: true,
        } => blames_nothing((*code).into()) && !(is_sent && is_perhaps_processed((*code).into())),
        _ => is_http1_required(error),
    }
}

fn rejects_the_method(response: &RejectedResponse) -> bool {
    match response.status {
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            true
        }
        // With this field the rejection is of the version of WebSocket (RFC 6455 §4.4).
        StatusCode::UPGRADE_REQUIRED => !response.headers.contains_key(SEC_WEBSOCKET_VERSION),
        _ => false,
    }
}

/// Whether the code does not blame the request or the connection (RFC 9113 §7).
fn blames_nothing(code: h2::Reason) -> bool {
    [
        h2::Reason::NO_ERROR,
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::REFUSED_STREAM,
        h2::Reason::CANCEL,
        h2::Reason::CONNECT_ERROR,
        h2::Reason::HTTP_1_1_REQUIRED,
    ]
    .contains(&code)
}

fn is_perhaps_processed(code: h2::Reason) -> bool {
    code != h2::Reason::REFUSED_STREAM && code != h2::Reason::HTTP_1_1_REQUIRED
}

/// Whether the server ended the stream or the connection with HTTP_1_1_REQUIRED (RFC 9113
/// §7).
pub(super) fn is_http1_required(error: &Error) -> bool {
    match error {
        Error::Reset { code, by_peer } | Error::GoAway { code, by_peer, .. } => {
            *by_peer && h2::Reason::from(*code) == h2::Reason::HTTP_1_1_REQUIRED
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn rejected(status: u16, version: bool) -> Error {
        let mut headers = http::HeaderMap::new();
        if version {
            headers.insert(SEC_WEBSOCKET_VERSION, 8.into());
        }
        Error::Rejected(Box::new(RejectedResponse {
            version: http::Version::HTTP_2,
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: bytes::Bytes::new(),
            early_messages: Vec::new(),
        }))
    }

    #[test]
    fn only_rejections_of_the_method_are_retried() {
        for status in 200..=599 {
            let again = [400, 405, 426, 501].contains(&status);
            let known = may_work_over_http1(&rejected(status, false), true);
            assert_eq!(known, again, "{status}");
        }
        assert!(!may_work_over_http1(&rejected(426, true), false));
        for code in 0..=14 {
            let reset = |by_peer| Error::Reset { code, by_peer };
            let again = [0, 2, 7, 8, 10, 13].contains(&code);
            assert_eq!(may_work_over_http1(&reset(true), false), again, "{code}");
            let again = [7, 13].contains(&code);
            assert_eq!(
                may_work_over_http1(&reset(true), true),
                again,
                "{code}, sent"
            );
            assert!(!may_work_over_http1(&reset(false), false));
            let goaway = Error::GoAway {
                code,
                by_peer: true,
                text: "".into(),
            };
            assert_eq!(may_work_over_http1(&goaway, true), code == 13, "{code}");
        }
        let timeout = Error::Timeout(crate::error::Timeout::Handshake);
        assert!(!may_work_over_http1(&timeout, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_probes_and_all_use_the_result_until_it_expires() {
        let mut fallback = FallbackProbe::default();
        for works in [true, false] {
            let Decision::Probe(result) = fallback.rejected(LONG) else {
                panic!("not the first");
            };
            let Decision::Wait(mut running) = fallback.rejected(LONG) else {
                panic!("a probe is running");
            };
            assert!(!fallback.needs_http1(LONG));
            fallback.finished(&result, works);
            drop(result);
            let published = running.wait_for(Option::is_some).await.unwrap();
            assert_eq!(*published, Some(works));
            drop(published);
            assert_eq!(fallback.needs_http1(LONG), works);
            match fallback.rejected(LONG) {
                Decision::Use => assert!(works),
                Decision::No => assert!(!works),
                _ => panic!("probed twice"),
            }
            tokio::time::advance(LONG).await;
            assert!(!fallback.needs_http1(LONG), "expired");
        }
    }

    #[tokio::test]
    async fn an_abandoned_probe_is_repeated_by_the_next_request() {
        let mut fallback = FallbackProbe::default();
        let Decision::Probe(result) = fallback.rejected(LONG) else {
            panic!("not the first");
        };
        let Decision::Wait(mut running) = fallback.rejected(LONG) else {
            panic!("a probe is running");
        };
        drop(result);
        assert!(running.wait_for(Option::is_some).await.is_err());
        assert!(matches!(fallback.rejected(LONG), Decision::Probe(_)));
        assert!(matches!(fallback.rejected(LONG), Decision::Probe(_)));
    }
}
