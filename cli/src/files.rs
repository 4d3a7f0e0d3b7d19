//! The limit on open files, and so on connections, of this process.

use crate::error::Failure;

/// Files that the program needs besides one per connection: for its runtime, standard streams,
/// certificates, and connections that are closing.
const RESERVED: u64 = 50;

/// Raises the soft limit to the hard limit, as Go's runtime does. The usual soft limit of 1,024
/// exists for programs that call `select`, which this one does not.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "cannot raise the limit on open files");
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_limit() {}

/// Returns the number of open files, if the system reports it.
pub(crate) fn open() -> Option<usize> {
    // One of them is that of the directory.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(open.saturating_sub(1))
}

/// Returns the limit, if there is one.
#[cfg(unix)]
pub(crate) fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
pub(crate) fn limit() -> Option<u64> {
    None
}

/// Returns the number of files that may still be opened, if that is known.
pub(crate) fn room() -> Option<u64> {
    let used = RESERVED + open()? as u64;
    Some(limit()?.saturating_sub(used))
}

/// Fails if `sockets` that need `each` files would exceed the limit, before the first is opened.
pub(crate) fn check_limit(sockets: u32, each: u64) -> Result<(), Failure> {
    let Some(limit) = limit() else {
        return Ok(());
    };
    let needed = u64::from(sockets) * each + RESERVED;
    if needed <= limit {
        return Ok(());
    }
    let fewer = limit.saturating_sub(RESERVED) / each;
    let fewer = match fewer {
        0 => String::new(),
        fewer => format!(", or open fewer WebSockets (--sockets {fewer})"),
    };
    Err(format!(
        "{sockets} WebSockets need about {needed} open files, but the limit is {limit}: \
         raise it (ulimit -n {needed}){fewer}"
    )
    .into())
}
