//! The resources that a process uses, measured by the process itself.

use std::fmt;
use std::fs;
use std::str::FromStr;

use interop_driver::Failure;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Tasks, sockets, file descriptors, and memory in bytes, of one process.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub tasks: usize,
    pub sockets: usize,
    pub descriptors: usize,
    /// Memory that is allocated and not freed.
    pub heap: usize,
    /// Resident memory, including what the allocator keeps for reuse.
    pub resident: usize,
}

impl Usage {
    /// Measures this process. `sockets` is the caller's count of open streams or sockets.
    pub fn now(sockets: usize) -> Self {
        let heap = HEAP.stats();
        Self {
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
            sockets,
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            heap: heap.bytes_allocated.saturating_sub(heap.bytes_deallocated),
            resident: resident(),
        }
    }

    /// Returns one line, which [`FromStr`] parses.
    pub fn line(&self) -> String {
        let Self {
            tasks,
            sockets,
            descriptors,
            heap,
            resident,
        } = self;
        format!("{tasks} {sockets} {descriptors} {heap} {resident}")
    }
}

impl FromStr for Usage {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let numbers: Result<Vec<usize>, _> = line.split_whitespace().map(str::parse).collect();
        let [tasks, sockets, descriptors, heap, resident] = numbers?[..] else {
            return Err(format!("invalid resource usage: {line}").into());
        };
        Ok(Self {
            tasks,
            sockets,
            descriptors,
            heap,
            resident,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} tasks {:>6} sockets {:>4} descriptors {:>8} KiB heap {:>8} KiB resident",
            self.tasks,
            self.sockets,
            self.descriptors,
            self.heap / 1024,
            self.resident / 1024
        )
    }
}

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
