//! A timer that is precise to some microseconds where the operating system has one. tokio's have a
//! resolution of a millisecond.

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
#[cfg(target_os = "linux")]
use tokio::io::{Interest, unix::AsyncFd};

#[cfg(target_os = "linux")]
pub(super) struct Timer(AsyncFd<OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    #[allow(
        deprecated,
        reason = "its successor is unsafe, as a type may misreport its descriptor; `OwnedFd` does not"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Waits for this time, now and then for less. Cancel safe.
    pub(super) async fn sleep(&self, time: Duration) -> io::Result<()> {
        // A time of zero would stop the timer.
        let time = time.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).map_err(io::Error::other)?,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Not read: setting it anew makes it unreadable.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for this time, rounded up to a millisecond. Cancel safe.
    pub(super) async fn sleep(&self, time: Duration) -> io::Result<()> {
        tokio::time::sleep(time).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn repeated_sleeps_add_up() {
        let timer = Timer::new().expect("a timer");
        let until = Instant::now() + Duration::from_millis(5);
        let mut sleeps = 0;
        while Instant::now() < until {
            timer.sleep(Duration::from_millis(1)).await.expect("sleep");
            sleeps += 1;
        }
        // The first can end at once, every other one takes its time.
        assert!((1..=6).contains(&sleeps), "{sleeps} sleeps");
        timer.sleep(Duration::ZERO).await.expect("sleep");
    }
}
