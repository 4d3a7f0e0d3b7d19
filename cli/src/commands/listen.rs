//! What `serve` and `bridge` share: their listeners' options, certificates, and the report of a
//! shutdown.

use h2ws::server::ShutdownReport;

use super::text::count;
use crate::args::ListenArgs;
use crate::error::{Failure, Usage};
use crate::listener::{ListenAddress, ListenerConfig, Networks};
use crate::log;
use crate::tls::ServerFiles;

/// Returns the listeners of the options: at least one that serves.
pub(crate) fn listeners(args: &ListenArgs) -> Result<Vec<ListenerConfig>, Failure> {
    let files = if args.cleartext {
        None
    } else {
        Some(files(args)?)
    };
    let mut addresses = args.listen.clone();
    if addresses.is_empty() {
        addresses.push(ListenAddress::default_address());
    }
    let networks = Networks::new(args.proxy_protocol.iter().copied());
    let listeners = addresses.into_iter().map(|address| ListenerConfig {
        line: None,
        address,
        tls: files.clone(),
        redirect_https: false,
        proxy_protocol: networks.clone(),
        max_connections: None,
        max_connections_per_client: None,
    });
    Ok(listeners.chain(redirects(args, &networks)).collect())
}

/// Returns a listener for HTTP/1.1 alone, otherwise as those of the options.
pub(crate) fn http1(args: &ListenArgs, address: &ListenAddress) -> Result<ListenerConfig, Failure> {
    Ok(ListenerConfig {
        line: None,
        address: address.clone(),
        tls: Some(ServerFiles {
            http1_only: true,
            ..files(args)?
        }),
        redirect_https: false,
        proxy_protocol: Networks::new(args.proxy_protocol.iter().copied()),
        max_connections: None,
        max_connections_per_client: None,
    })
}

/// Returns the listeners of `--redirect-https`.
pub(crate) fn redirects(args: &ListenArgs, networks: &Networks) -> Vec<ListenerConfig> {
    let redirects = args.redirect_https.iter().map(|address| ListenerConfig {
        line: None,
        address: address.clone(),
        tls: None,
        redirect_https: true,
        proxy_protocol: networks.clone(),
        max_connections: None,
        max_connections_per_client: None,
    });
    redirects.collect()
}

/// Warns about certificates that clients reject.
pub(crate) fn warn_if_self_signed(listeners: &[ListenerConfig]) {
    let mut files = listeners.iter().filter_map(|one| one.tls.as_ref());
    if files.any(|files| files.pairs.is_empty()) {
        log::notice(
            "no --cert: using a self-signed certificate for localhost, which clients reject unless \
             told otherwise (such as by --insecure)",
        );
    }
}

/// Returns the files that the options name; none for a self-signed certificate.
pub(crate) fn files(args: &ListenArgs) -> Result<ServerFiles, Failure> {
    if args.cert.len() != args.key.len() {
        return Err(Usage::options(&"there must be one --key per --cert").into());
    }
    Ok(ServerFiles {
        pairs: args
            .cert
            .iter()
            .cloned()
            .zip(args.key.iter().cloned())
            .collect(),
        client_ca: args.client_ca.clone(),
        client_cert_optional: args.client_cert_optional,
        http1_only: false,
    })
}

/// Checks that no two listeners, or a listener and the metrics, have the same address.
pub(crate) fn check_addresses(
    listeners: &[ListenerConfig],
    metrics: Option<&ListenAddress>,
) -> Result<(), Usage> {
    let all: Vec<_> = listeners
        .iter()
        .map(|listener| &listener.address)
        .chain(metrics)
        .collect();
    for (at, address) in all.iter().enumerate() {
        if all[..at].iter().any(|other| other.is_same(address)) {
            let what = format_args!("{address} cannot be listened on twice");
            return Err(Usage::options(&what));
        }
    }
    Ok(())
}

/// Reports that the drain is over, in what should be the last line of the log.
pub(crate) fn report_end() {
    tracing::info!("stopped");
}

/// Reports connections that did not close within the drain timeout.
pub(crate) fn report_cut(drained: ShutdownReport) {
    if drained != ShutdownReport::default() {
        log::notice(format_args!(
            "dropped {} and {} that did not close in time",
            count(drained.sockets_cut, "WebSocket"),
            count(drained.connections_cut, "connection"),
        ));
    }
}
