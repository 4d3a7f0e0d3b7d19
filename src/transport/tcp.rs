//! Socket options that are set on every TCP connection, accepted or dialled.
//! They are set in one place so that no connection goes without.
//!
//! A peer can vanish without a FIN, because its machine lost power or a router
//! on the path dropped the connection's state. Only the operating system's
//! keepalive probes detect that for HTTP/1.1 connections, TCP upstreams and
//! connections that wait for their next request: none of these has a PING of
//! its own.

use std::any::Any;
use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::{BoxIo, Io};

/// How a TCP connection detects that its peer has vanished (RFC 9293 §3.8.4,
/// RFC 5482), and how much it may hold unsent.
///
/// With the defaults a vanished peer is detected within three minutes, whether
/// the connection is idle or has data to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Idle time after which the operating system sends the first keepalive
    /// probe. `None` turns probes off. Default 60 s.
    pub keepalive_idle: Option<Duration>,
    /// Time between two probes. Default 20 s.
    pub keepalive_interval: Duration,
    /// Number of unanswered probes after which the connection is closed, unless
    /// [`user_timeout`](Self::user_timeout) applies first. Default 6.
    pub keepalive_probes: u32,
    /// Maximum time for which sent data may stay unacknowledged, or data may
    /// stay unsent because the peer's receive window is full, before the
    /// connection is closed (`TCP_USER_TIMEOUT`). It therefore also limits how
    /// long the peer of a WebSocket over HTTP/1.1 may stop reading while there
    /// is data for it. `None` leaves it to the operating system, which takes a
    /// quarter of an hour or more. Linux and Android only. Default 3 minutes.
    pub user_timeout: Option<Duration>,
    /// Number of bytes that the operating system may hold unsent, in addition
    /// to what it has sent and the peer has not acknowledged
    /// (`TCP_NOTSENT_LOWAT`). A message waits for all of them, on whichever
    /// stream of an HTTP/2 connection they are. With 128 KiB, a short message
    /// waits less for bulk data on other streams, and bulk data takes a tenth
    /// more processor time. Linux and Android only. Default `None`: the
    /// operating system holds up to 4 MiB.
    pub notsent_lowat: Option<u32>,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            keepalive_idle: Some(Duration::from_secs(60)),
            keepalive_interval: Duration::from_secs(20),
            keepalive_probes: 6,
            user_timeout: Some(Duration::from_secs(180)),
            notsent_lowat: None,
        }
    }
}

impl TcpConfig {
    /// Sets the idle time before the first keepalive probe; `None` turns probes
    /// off.
    #[must_use]
    pub fn keepalive_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.keepalive_idle = idle.into();
        self
    }

    /// Sets the time between two keepalive probes.
    #[must_use]
    pub fn keepalive_interval(mut self, interval: Duration) -> Self {
        self.keepalive_interval = interval;
        self
    }

    /// Sets the number of unanswered probes that close the connection.
    #[must_use]
    pub fn keepalive_probes(mut self, probes: u32) -> Self {
        self.keepalive_probes = probes;
        self
    }

    /// Sets how long sent data may stay unacknowledged; `None` leaves it to the
    /// operating system.
    #[must_use]
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.user_timeout = timeout.into();
        self
    }

    /// Sets how many bytes the operating system may hold unsent; `None` leaves
    /// it to the operating system.
    #[must_use]
    pub fn notsent_lowat(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.notsent_lowat = bytes.into();
        self
    }

    /// Sets the options on a connection. An option that the operating system
    /// rejects is logged and skipped: a connection without it is better than
    /// none.
    pub(crate) fn apply(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        if let Some(keepalive) = self.keepalive()
            && let Err(error) = socket.set_tcp_keepalive(&keepalive)
        {
            tracing::debug!(%error, "cannot enable TCP keepalive");
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(timeout) = self.user_timeout
            && let Err(error) = socket.set_tcp_user_timeout(Some(at_least(timeout, MILLISECOND)))
        {
            tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(bytes) = self.notsent_lowat
            && let Err(error) = socket.set_tcp_notsent_lowat(bytes.clamp(1, MAX_INT))
        {
            tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
        }
        Ok(())
    }

    /// Erases the type of what a connection runs on, and sets it up if it is TCP.
    pub(crate) fn boxed(&self, io: impl Io + 'static) -> BoxIo {
        let any: &dyn Any = &io;
        if let Some(tcp) = any.downcast_ref()
            && let Err(error) = self.apply(tcp)
        {
            // The next read or write reports what is wrong with it.
            tracing::debug!(%error, "cannot set up a TCP connection");
        }
        Box::new(io)
    }

    fn keepalive(&self) -> Option<TcpKeepalive> {
        let keepalive = TcpKeepalive::new().with_time(at_least(self.keepalive_idle?, SECOND));
        #[cfg(any(
            target_os = "linux",
            target_os = "android",
            target_os = "macos",
            target_os = "ios",
            target_os = "freebsd",
            target_os = "netbsd",
            windows
        ))]
        let keepalive = keepalive
            .with_interval(at_least(self.keepalive_interval, SECOND))
            .with_retries(self.keepalive_probes.clamp(1, MAX_PROBES));
        Some(keepalive)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(any(target_os = "linux", target_os = "android"))]
const MILLISECOND: Duration = Duration::from_millis(1);

/// Largest number of bytes that Linux accepts. It takes zero as its own default.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_INT: u32 = i32::MAX as u32;

/// Largest number of probes that Linux accepts.
const MAX_PROBES: u32 = 127;

/// Longest time that Linux accepts.
const LONGEST: Duration = Duration::from_secs(32_767);

/// Clamps `time` to what operating systems accept. They count in whole `unit`s,
/// and take zero as an error or as "off".
fn at_least(time: Duration, unit: Duration) -> Duration {
    time.clamp(unit, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn keepalive_is_on_unless_turned_off() {
        let (near, far) = pair().await;
        TcpConfig::default().apply(&near).unwrap();
        assert!(SockRef::from(&near).keepalive().unwrap());
        assert!(near.nodelay().unwrap());
        let off = TcpConfig::default().keepalive_idle(None).user_timeout(None);
        off.apply(&far).unwrap();
        assert!(!SockRef::from(&far).keepalive().unwrap());
    }

    #[tokio::test]
    async fn connections_of_any_type_are_boxed_and_those_of_tcp_set_up() {
        let (near, _far) = pair().await;
        let same = SockRef::from(&near).try_clone().unwrap();
        assert!(!same.keepalive().unwrap());
        let _tcp = TcpConfig::default().boxed(near);
        assert!(same.keepalive().unwrap());
        let _other = TcpConfig::default().boxed(tokio::io::duplex(1).0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn each_setting_reaches_the_operating_system() {
        let (near, far) = pair().await;
        let seconds = Duration::from_secs;
        let config = TcpConfig::default()
            .keepalive_idle(seconds(11))
            .keepalive_interval(seconds(12))
            .keepalive_probes(13)
            .user_timeout(seconds(14))
            .notsent_lowat(15);
        config.apply(&near).unwrap();
        let socket = SockRef::from(&near);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(11));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(12));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 13);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(14)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 15);
        // Out-of-range values are clamped.
        let extremes = TcpConfig::default()
            .keepalive_idle(Duration::MAX)
            .keepalive_interval(Duration::ZERO)
            .keepalive_probes(u32::MAX)
            .user_timeout(Duration::ZERO)
            .notsent_lowat(u32::MAX);
        extremes.apply(&far).unwrap();
        let socket = SockRef::from(&far);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), LONGEST);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), SECOND);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), MAX_PROBES);
        assert!(socket.tcp_user_timeout().unwrap().is_some());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), MAX_INT);
    }
}
