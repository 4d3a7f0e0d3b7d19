//! SIGHUP: the file is read again, and open sockets do not notice.

use std::path::PathBuf;

use h2ws::bridge::Bridge;
use h2ws::tls::ServerTls;

use super::config::Config;
use super::listener::{self, Fixed};
use super::upstream::Clients;
use crate::args::BridgeArgs;
use crate::signals::Reloads;
use crate::tls::ServerFiles;

pub(super) struct Reload {
    signals: Reloads,
    args: BridgeArgs,
    fixed: Fixed,
    bridge: Bridge,
    clients: Clients,
    tls: Option<ServerTls>,
}

impl Reload {
    /// From now on, SIGHUP does not end the program.
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
                Some(file) => self.file(file).await,
                None => self.renew(None).await,
            }
        }
    }

    async fn file(&mut self, file: PathBuf) {
        // Files may be far away, and sockets are not to wait for them.
        let clients = self.clients.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&file, &clients)).await;
        let config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(mistakes)) => {
                for mistake in mistakes.lines() {
                    tracing::error!("{mistake}");
                }
                tracing::error!("not reloaded: the old configuration is kept");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "not reloaded: the old configuration is kept");
                return;
            }
        };
        if Fixed::of(&self.args, Some(&config)) != self.fixed {
            tracing::warn!(
                "listeners, drain_delay, drain_timeout, connections, max_concurrent_streams, \
                 max_header_list_size, \
                 connection_idle_timeout and [upstream_tls] change with the next start"
            );
        }
        self.renew(config.tls).await;
        self.bridge.replace(config.routes);
        self.clients.of_routes = config.clients;
        tracing::info!(routes = self.bridge.routes().iter().count(), "reloaded");
    }

    /// Certificates are renewed, too. The command line has the last word.
    async fn renew(&self, by_file: Option<ServerFiles>) {
        let Some(tls) = &self.tls else {
            return;
        };
        let args = self.args.listen.clone();
        if by_file.is_none() && args.cert.is_empty() {
            return;
        }
        let load = move || listener::files(&args, by_file)?.load();
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(config)) => tls.replace(config),
            Ok(Err(error)) => tracing::error!(error, "the old certificate is kept"),
            Err(error) => tracing::error!(%error, "the old certificate is kept"),
        }
    }
}
