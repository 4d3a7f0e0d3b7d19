//! How many files, and so connections, the process may have open.

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
