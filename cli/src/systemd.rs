//! What a service manager is informed of, by the protocol of `sd_notify(3)`: readiness, a reload, the
//! end, and that the program still runs. Without `NOTIFY_SOCKET` nothing is sent.

#[cfg(unix)]
mod notify {
    use sd_notify::NotifyState;

    /// The listeners are bound, or a reload has ended.
    pub(crate) fn ready() {
        send(&[NotifyState::Ready]);
    }

    /// A reload begins. `Type=notify-reload` requires the time.
    pub(crate) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "cannot read the time for systemd"),
        }
    }

    /// The drain begins.
    pub(crate) fn stopping() {
        send(&[NotifyState::Stopping]);
    }

    /// Starts to answer the watchdog, if there is one (`WatchdogSec=`): twice per period, by a task
    /// of the runtime that serves connections.
    pub(crate) fn watch() {
        let Some(period) = sd_notify::watchdog_enabled() else {
            return;
        };
        let mut ticks =
            tokio::time::interval((period / 2).max(std::time::Duration::from_millis(1)));
        tokio::spawn(async move {
            loop {
                ticks.tick().await;
                send(&[NotifyState::Watchdog]);
            }
        });
    }

    fn send(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::warn!(%error, "cannot notify systemd");
        }
    }
}

/// Other systems have no such service manager.
#[cfg(not(unix))]
mod notify {
    pub(crate) fn ready() {}
    pub(crate) fn reloading() {}
    pub(crate) fn stopping() {}
    pub(crate) fn watch() {}
}

pub(crate) use self::notify::{ready, reloading, stopping, watch};
