//! One line for each request for a socket, at its end.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use http::StatusCode;

use crate::frame::CloseCode;
use crate::server::Upgrade;
use crate::transport::Transport;

/// Who did something to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Client,
    Upstream,
    Bridge,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Bridge => "bridge",
        })
    }
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Who ended it first, and with which code: 1005 where the Close frame had
    /// none, 1006 where there was none (RFC 6455 §7.1.5).
    By(Party, CloseCode),
    /// A side was reset, or its connection broke.
    Broken(Party),
    /// It had begun to end, and then nothing came.
    Silence,
    /// There was no socket: the request was refused.
    Refused,
    /// There was no socket: the client did not wait for the answer.
    Gone,
}

impl Closed {
    fn by(self) -> Party {
        match self {
            Self::By(party, _) | Self::Broken(party) => party,
            Self::Gone => Party::Client,
            Self::Silence | Self::Refused => Party::Bridge,
        }
    }

    fn code(self) -> Option<u16> {
        match self {
            Self::By(_, code) => Some(code.into()),
            Self::Broken(_) | Self::Silence => Some(CloseCode::ABNORMAL.into()),
            Self::Refused | Self::Gone => None,
        }
    }

    fn how(self) -> &'static str {
        match self {
            Self::By(_, CloseCode::ABNORMAL) => "end",
            Self::By(..) => "close",
            Self::Broken(_) => "reset",
            Self::Silence => "silence",
            Self::Refused => "refused",
            Self::Gone => "gone",
        }
    }
}

/// What is told of a socket; the target of the line is `h2ws::access`.
pub(super) struct Access {
    began: Instant,
    peer: SocketAddr,
    transport: Transport,
    authority: String,
    /// Without its query, which may hold secrets.
    path: String,
    pub(super) route: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) status: Option<StatusCode>,
    pub(super) up: u64,
    pub(super) down: u64,
    closed: Closed,
}

impl Access {
    pub(super) fn begin(request: &Upgrade) -> Self {
        Self {
            began: Instant::now(),
            peer: request.peer_addr(),
            transport: request.transport(),
            authority: request.authority().to_string(),
            path: request.path().to_owned(),
            route: None,
            upstream: None,
            status: None,
            up: 0,
            down: 0,
            closed: Closed::Gone,
        }
    }

    /// There is a socket; if nothing is heard of its end, it was cut.
    pub(super) fn opened(&mut self) {
        self.closed = Closed::Broken(Party::Bridge);
    }

    pub(super) fn end(mut self, closed: Closed) {
        self.closed = closed;
    }
}

/// A request whose client has gone is dropped by the server, before its answer.
impl Drop for Access {
    fn drop(&mut self) {
        let closed = self.closed;
        tracing::info!(
            target: "h2ws::access",
            peer = %self.peer,
            transport = %self.transport,
            authority = self.authority,
            path = self.path,
            route = self.route,
            upstream = self.upstream,
            status = self.status.map(|status| status.as_u16()),
            bytes_up = self.up,
            bytes_down = self.down,
            milliseconds = self.began.elapsed().as_millis() as u64,
            closed_by = %closed.by(),
            closed = closed.how(),
            code = closed.code(),
            "socket"
        );
    }
}
