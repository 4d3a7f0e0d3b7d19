//! Everything that was seen of a server; reports are made of nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use h2ws::handshake::Target;
use http::{HeaderMap, StatusCode};

use super::finding::{Found, Place};
use super::observe::Settings;

/// Of one URL.
pub(super) struct Facts {
    pub(super) target: Target,
    /// On the way there, without what it is told.
    pub(super) proxy: Option<String>,
    /// As resolved; none behind a proxy, which resolves by itself.
    pub(super) addresses: Vec<SocketAddr>,
    /// The connection on which HTTP/2 is tried.
    pub(super) first: Option<Link>,
    pub(super) http2: Http2,
    /// A connection for HTTP/1.1; none if the first one served.
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

    /// Whether extended CONNECT was promised.
    pub(super) fn is_advertised(&self) -> bool {
        let capability = &self.http2.capability;
        matches!(capability, Capability::First | Capability::Later(_))
    }

    /// Whether the promise was broken in one of the ways after which the
    /// library's `Auto` asks over HTTP/1.1.
    pub(super) fn is_method_refused(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|found| {
            found.place == Place::Socket(1) && found.finding.is_refusal_of_the_method()
        })
    }
}

/// What a server is good for, the best first: of several, the last counts.
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

/// A connection.
#[derive(Default)]
pub(super) struct Link {
    /// None behind a proxy.
    pub(super) peer: Option<SocketAddr>,
    /// TCP, and a proxy's answer.
    pub(super) connect: Duration,
    pub(super) tls: Option<Tls>,
}

/// A TLS session, or as much of one as there was.
#[derive(Default)]
pub(super) struct Tls {
    pub(super) time: Option<Duration>,
    pub(super) version: Option<String>,
    pub(super) cipher: Option<String>,
    pub(super) alpn: Option<String>,
    pub(super) certificate: Option<Certificate>,
    pub(super) trust: Trust,
}

/// What became of the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    /// There was none to look at.
    #[default]
    Unknown,
    /// `--insecure`.
    NotChecked,
    Trusted,
    Refused(String),
}

/// The server's own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// The first and the last day, such as `2026-11-21`.
    pub(super) from: String,
    pub(super) until: String,
}

/// An HTTP/2 connection.
#[derive(Default)]
pub(super) struct Http2 {
    pub(super) settings: Vec<Settings>,
    pub(super) capability: Capability,
    /// In the order in which they were opened: one that is looked at closely,
    /// one after it, one beside that.
    pub(super) sockets: Vec<Socket>,
    /// Why there are not three.
    pub(super) stopped: Option<&'static str>,
    pub(super) goaway: Option<Reason>,
}

/// Whether the server takes extended CONNECT, by its SETTINGS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Capability {
    /// No SETTINGS came.
    #[default]
    Unknown,
    Absent,
    First,
    Later(Duration),
}

/// One attempt at a WebSocket.
pub(super) struct Socket {
    pub(super) place: Place,
    pub(super) stream: Option<u32>,
    pub(super) opening: Option<Opening>,
    pub(super) echo: Echo,
    /// Messages that came beside an echo.
    pub(super) pushed: u32,
    /// Round trips of the pings that were answered, in order.
    pub(super) pings: Vec<Duration>,
    pub(super) pings_sent: u32,
    pub(super) close: Option<Close>,
    pub(super) ending: Option<Ending>,
    /// Whether frames went both ways, and nothing broke before the close.
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
    /// As the server answered them.
    pub(super) extensions: Vec<String>,
}

/// What came back for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    NotTried,
    Same(Duration),
    /// The first message that came instead: its kind, its length in bytes, its
    /// beginning.
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
    /// Whether it came before ours.
    pub(super) by_server: bool,
}

/// What followed the two Close frames, within a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    EndStream,
    /// END_STREAM on a frame with bytes in it, the Close frame's most likely.
    EndStreamWithData,
    Reset(Reason),
    GoAway(Reason),
    /// TCP (or TLS) ended; over HTTP/1.1 that is as it should be.
    Disconnected,
    Nothing,
}
