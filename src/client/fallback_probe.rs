//! One more question before `Auto` gives up: whether a server that refused an
//! extended CONNECT takes the socket by an Upgrade of HTTP/1.1.
//!
//! SETTINGS_ENABLE_CONNECT_PROTOCOL is a word of the server's HTTP/2 stack (RFC
//! 8441 §3); what stands behind it may know nothing of it. RFC 8441 says
//! nothing about what a client does then. Traefik 3.7 advertises and answers
//! 501 to every extended CONNECT, lighttpd 1.4 advertises and answers 405 where
//! it leads to no socket, Envoy 1.40 passes on the 400 of a server that wanted a
//! key. Browsers fail such sockets; undici and others leave HTTP/2 to those who
//! ask for it. Here `Auto` promises a socket wherever HTTP/1.1 has one.
//!
//! # The rule
//!
//! A refusal of the *method* is asked again: 400, 405, 426 without a version of
//! WebSocket, 501, HTTP_1_1_REQUIRED (RFC 9113 §7), and a reset that names no
//! fault of ours. What a refusal *means* is not: 401, 403, 404, 421, 429,
//! redirects, 503 and all others would be the same in HTTP/1.1.
//!
//! | asked before, within `http1_cache_ttl` | the refused socket |
//! |---|---|
//! | nobody | asks, once, in the same call |
//! | somebody is asking | waits for what comes of it; where that is given up, one of those that wait asks |
//! | 101 | goes over HTTP/1.1, as all later ones do, without a question over HTTP/2 |
//! | anything else | fails by the answer to the extended CONNECT |
//!
//! So there is one more connection at most for an origin in that time, however
//! many are refused at once.
//!
//! # The key
//!
//! RFC 8441 §5 makes no use of `Sec-WebSocket-Key`, and browsers send none over
//! HTTP/2. Gateways to servers of RFC 6455 differ: nghttpx 1.52 and Caddy 2.11
//! make one and pass ours on beside it, which such a server answers with 400
//! (RFC 6455 §4.2.1: a single one); Envoy 1.40 makes none, with the same answer.
//! So a socket is asked for without a key, and after a 400 once more with one,
//! over the same connection and before HTTP/1.1. Where that helped, all later
//! sockets have it at once; where it did not, none has; for `http1_cache_ttl`.

use std::time::Duration;

use http::StatusCode;
use http::header::SEC_WEBSOCKET_VERSION;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, RejectedResponse};

/// What became of the last question.
#[derive(Default)]
pub(super) struct FallbackProbe {
    /// When it was answered, and whether by 101.
    answered: Option<(Instant, bool)>,
    /// Until it is answered or given up.
    under_way: Option<watch::Receiver<Option<bool>>>,
    /// When a key was tried over HTTP/2, and whether it helped.
    key: Option<(Instant, bool)>,
}

/// What a refused socket has to do.
pub(super) enum Ask {
    /// Go over HTTP/1.1: that works there.
    Instead,
    /// Ask, and tell.
    Now(watch::Sender<Option<bool>>),
    /// Wait for what comes of another's question.
    Later(watch::Receiver<Option<bool>>),
    /// Fail.
    No,
}

impl FallbackProbe {
    /// Whether sockets are known to work over HTTP/1.1 alone.
    pub(super) fn is_told(&self, http1_cache_ttl: Duration) -> bool {
        self.known(http1_cache_ttl) == Some(true)
    }

    fn known(&self, http1_cache_ttl: Duration) -> Option<bool> {
        let (at, works) = self.answered?;
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

    pub(super) fn refused(&mut self, http1_cache_ttl: Duration) -> Ask {
        match self.known(http1_cache_ttl) {
            Some(true) => return Ask::Instead,
            Some(false) => return Ask::No,
            None => {}
        }
        // Given up where nobody can tell any more.
        let alive = |asked: &&watch::Receiver<_>| asked.has_changed().is_ok();
        if let Some(under_way) = self.under_way.as_ref().filter(alive) {
            return Ask::Later(under_way.clone());
        }
        let (tell, under_way) = watch::channel(None);
        self.under_way = Some(under_way);
        Ask::Now(tell)
    }

    pub(super) fn answered(&mut self, tell: &watch::Sender<Option<bool>>, works: bool) {
        self.answered = Some((Instant::now(), works));
        self.under_way = None;
        tell.send_replace(Some(works));
    }
}

/// Whether a server may have missed a key.
pub(super) fn may_want_key(error: &Error) -> bool {
    matches!(error, Error::Rejected(refusal) if refusal.status == StatusCode::BAD_REQUEST)
}

/// Whether HTTP/1.1 may know better. `is_sent` where bytes went behind the
/// request, which must not be said twice to who may have acted on them.
pub(super) fn may_know_better(error: &Error, is_sent: bool) -> bool {
    match error {
        Error::Rejected(refusal) => refuses_the_method(refusal),
        Error::Reset {
            code,
            by_peer: true,
        } => names_no_fault((*code).into()) && !(is_sent && is_perhaps_processed((*code).into())),
        _ => is_http1_required(error),
    }
}

fn refuses_the_method(refusal: &RejectedResponse) -> bool {
    match refusal.status {
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            true
        }
        // With one it is about the version of WebSocket (RFC 6455 §4.4).
        StatusCode::UPGRADE_REQUIRED => !refusal.headers.contains_key(SEC_WEBSOCKET_VERSION),
        _ => false,
    }
}

/// RFC 9113 §7: the codes that do not blame the request or the connection.
fn names_no_fault(code: h2::Reason) -> bool {
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

/// Whether the server said HTTP_1_1_REQUIRED (RFC 9113 §7), to a stream or to
/// the connection.
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

    fn refused(status: u16, version: bool) -> Error {
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
    fn a_refusal_of_the_method_is_asked_again_and_no_other() {
        for status in 200..=599 {
            let again = [400, 405, 426, 501].contains(&status);
            let known = may_know_better(&refused(status, false), true);
            assert_eq!(known, again, "{status}");
        }
        assert!(!may_know_better(&refused(426, true), false));
        for code in 0..=14 {
            let reset = |by_peer| Error::Reset { code, by_peer };
            let again = [0, 2, 7, 8, 10, 13].contains(&code);
            assert_eq!(may_know_better(&reset(true), false), again, "{code}");
            let again = [7, 13].contains(&code);
            assert_eq!(may_know_better(&reset(true), true), again, "{code}, sent");
            assert!(!may_know_better(&reset(false), false));
            let goaway = Error::GoAway {
                code,
                by_peer: true,
                text: "".into(),
            };
            assert_eq!(may_know_better(&goaway, true), code == 13, "{code}");
        }
        let timeout = Error::Timeout(crate::error::Timeout::Handshake);
        assert!(!may_know_better(&timeout, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_and_all_go_by_it_until_it_is_forgotten() {
        let mut asking = FallbackProbe::default();
        for works in [true, false] {
            let Ask::Now(tell) = asking.refused(LONG) else {
                panic!("nobody has asked");
            };
            let Ask::Later(mut waits) = asking.refused(LONG) else {
                panic!("somebody asks");
            };
            assert!(!asking.is_told(LONG));
            asking.answered(&tell, works);
            drop(tell);
            let told = waits.wait_for(Option::is_some).await.unwrap();
            assert_eq!(*told, Some(works));
            drop(told);
            assert_eq!(asking.is_told(LONG), works);
            match asking.refused(LONG) {
                Ask::Instead => assert!(works),
                Ask::No => assert!(!works),
                _ => panic!("asked twice"),
            }
            tokio::time::advance(LONG).await;
            assert!(!asking.is_told(LONG), "forgotten");
        }
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_is_for_the_next() {
        let mut asking = FallbackProbe::default();
        let Ask::Now(tell) = asking.refused(LONG) else {
            panic!("nobody has asked");
        };
        let Ask::Later(mut waits) = asking.refused(LONG) else {
            panic!("somebody asks");
        };
        drop(tell);
        assert!(waits.wait_for(Option::is_some).await.is_err());
        assert!(matches!(asking.refused(LONG), Ask::Now(_)));
        assert!(matches!(asking.refused(LONG), Ask::Now(_)));
    }
}
