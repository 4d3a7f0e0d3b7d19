//! What is set on every TCP connection, accepted or dialled: one place, so that
//! no connection goes without.
//!
//! A peer that is gone without a FIN (a machine that lost its power, a path that
//! forgot the connection) is found out by nothing but the operating system's own
//! questions: HTTP/1.1, TCP targets and connections that wait for their next
//! request have no PING of their own.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How a TCP connection finds out that its peer is gone without a word
/// (RFC 9293 §3.8.4, RFC 5482).
///
/// With the defaults a peer that vanished is given up within three minutes,
/// whether the connection was idle or had something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// After how long a silence the operating system asks the peer for a sign of
    /// life. `None` is off. Default 60 s.
    pub keepalive_idle: Option<Duration>,
    /// How long it waits for an answer before it asks again. Default 20 s.
    pub keepalive_interval: Duration,
    /// After how many questions without an answer the connection is given up,
    /// unless [`user_timeout`](Self::user_timeout) decides that. Default 6.
    pub keepalive_probes: u32,
    /// How long what was sent may stay unacknowledged, and what is to be sent
    /// unsent because the peer has no room for it, before the connection is
    /// given up (`TCP_USER_TIMEOUT`). So it is also how long the peer of a
    /// socket over HTTP/1.1 may read nothing while there is something for it.
    /// `None` leaves it to the operating system: a quarter of an hour or more.
    /// Default 3 minutes. Linux and Android alone have it.
    pub user_timeout: Option<Duration>,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            keepalive_idle: Some(Duration::from_secs(60)),
            keepalive_interval: Duration::from_secs(20),
            keepalive_probes: 6,
            user_timeout: Some(Duration::from_secs(180)),
        }
    }
}

setters!(TcpConfig {
    keepalive_idle: impl Into<Option<Duration>>,
    keepalive_interval: Duration,
    keepalive_probes: u32,
    user_timeout: impl Into<Option<Duration>>,
});

impl TcpConfig {
    /// Sets a connection up. What the operating system does not take, or counts
    /// otherwise, is left as it is: a connection without is better than none.
    pub(crate) fn apply(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        if let Some(keepalive) = self.keepalive()
            && let Err(error) = socket.set_tcp_keepalive(&keepalive)
        {
            tracing::debug!(%error, "no TCP keepalive");
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(timeout) = self.user_timeout
            && let Err(error) = socket.set_tcp_user_timeout(Some(at_least(timeout, MILLISECOND)))
        {
            tracing::debug!(%error, "no TCP user timeout");
        }
        Ok(())
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

/// What Linux takes, and the longest time, in seconds.
const MAX_PROBES: u32 = 127;
const LONGEST: Duration = Duration::from_secs(32_767);

/// Operating systems count in this `unit`, and take nothing for an error or for
/// "off".
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
    async fn a_connection_is_asked_for_signs_of_life_unless_that_is_off() {
        let (near, far) = pair().await;
        TcpConfig::default().apply(&near).unwrap();
        assert!(SockRef::from(&near).keepalive().unwrap());
        assert!(near.nodelay().unwrap());
        let off = TcpConfig::default().keepalive_idle(None).user_timeout(None);
        off.apply(&far).unwrap();
        assert!(!SockRef::from(&far).keepalive().unwrap());
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
            .user_timeout(seconds(14));
        config.apply(&near).unwrap();
        let socket = SockRef::from(&near);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(11));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(12));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 13);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(14)));
        // What no operating system takes is taken as far as it goes.
        let extremes = TcpConfig::default()
            .keepalive_idle(Duration::MAX)
            .keepalive_interval(Duration::ZERO)
            .keepalive_probes(u32::MAX)
            .user_timeout(Duration::ZERO);
        extremes.apply(&far).unwrap();
        let socket = SockRef::from(&far);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), LONGEST);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), SECOND);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), MAX_PROBES);
        assert!(socket.tcp_user_timeout().unwrap().is_some());
    }
}
