//! Findings: what may be wrong, the party at fault, and the clause of the RFC.

use std::fmt;

use h2::Reason;
use h2ws::frame::ProtocolError;
use h2ws::handshake::HandshakeError;
use http::StatusCode;

use crate::error::with_causes;
use crate::tls::invalid_certificate;

/// The party that caused a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Server,
    Proxy,
    /// Name resolution, and the network between.
    Network,
    /// A limit of the probe was reached; the server may be right.
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

/// What a finding is about, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// TCP, a proxy, TLS.
    Connection,
    /// The HTTP/2 connection as a whole.
    Http2,
    /// A WebSocket on it, counted from 1.
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

/// What the probe was waiting for when it timed out.
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
            Self::Proxy => "the proxy",
            Self::Tls => "the TLS handshake",
            Self::Settings => "the SETTINGS frame",
            Self::Answer => "an answer to the opening request",
            Self::Window => "flow-control window to send in",
            Self::Pong => "a Pong to a Ping",
            Self::Close => "a Close frame in reply",
        }
    }
}

/// A fault, or a remark.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    Resolve(String),
    Unreachable(String),
    Tunnel(String),
    Certificate(String),
    Tls(String),
    Silent(Step),
    /// ALPN selected this, which is not HTTP/2.
    Alpn(Option<String>),
    /// The server's answer to the HTTP/2 preface. `tried`: the server did not claim to support
    /// HTTP/2, because there was no ALPN.
    NotHttp2 {
        answer: String,
        tried: bool,
    },
    FirstFrame(u8),
    NoCapability,
    LateCapability,
    CapabilityValue(u32),
    CapabilityTakenBack,
    /// Extended CONNECT is advertised but not supported.
    Unserved(StatusCode),
    Rejected(StatusCode, Option<String>),
    /// The accepting answer also ended the stream.
    EndedWithAnswer(StatusCode),
    ContentLength,
    Handshake(HandshakeError),
    /// RST_STREAM instead of an answer.
    NotOpened(Reason),
    Reset(Reason),
    GoAway(Reason, String),
    /// A protocol error that made the `h2` crate close the connection.
    BrokenHttp2(Reason),
    /// The connection ended unexpectedly.
    Lost(String),
    /// No valid HTTP/1.1 answer. `tried`: the server did not claim to support HTTP/1.1, because there
    /// was no ALPN.
    BrokenHttp1 {
        text: String,
        tried: bool,
    },
    /// ALPN rejected HTTP/1.1.
    OnlyHttp2,
    Frames(ProtocolError),
    /// The stream, or connection, ended without a Close frame.
    NoClose,
    /// The server left the stream, or connection, of a closed WebSocket open.
    NotEnded(Place),
    /// The server closed the connection together with its last WebSocket.
    HungUp,
}

impl Finding {
    /// Whether this is a fault rather than a remark.
    pub(super) fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Alpn(_)
                | Self::NoCapability
                | Self::LateCapability
                | Self::Rejected(..)
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

    /// Whether the library's `Auto` falls back to HTTP/1.1 after this.
    pub(super) fn causes_fallback(&self) -> bool {
        match self {
            Self::Unserved(_) => true,
            Self::Rejected(status, _) => {
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

    /// Returns the clause that was violated, or that a remark is about.
    pub(super) fn clause(&self) -> Option<&'static str> {
        Some(match self {
            Self::Certificate(_) => "RFC 9110 §4.3.4",
            Self::Alpn(_) | Self::OnlyHttp2 => "RFC 7301 §3.2",
            Self::NotHttp2 { .. } | Self::FirstFrame(_) | Self::Silent(Step::Settings) => {
                "RFC 9113 §3.4"
            }
            // The request was not processed and may be repeated.
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
            | Self::Rejected(..)
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

/// Returns `None` for a limit of the probe.
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

/// Returns the name of an error code as in RFC 9113 §7, with its number.
pub(super) fn reason_name(reason: Reason) -> String {
    // `Debug` prints the name of a known code.
    match u32::from(reason) {
        code @ 0..=13 => format!("{reason:?} ({code})"),
        code => format!("code {code}"),
    }
}

/// The text does not include the clause, which reports show separately.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(text) => write!(f, "cannot resolve {text}"),
            Self::Unreachable(text) => write!(f, "no TCP connection: {text}"),
            Self::Tunnel(text) => f.write_str(text),
            Self::Certificate(text) => f.write_str(&invalid_certificate(text)),
            Self::Tls(text) => write!(f, "TLS handshake failed: {text}"),
            Self::Silent(step) => write!(f, "timed out waiting for {}", step.name()),
            Self::Alpn(Some(selected)) => write!(f, "ALPN selected {selected}: no HTTP/2"),
            Self::Alpn(None) => f.write_str("ALPN was not answered: no HTTP/2"),
            Self::NotHttp2 { answer, .. } => {
                write!(f, "answered the HTTP/2 preface with {answer}")
            }
            Self::FirstFrame(kind) => {
                write!(f, "the first frame is of type {kind} instead of SETTINGS")
            }
            Self::NoCapability => {
                f.write_str("HTTP/2 without ENABLE_CONNECT_PROTOCOL: extended CONNECT not tried")
            }
            Self::LateCapability => f.write_str(
                "ENABLE_CONNECT_PROTOCOL is not in the first SETTINGS frame but in a later frame: \
                 clients that check it once miss it",
            ),
            Self::CapabilityValue(value) => {
                write!(f, "ENABLE_CONNECT_PROTOCOL is {value}; valid are 0 and 1")
            }
            Self::CapabilityTakenBack => {
                f.write_str("set ENABLE_CONNECT_PROTOCOL to 0 after it was 1")
            }
            Self::Unserved(status) => {
                write!(f, "advertised ENABLE_CONNECT_PROTOCOL but answered {status}")
            }
            Self::Rejected(status, location) => {
                write!(f, "rejected this opening request with {status}")?;
                location
                    .as_ref()
                    .map_or(Ok(()), |location| write!(f, ", location {location}"))
            }
            Self::EndedWithAnswer(status) => write!(f, "answered {status} with END_STREAM"),
            Self::ContentLength => {
                f.write_str("the 2xx answer to CONNECT has a content-length or transfer-encoding")
            }
            Self::Handshake(error) => {
                write!(f, "invalid opening handshake: {}", with_causes(error))
            },
            Self::NotOpened(reason) => write!(
                f,
                "advertised ENABLE_CONNECT_PROTOCOL but reset the stream with {} instead of answering",
                reason_name(*reason)
            ),
            Self::Reset(reason) => write!(
                f,
                "reset the stream with {} before the end of the closing handshake",
                reason_name(*reason)
            ),
            Self::GoAway(reason, debug) => {
                write!(
                    f,
                    "closed the connection with GOAWAY {}",
                    reason_name(*reason)
                )?;
                if debug.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", {debug:?}")
                }
            }
            Self::BrokenHttp2(Reason::ENHANCE_YOUR_CALM) => {
                f.write_str("sent more frames without content than the probe accepts")
            }
            Self::BrokenHttp2(reason) => write!(
                f,
                "violated HTTP/2; our side ended the connection with {}",
                reason_name(*reason)
            ),
            Self::Lost(text) => write!(f, "the connection ended: {text}"),
            Self::BrokenHttp1 { text, .. } => write!(f, "no valid HTTP/1.1 answer: {text}"),
            Self::OnlyHttp2 => f.write_str("ALPN rejected http/1.1: HTTP/2 only"),
            Self::Frames(error) => write!(f, "{error}"),
            Self::NoClose => f.write_str("the WebSocket ended without a Close frame (1006)"),
            Self::NotEnded(Place::Http1) => {
                f.write_str("left the connection open after the closing handshake")
            }
            Self::NotEnded(_) => f.write_str(
                "left the stream open after the closing handshake (neither END_STREAM nor RST_STREAM)",
            ),
            Self::HungUp => f.write_str("closed the connection with its last WebSocket"),
        }
    }
}

/// A finding and what it is about.
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
    fn a_limit_of_the_probe_is_not_the_servers_fault() {
        let limit = Finding::Frames(ProtocolError::MessageTooLarge { size: 2, limit: 1 });
        assert_eq!((limit.party(), limit.clause()), (Party::Probe, None));
        assert!(!limit.is_fault());
        let breach = Finding::Frames(ProtocolError::MaskedFrame);
        assert_eq!(breach.party(), Party::Server);
        assert_eq!(breach.clause(), Some("RFC 6455 §5.1"));
        assert!(breach.is_fault());
    }

    #[test]
    fn known_error_codes_have_names() {
        assert_eq!(reason_name(Reason::CANCEL), "CANCEL (8)");
        assert_eq!(reason_name(Reason::from(77)), "code 77");
    }
}
