//! Memory and CPU time of both ends.

use std::time::Duration;

use super::super::process;

/// Both ends at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) client: Process,
    /// Unknown without `--server-pid`.
    pub(super) server: Process,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Resident bytes.
    pub(super) memory: Option<u64>,
    /// CPU time since the process started.
    pub(super) cpu: Option<Duration>,
}

impl Usage {
    pub(super) fn now(server: Option<u32>) -> Self {
        Self {
            client: Process::now(None),
            server: server.map_or_else(Process::default, |pid| Process::now(Some(pid))),
        }
    }
}

impl Process {
    fn now(pid: Option<u32>) -> Self {
        Self {
            memory: process::resident_kib(pid).map(|kib| kib * 1024),
            cpu: process::cpu_time(pid),
        }
    }

    /// Returns the growth of memory since `before`, per WebSocket.
    pub(super) fn bytes_since(self, before: Self, sockets: u32) -> Option<f64> {
        let grown = self.memory?.saturating_sub(before.memory?);
        Some(grown as f64 / f64::from(sockets))
    }

    pub(super) fn cpu_since(self, before: Self) -> Option<Duration> {
        Some(self.cpu?.saturating_sub(before.cpu?))
    }
}
