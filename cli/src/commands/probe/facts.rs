//! Everything that was learned about a server. Both reports are made from this alone.

use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use h2ws::handshake::Target;
use http::{HeaderMap, StatusCode};

use super::finding::{Found, Place};

/// The results for one URL.
pub(super) struct Facts {
    pub(super) target: Target,
    /// The proxy in use, without its credentials.
    pub(super) proxy: Option<String>,
    /// The host's addresses; empty with a proxy, which resolves the name itself.
    pub(super) addresses: Vec<SocketAddr>,
    /// The connection on which HTTP/2 was tried.
    pub(super) first: Option<Link>,
    pub(super) http2: Http2,
    /// The connection for HTTP/1.1, unless the first one was used.
    pub(super) second: Option<Link>,
    pub(super) http1: Option<Socket>,
    pub(super) findings: Vec<Found>,
}

impl Facts {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            proxy: None,
            addresses: Vec::new(),
            first: None,
            http2: Http2::default(),
            second: None,
            http1: None,
            findings: Vec::new(),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let works = |socket: Option<&Socket>| socket.is_some_and(|socket| socket.works);
        if works(self.http2.sockets.first()) {
            Verdict::Http2
        } else if works(self.http1.as_ref()) {
            Verdict::Http1
        } else {
            Verdict::None
        }
    }

    /// Whether the server advertised extended CONNECT.
    pub(super) fn is_advertised(&self) -> bool {
        let capability = &self.http2.capability;
        matches!(capability, Capability::First | Capability::Later(_))
    }

    /// Whether the first WebSocket failed in a way after which the library's `Auto` falls back to
    /// HTTP/1.1.
    pub(super) fn falls_back(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|found| found.place == Place::Socket(1) && found.finding.causes_fallback())
    }
}

/// What works, the best first. The result for several URLs is the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Http2,
    Http1,
    None,
}

impl Verdict {
    pub(super) fn exit_status(self) -> u8 {
        match self {
            Self::Http2 => 0,
            Self::Http1 => 3,
            Self::None => 1,
        }
    }
}

/// A TCP connection, or a tunnel.
#[derive(Default)]
pub(super) struct Link {
    /// `None` with a proxy.
    pub(super) peer: Option<SocketAddr>,
    /// Time to connect, including a proxy's answer.
    pub(super) connect: Duration,
    pub(super) tls: Option<Tls>,
}

/// A TLS session, or what is known of a handshake that failed.
#[derive(Default)]
pub(super) struct Tls {
    pub(super) time: Option<Duration>,
    pub(super) version: Option<String>,
    pub(super) cipher: Option<String>,
    pub(super) alpn: Option<String>,
    pub(super) certificate: Option<Certificate>,
    pub(super) trust: Trust,
}

/// The result of verifying the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    /// The server sent none.
    #[default]
    Unknown,
    /// `--insecure`.
    NotChecked,
    Trusted,
    Rejected(String),
}

/// The server's own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// First and last day of validity, such as `2026-11-21`.
    pub(super) from: String,
    pub(super) until: String,
}

/// An HTTP/2 connection.
#[derive(Default)]
pub(super) struct Http2 {
    pub(super) settings: Vec<Settings>,
    pub(super) capability: Capability,
    /// In the order of opening: one that is examined closely, one after it, and one while the second
    /// is open.
    pub(super) sockets: Vec<Socket>,
    /// Why there are fewer than three.
    pub(super) stopped: Option<&'static str>,
    pub(super) goaway: Option<Reason>,
}

/// A SETTINGS frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Time since the start of the HTTP/2 connection.
    pub(super) after: Duration,
    /// Identifiers and values, in the order in which they were sent.
    pub(super) list: Vec<(u16, u32)>,
}

/// Whether, and in which SETTINGS frame, the server enabled extended CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Capability {
    /// There was no SETTINGS frame.
    #[default]
    Unknown,
    Absent,
    First,
    Later(Duration),
}

/// One attempt to open and use a WebSocket.
pub(super) struct Socket {
    pub(super) place: Place,
    pub(super) stream: Option<u32>,
    pub(super) opening: Option<Opening>,
    pub(super) echo: Echo,
    /// Number of messages other than the echo.
    pub(super) pushed: u32,
    /// Round-trip times of the answered Pings, in order.
    pub(super) pings: Vec<Duration>,
    pub(super) pings_sent: u32,
    pub(super) close: Option<Close>,
    pub(super) ending: Option<Ending>,
    /// Whether frames were exchanged in both directions without a failure before the close.
    pub(super) works: bool,
}

impl Socket {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            stream: None,
            opening: None,
            echo: Echo::NotTried,
            pushed: 0,
            pings: Vec::new(),
            pings_sent: 0,
            close: None,
            ending: None,
            works: false,
        }
    }

    pub(super) fn ping_median(&self) -> Option<Duration> {
        let mut pings = self.pings.clone();
        pings.sort_unstable();
        pings.get(pings.len() / 2).copied()
    }
}

/// The answer to an opening request.
pub(super) struct Opening {
    pub(super) time: Duration,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) subprotocol: Option<String>,
    /// As in the server's answer.
    pub(super) extensions: Vec<String>,
    /// The first line of the body, if the server refuses.
    pub(super) body: Option<String>,
}

/// The server's reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    NotTried,
    Same(Duration),
    /// The first message that arrived instead: its kind, length in bytes, and beginning.
    Other {
        kind: &'static str,
        len: usize,
        beginning: String,
    },
    Nothing,
}

/// The server's Close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: Option<u16>,
    pub(super) reason: String,
    /// Whether it arrived before ours was sent.
    pub(super) by_server: bool,
}

/// How the server ended the stream or connection after the two Close frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    EndStream,
    /// END_STREAM on a DATA frame that is not empty, most likely that of the Close frame.
    EndStreamWithData,
    Reset(Reason),
    GoAway(Reason),
    /// The connection was closed, as it should be over HTTP/1.1.
    Disconnected,
    Nothing,
}
