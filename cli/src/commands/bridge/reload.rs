//! SIGHUP: loads the configuration file and the certificates again. Open WebSockets are not affected.

use std::path::PathBuf;

use h2ws::bridge::Bridge;
use h2ws::tls::ServerTls;

use super::config::Config;
use super::listener::{self, Fixed};
use super::upstream::Clients;
use crate::args::BridgeArgs;
use crate::signals::Reloads;
use crate::tls::ServerFiles;

const NOT_RELOADED: &str = "not reloaded: the old configuration stays in use";
const CERTIFICATE_KEPT: &str = "certificates not reloaded: the old ones stay in use";

pub(super) struct Reload {
    signals: Reloads,
    args: BridgeArgs,
    fixed: Fixed,
    bridge: Bridge,
    clients: Clients,
    tls: Option<ServerTls>,
}

impl Reload {
    /// Installs the signal handler: from now on, SIGHUP does not end the program.
    pub(super) fn new(
        args: &BridgeArgs,
        fixed: &Fixed,
        bridge: &Bridge,
        clients: Clients,
        tls: Option<ServerTls>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            signals: Reloads::new()?,
            args: args.clone(),
            fixed: fixed.clone(),
            bridge: bridge.clone(),
            clients,
            tls,
        })
    }

    pub(super) async fn run(mut self) {
        while self.signals.next().await {
            match self.args.config.clone() {
                Some(file) => self.reload_file(file).await,
                None => self.reload_certificates(None).await,
            }
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
        let changes = self.fixed.changes(&Fixed::of(&self.args, Some(&config)));
        if !changes.is_empty() {
            tracing::warn!("changes to {} require a restart", changes.join(", "));
        }
        self.reload_certificates(config.tls).await;
        self.bridge.replace(config.routes);
        self.clients.of_routes = config.clients;
        tracing::info!(routes = self.bridge.routes().iter().count(), "reloaded");
    }

    /// Loads the certificates for clients again.
    async fn reload_certificates(&self, of_file: Option<ServerFiles>) {
        let Some(tls) = &self.tls else {
            return;
        };
        let args = self.args.listen.clone();
        if of_file.is_none() && args.cert.is_empty() {
            return;
        }
        let load = move || listener::files(&args, of_file)?.load();
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(config)) => tls.replace(config),
            Ok(Err(error)) => tracing::error!(error, "{CERTIFICATE_KEPT}"),
            Err(error) => tracing::error!(%error, "{CERTIFICATE_KEPT}"),
        }
    }
}
