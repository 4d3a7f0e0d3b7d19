//! How the parts of the library report: each through an object that exists as long as the thing it
//! reports on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Version;
use tracing::Span;

use super::{ConnectionEnd, ConnectionInfo, Handshake, Metrics, SocketEnd, SocketTraffic};
use crate::frame::Role;

/// Interval at which a WebSocket that is in use reports its traffic.
pub(crate) const REPORT: Duration = Duration::from_secs(1);

/// The receiver of events, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<dyn Metrics>>);

impl Observer {
    pub(crate) fn new(metrics: Arc<dyn Metrics>) -> Self {
        Self(Some(metrics))
    }

    pub(crate) fn report(&self, event: impl FnOnce(&dyn Metrics)) {
        if let Some(metrics) = &self.0 {
            event(&**metrics);
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "on" } else { "off" })
    }
}

/// A connection, its observer and its span.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) info: ConnectionInfo,
    pub(crate) observer: Observer,
    pub(crate) span: Span,
}

impl Observed {
    pub(crate) fn new(
        id: u64,
        role: Role,
        version: Version,
        observer: Observer,
        span: Span,
    ) -> Self {
        Self {
            info: ConnectionInfo { id, role, version },
            observer,
            span,
        }
    }
}

/// Counts an HTTP/1.1 connection until it is dropped.
pub(crate) struct OpenConnection {
    observed: Observed,
    broken: AtomicBool,
}

impl OpenConnection {
    pub(crate) fn new(observed: Observed) -> Self {
        let info = observed.info;
        observed.observer.report(|m| m.connection_opened(&info));
        Self {
            observed,
            broken: AtomicBool::new(false),
        }
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    pub(crate) fn broke(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let end = if *self.broken.get_mut() {
            ConnectionEnd::Broken
        } else {
            ConnectionEnd::Clean
        };
        let info = self.observed.info;
        self.observed
            .observer
            .report(|m| m.connection_closed(&info, end));
    }
}

/// A handshake in progress, whose result is reported once.
pub(crate) struct Handshaking {
    observer: Observer,
    role: Role,
    version: Option<Version>,
    reported: bool,
}

impl Handshaking {
    pub(crate) fn new(observer: Observer, role: Role, version: Option<Version>) -> Self {
        Self {
            observer,
            role,
            version,
            reported: false,
        }
    }

    /// Sets the version of HTTP that is used.
    pub(crate) fn on(&mut self, version: Version) {
        self.version = Some(version);
    }

    pub(crate) fn done(mut self, result: Handshake) {
        self.report(result);
    }

    fn report(&mut self, result: Handshake) {
        if !std::mem::replace(&mut self.reported, true) {
            let (role, version) = (self.role, self.version);
            self.observer.report(|m| m.handshake(role, version, result));
        }
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.report(Handshake::Dropped);
    }
}

/// Sums up the traffic of one WebSocket, and reports it from time to time.
pub(crate) struct SocketMeter {
    info: ConnectionInfo,
    observer: Observer,
    span: Span,
    traffic: SocketTraffic,
    reported: SocketTraffic,
    /// Time of the last report.
    at: Instant,
    end: SocketEnd,
}

impl SocketMeter {
    /// Returns `None` if nothing is observed, which costs a WebSocket a null pointer.
    pub(crate) fn new(observed: &Observed, span: Span) -> Option<Box<Self>> {
        let Observed { info, observer, .. } = observed;
        if !observer.is_on() && span.is_disabled() {
            return None;
        }
        observer.report(|m| m.socket_opened(info));
        Some(Box::new(Self {
            info: *info,
            observer: observer.clone(),
            span,
            traffic: SocketTraffic::default(),
            reported: SocketTraffic::default(),
            at: Instant::now(),
            end: SocketEnd::Dropped,
        }))
    }

    pub(crate) fn sent(&mut self, messages: u64, bytes: usize) {
        self.traffic.messages_sent += messages;
        self.traffic.bytes_sent += bytes as u64;
    }

    pub(crate) fn received(&mut self, messages: u64, bytes: usize) {
        self.traffic.messages_received += messages;
        self.traffic.bytes_received += bytes as u64;
    }

    /// Called when the WebSocket pauses, not for each message. Reads the clock only if there is
    /// something to report.
    pub(crate) fn pause(&mut self) {
        if self.traffic != self.reported && self.at.elapsed() >= REPORT {
            self.at = Instant::now();
            self.report();
        }
    }

    fn report(&mut self) {
        if self.traffic != self.reported {
            let traffic = self.traffic.since(&self.reported);
            self.reported = self.traffic;
            self.observer
                .report(|m| m.socket_traffic(&self.info, &traffic));
        }
    }

    /// Sets how the WebSocket ended, which is reported on drop.
    pub(crate) fn ends(&mut self, end: SocketEnd) {
        self.end = end;
    }
}

impl Drop for SocketMeter {
    fn drop(&mut self) {
        self.report();
        let SocketTraffic {
            messages_sent,
            messages_received,
            bytes_sent,
            bytes_received,
        } = self.traffic;
        tracing::debug!(
            parent: &self.span,
            end = ?self.end,
            messages_sent,
            messages_received,
            bytes_sent,
            bytes_received,
            "socket ended"
        );
        let end = self.end;
        self.observer.report(|m| m.socket_closed(&self.info, end));
    }
}
