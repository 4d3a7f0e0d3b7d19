//! What may be amiss, who is to blame, and by which rule.

use std::fmt;

use h2::Reason;
use h2ws::frame::ProtocolError;
use h2ws::handshake::HandshakeError;
use http::StatusCode;

/// Whose affair a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Server,
    Proxy,
    /// Name resolution, routes, whatever lies between.
    Network,
    /// The probe gave up what may well be right.
    Probe,
}

impl Party {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Proxy => "proxy",
            Self::Network => "network",
            Self::Probe => "probe",
        }
    }
}

/// Where a finding was made, in the order of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// TCP, a proxy, TLS.
    Connection,
    /// The HTTP/2 connection as a whole.
    Http2,
    /// One of its sockets, the first being 1.
    Socket(u8),
    Http1,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Http2 => f.write_str("HTTP/2"),
            Self::Socket(number) => write!(f, "HTTP/2 socket {number}"),
            Self::Http1 => f.write_str("HTTP/1.1"),
        }
    }
}

/// What a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Proxy,
    Tls,
    Settings,
    Answer,
    Window,
    Pong,
    Close,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Proxy => "a tunnel",
            Self::Tls => "the TLS handshake",
            Self::Settings => "its SETTINGS",
            Self::Answer => "an answer to the opening request",
            Self::Window => "window to send in",
            Self::Pong => "a Pong to a Ping",
            Self::Close => "a Close frame to ours",
        }
    }
}

/// One thing that is amiss, or worth a remark.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    Resolve(String),
    Unreachable(String),
    Tunnel(String),
    Certificate(String),
    Tls(String),
    Silent(Step),
    /// ALPN's answer, and with it no HTTP/2.
    Alpn(Option<String>),
    /// What came in answer to the preface of HTTP/2, which was no more than
    /// tried where there is no ALPN.
    NotHttp2 {
        answer: String,
        tried: bool,
    },
    FirstFrame(u8),
    NoCapability,
    LateCapability,
    CapabilityValue(u32),
    CapabilityTakenBack,
    /// The capability is advertised, and not there.
    Unserved(StatusCode),
    Refused(StatusCode, Option<String>),
    /// A stream that ends with the answer that opens it.
    EndedWithAnswer(StatusCode),
    ContentLength,
    Handshake(HandshakeError),
    /// RST_STREAM instead of an answer.
    NotOpened(Reason),
    Reset(Reason),
    GoAway(Reason, String),
    /// What made the `h2` crate give the connection up.
    BrokenHttp2(Reason),
    /// The connection ended where it should not have.
    Lost(String),
    /// No HTTP/1.1 answer, in a version that ALPN picked or that was tried.
    BrokenHttp1 {
        text: String,
        tried: bool,
    },
    /// No HTTP/1.1 by ALPN.
    OnlyHttp2,
    Frames(ProtocolError),
    /// The stream, or connection, ended without a Close frame.
    NoClose,
    /// The server left a closed socket's stream, or connection, open.
    NotEnded(Place),
    /// The server ended the connection with its last socket.
    HungUp,
}

impl Finding {
    /// Whether somebody did wrong, or something went wrong. What is not, is a
    /// remark.
    pub(super) fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Alpn(_)
                | Self::NoCapability
                | Self::LateCapability
                | Self::Refused(..)
                | Self::HungUp
                | Self::OnlyHttp2
                | Self::NotHttp2 { tried: true, .. }
                | Self::BrokenHttp1 { tried: true, .. }
        ) && self.party() != Party::Probe
    }

    pub(super) fn party(&self) -> Party {
        match self {
            Self::Resolve(_) | Self::Unreachable(_) => Party::Network,
            Self::Tunnel(_) | Self::Silent(Step::Proxy) => Party::Proxy,
            Self::Frames(
                ProtocolError::FrameTooLarge { .. }
                | ProtocolError::MessageTooLarge { .. }
                | ProtocolError::TooManyFragments { .. },
            )
            | Self::BrokenHttp2(Reason::ENHANCE_YOUR_CALM) => Party::Probe,
            _ => Party::Server,
        }
    }

    /// Whether the library's `Auto` asks over HTTP/1.1 after it.
    pub(super) fn is_refusal_of_the_method(&self) -> bool {
        match self {
            Self::Unserved(_) => true,
            Self::Refused(status, _) => {
                matches!(
                    *status,
                    StatusCode::BAD_REQUEST | StatusCode::UPGRADE_REQUIRED
                )
            }
            Self::NotOpened(reason) => [
                Reason::NO_ERROR,
                Reason::INTERNAL_ERROR,
                Reason::REFUSED_STREAM,
                Reason::CANCEL,
                Reason::CONNECT_ERROR,
                Reason::HTTP_1_1_REQUIRED,
            ]
            .contains(reason),
            _ => false,
        }
    }

    /// The rule that is broken, or that a remark is about.
    pub(super) fn clause(&self) -> Option<&'static str> {
        Some(match self {
            Self::Certificate(_) => "RFC 9110 §4.3.4",
            Self::Alpn(_) | Self::OnlyHttp2 => "RFC 7301 §3.2",
            Self::NotHttp2 { .. } | Self::FirstFrame(_) | Self::Silent(Step::Settings) => {
                "RFC 9113 §3.4"
            }
            // A request that was not processed, and may be repeated.
            Self::NotOpened(Reason::REFUSED_STREAM) => "RFC 9113 §8.7",
            Self::NoCapability
            | Self::LateCapability
            | Self::CapabilityValue(_)
            | Self::CapabilityTakenBack
            | Self::Unserved(_)
            | Self::NotOpened(_) => "RFC 8441 §3",
            Self::ContentLength => "RFC 9110 §9.3.6",
            Self::Handshake(error) => return Some(handshake_clause(error)),
            Self::GoAway(..) => "RFC 9113 §6.8",
            Self::BrokenHttp2(Reason::ENHANCE_YOUR_CALM) => return None,
            Self::BrokenHttp2(_) => "RFC 9113 §5.4.1",
            Self::Frames(error) => return frames_clause(error),
            Self::NoClose | Self::Reset(_) => "RFC 6455 §7.1.5",
            Self::Silent(Step::Pong) => "RFC 6455 §5.5.2",
            Self::Silent(Step::Close) | Self::NotEnded(Place::Http1) => "RFC 6455 §5.5.1",
            Self::EndedWithAnswer(_) | Self::NotEnded(_) => "RFC 8441 §5",
            Self::Silent(Step::Window) => "RFC 9113 §6.9",
            Self::Resolve(_)
            | Self::Unreachable(_)
            | Self::Tunnel(_)
            | Self::Tls(_)
            | Self::Silent(_)
            | Self::Refused(..)
            | Self::Lost(_)
            | Self::BrokenHttp1 { .. }
            | Self::HungUp => return None,
        })
    }
}

fn handshake_clause(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::Deflate(_) => "RFC 7692 §7.1",
        HandshakeError::RepeatedExtension(_) => "RFC 6455 §9.1",
        HandshakeError::MalformedHeader(_) | HandshakeError::SeveralSubprotocols => {
            "RFC 6455 §4.2.2"
        }
        _ => "RFC 6455 §4.1",
    }
}

/// None for a limit of ours.
fn frames_clause(error: &ProtocolError) -> Option<&'static str> {
    Some(match error {
        ProtocolError::MaskedFrame | ProtocolError::UnmaskedFrame => "RFC 6455 §5.1",
        ProtocolError::ReservedBit
        | ProtocolError::ReservedOpCode(_)
        | ProtocolError::NonMinimalLength
        | ProtocolError::LengthTopBit => "RFC 6455 §5.2",
        ProtocolError::UnexpectedContinuation | ProtocolError::InterleavedMessage => {
            "RFC 6455 §5.4"
        }
        ProtocolError::FragmentedControl | ProtocolError::ControlTooLong => "RFC 6455 §5.5",
        ProtocolError::TruncatedCloseCode | ProtocolError::InvalidCloseReason => "RFC 6455 §5.5.1",
        ProtocolError::InvalidCloseCode(_) => "RFC 6455 §7.4",
        ProtocolError::InvalidUtf8 => "RFC 6455 §8.1",
        ProtocolError::InvalidDeflate => "RFC 7692 §7.2.2",
        _ => return None,
    })
}

/// The name of an error code as RFC 9113 §7 spells it.
pub(super) fn reason_name(reason: Reason) -> String {
    // `Debug` gives the name where there is one.
    match u32::from(reason) {
        code @ 0..=13 => format!("{reason:?} ({code})"),
        code => format!("code {code}"),
    }
}

/// Without the clause, so that whoever shows it can set that apart.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(text) => write!(f, "the name has no address: {text}"),
            Self::Unreachable(text) => write!(f, "no TCP connection: {text}"),
            Self::Tunnel(text) => f.write_str(text),
            Self::Certificate(text) => write!(
                f,
                "the certificate is not to be trusted: {text} (--insecure goes on all the same)"
            ),
            Self::Tls(text) => write!(f, "the TLS handshake failed: {text}"),
            Self::Silent(step) => write!(f, "waited for {} in vain", step.name()),
            Self::Alpn(Some(picked)) => write!(f, "ALPN picked {picked}: no HTTP/2"),
            Self::Alpn(None) => f.write_str("no answer to ALPN: no HTTP/2"),
            Self::NotHttp2 { answer, .. } => write!(f, "answered HTTP/2's preface with {answer}"),
            Self::FirstFrame(kind) => write!(f, "the first frame is no SETTINGS but type {kind}"),
            Self::NoCapability => {
                f.write_str("HTTP/2 without ENABLE_CONNECT_PROTOCOL: extended CONNECT not tried")
            }
            Self::LateCapability => f.write_str(
                "ENABLE_CONNECT_PROTOCOL is not in the first SETTINGS but in a later one: \
                 clients that look once miss it",
            ),
            Self::CapabilityValue(value) => {
                write!(f, "ENABLE_CONNECT_PROTOCOL is {value}, neither 0 nor 1")
            }
            Self::CapabilityTakenBack => f.write_str("took ENABLE_CONNECT_PROTOCOL back"),
            Self::Unserved(status) => {
                write!(f, "advertised ENABLE_CONNECT_PROTOCOL but answers {status}")
            }
            Self::Refused(status, location) => {
                write!(f, "refused this opening request with {status}")?;
                location
                    .as_ref()
                    .map_or(Ok(()), |location| write!(f, ", location {location}"))
            }
            Self::EndedWithAnswer(status) => write!(f, "answered {status} with END_STREAM"),
            Self::ContentLength => {
                f.write_str("the 2xx answer to a CONNECT has a content-length or transfer-encoding")
            }
            Self::Handshake(error) => write!(f, "the opening handshake is not valid: {error}"),
            Self::NotOpened(reason) => write!(
                f,
                "advertised ENABLE_CONNECT_PROTOCOL but reset the stream, {}, instead of an answer",
                reason_name(*reason)
            ),
            Self::Reset(reason) => write!(
                f,
                "reset the stream before the closing handshake was done, {}",
                reason_name(*reason)
            ),
            Self::GoAway(reason, debug) => {
                write!(
                    f,
                    "ended the connection by GOAWAY, {}",
                    reason_name(*reason)
                )?;
                if debug.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", {debug:?}")
                }
            }
            Self::BrokenHttp2(Reason::ENHANCE_YOUR_CALM) => {
                f.write_str("sent more frames without content than the probe takes")
            }
            Self::BrokenHttp2(reason) => write!(
                f,
                "broke HTTP/2 (what our side calls {})",
                reason_name(*reason)
            ),
            Self::Lost(text) => write!(f, "the connection ended: {text}"),
            Self::BrokenHttp1 { text, .. } => write!(f, "no HTTP/1.1 answer: {text}"),
            Self::OnlyHttp2 => f.write_str("takes no http/1.1 by ALPN: HTTP/2 only"),
            Self::Frames(error) => write!(f, "{error}"),
            Self::NoClose => f.write_str("the socket ended without a Close frame (1006)"),
            Self::NotEnded(Place::Http1) => {
                f.write_str("left the connection open after the closing handshake")
            }
            Self::NotEnded(_) => f.write_str(
                "left the stream open after the closing handshake (no END_STREAM, no reset)",
            ),
            Self::HungUp => f.write_str("ended the connection with its last socket"),
        }
    }
}

/// A finding and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) finding: Finding,
}

impl Finding {
    pub(super) fn at(self, place: Place) -> Found {
        Found {
            place,
            finding: self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_ours_is_nobody_elses_fault() {
        let limit = Finding::Frames(ProtocolError::MessageTooLarge { size: 2, limit: 1 });
        assert_eq!((limit.party(), limit.clause()), (Party::Probe, None));
        assert!(!limit.is_fault());
        let breach = Finding::Frames(ProtocolError::MaskedFrame);
        assert_eq!(breach.party(), Party::Server);
        assert_eq!(breach.clause(), Some("RFC 6455 §5.1"));
        assert!(breach.is_fault());
    }

    #[test]
    fn codes_are_named_where_they_have_a_name() {
        assert_eq!(reason_name(Reason::CANCEL), "CANCEL (8)");
        assert_eq!(reason_name(Reason::from(77)), "code 77");
    }
}
