//! How many files, and so connections, the process may have open.

use crate::Failure;

/// What the program opens beside connections: its runtime, standard streams,
/// certificates, and connections that are just ending.
const BESIDE: u64 = 50;

/// Raises the limit to what the administrator allows, as Go's runtime does. The
/// usual 1,024 is for programs that call `select`; this one does not.
#[cfg(unix)]
pub(crate) fn allow_all() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files stays");
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn allow_all() {}

/// The limit; none where there is none.
#[cfg(unix)]
fn allowed() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn allowed() -> Option<u64> {
    None
}

/// Refuses to begin what would fail half-way: `sockets` that need `each` files.
pub(crate) fn suffice(sockets: u32, each: u64) -> Result<(), Failure> {
    let Some(allowed) = allowed() else {
        return Ok(());
    };
    let needed = u64::from(sockets) * each + BESIDE;
    if needed <= allowed {
        return Ok(());
    }
    let fewer = allowed.saturating_sub(BESIDE) / each;
    let fewer = match fewer {
        0 => String::new(),
        fewer => format!(", or ask for fewer sockets (--sockets {fewer})"),
    };
    Err(format!(
        "{sockets} sockets need about {needed} open files, and this process may open {allowed}: \
         raise the limit (ulimit -n {needed}){fewer}"
    )
    .into())
}
