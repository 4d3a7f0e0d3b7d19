//! SIGHUP: loads the configuration file and the certificates again. Open WebSockets are not affected.

use std::collections::HashMap;
use std::path::PathBuf;

use h2ws::bridge::Bridge;

use super::config::{Config, FileListeners, RouteHost};
use super::coverage;
use super::listener::{self, Fixed};
use super::upstream::Clients;
use crate::args::BridgeArgs;
use crate::listener::{Certificates, Change, ListenerConfig};
use crate::signals::Reloads;
use crate::{systemd, tls};

const NOT_RELOADED: &str = "not reloaded: the old configuration stays in use";
const CERTIFICATE_KEPT: &str = "certificates not reloaded: the old ones stay in use";

pub(super) struct Reload {
    signals: Reloads,
    args: BridgeArgs,
    fixed: Fixed,
    bridge: Bridge,
    clients: Clients,
    listeners: Vec<ListenerConfig>,
    certificates: Certificates,
}

impl Reload {
    /// Installs the signal handler: from now on, SIGHUP does not end the program.
    pub(super) fn new(
        args: &BridgeArgs,
        fixed: &Fixed,
        bridge: &Bridge,
        clients: Clients,
        listeners: Vec<ListenerConfig>,
        certificates: Certificates,
    ) -> std::io::Result<Self> {
        Ok(Self {
            signals: Reloads::new()?,
            args: args.clone(),
            fixed: fixed.clone(),
            bridge: bridge.clone(),
            clients,
            listeners,
            certificates,
        })
    }

    pub(super) async fn run(mut self) {
        while self.signals.next().await {
            systemd::reloading();
            match self.args.config.clone() {
                Some(file) => self.reload_file(file).await,
                None => {
                    let (certificates, _) = self.reload_listeners(None).await;
                    tracing::info!(certificates, "reloaded");
                }
            }
            systemd::ready();
        }
    }

    async fn reload_file(&mut self, file: PathBuf) {
        // Reading may block, for example on a network file system.
        let clients = self.clients.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&file, &clients)).await;
        let config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(errors)) => {
                for error in errors.lines() {
                    tracing::error!("{error}");
                }
                tracing::error!("{NOT_RELOADED}");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "{NOT_RELOADED}");
                return;
            }
        };
        for notice in config.notices.lines() {
            tracing::warn!("{notice}");
        }
        let mut changes = self.fixed.changes(&Fixed::of(&self.args, Some(&config)));
        let args = &self.args.log;
        args.apply(config.access_log, config.log_limit);
        let of_file = Some((config.listeners, config.hosts));
        let (certificates, of_listeners) = self.reload_listeners(of_file).await;
        changes.extend(of_listeners);
        self.bridge.replace(config.routes);
        self.clients.of_routes = config.clients;
        let routes = self.bridge.routes().iter().count();
        tracing::info!(routes, certificates, "reloaded");
        if !changes.is_empty() {
            let keys: Vec<_> = changes
                .iter()
                .map(|change| described(*change, &config.keys))
                .collect();
            tracing::warn!(
                "not applied before a restart: {}; all other changes are",
                keys.join(", ")
            );
        }
    }

    /// Loads the certificates for clients again, and returns them for the log. Everything else of a
    /// listener stays; returns what has changed of it.
    async fn reload_listeners(
        &self,
        of_file: Option<(FileListeners, Vec<RouteHost>)>,
    ) -> (Option<String>, Vec<Change>) {
        tls::warn_of(self.args.certificates());
        let file = of_file.as_ref().map(|(listeners, _)| listeners);
        let new = match listener::listeners(&self.args.listen, file) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(error, "{CERTIFICATE_KEPT}");
                return (None, Vec::new());
            }
        };
        let changes = ListenerConfig::changes(&self.listeners, &new);
        let certificates = self.certificates.clone();
        let path = self.args.config.clone();
        // Reading may block, for example on a network file system.
        let reload = tokio::task::spawn_blocking(move || {
            if let (Some((_, hosts)), Some(path)) = (of_file, path) {
                for notice in coverage::notices(&path, &hosts, &new) {
                    tracing::warn!("{notice}");
                }
            }
            certificates.reload(&new)
        });
        let reloaded = reload.await.unwrap_or_else(|error| {
            tracing::error!(%error, "{CERTIFICATE_KEPT}");
            Vec::new()
        });
        let certificates = (!reloaded.is_empty()).then(|| reloaded.join(", "));
        (certificates, changes)
    }
}

/// Returns a key with its line in the file, from which it may have been removed.
fn described(change: Change, keys: &HashMap<String, usize>) -> String {
    let Change { key, line } = change;
    match line.or_else(|| keys.get(key).copied()) {
        Some(of_listener) if line.is_some() => {
            format!("{key} of the [[listener]] on line {of_listener}")
        }
        Some(line) => format!("{key} (line {line})"),
        None => format!("{key} (removed)"),
    }
}
