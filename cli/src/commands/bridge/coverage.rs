//! Warns about the hosts of routes that no certificate is for: their clients would get one that is for
//! other hosts, and reject it.

use std::path::Path;

use super::config::RouteHost;
use crate::listener::ListenerConfig;
use crate::tls::Names;

/// Returns a line for each host of the file at `path` that no certificate of the listeners is for.
///
/// Returns no lines if a listener is in cleartext, because TLS may end at a proxy in front of it, or if
/// one has a self-signed certificate, which the program warns about anyway.
pub(super) fn notices(
    path: &Path,
    hosts: &[RouteHost],
    listeners: &[ListenerConfig],
) -> Vec<String> {
    let serving = listeners.iter().filter(|listener| !listener.redirect_https);
    let files: Option<Vec<_>> = serving
        .map(|listener| {
            let files = listener.tls.as_ref()?;
            (!files.pairs.is_empty()).then_some(&files.pairs)
        })
        .collect();
    let Some(files) = files else {
        return Vec::new();
    };
    let pairs: Vec<_> = files.into_iter().flatten().collect();
    let names: Option<Vec<_>> = pairs.iter().map(|(cert, _)| Names::of(cert)).collect();
    // A certificate that cannot be read is an error elsewhere.
    let (Some(names), Some((first, _))) = (names, pairs.first()) else {
        return Vec::new();
    };
    let is_covered = |host: &str| names.iter().any(|names| names.cover(host));
    let uncovered = hosts.iter().filter(|route| !is_covered(&route.host));
    uncovered
        .map(|RouteHost { host, line }| {
            format!(
                "{}:{line}: no certificate is for {host}; its clients get {} and reject it",
                path.display(),
                first.display()
            )
        })
        .collect()
}
