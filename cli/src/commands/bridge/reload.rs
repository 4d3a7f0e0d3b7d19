//! SIGHUP: the file is read again, and open sockets do not notice.

use std::path::PathBuf;
use std::sync::Arc;

use h2ws::Bridge;

use super::config::Config;
use super::listener::Fixed;
use crate::args::BridgeArgs;
use crate::signals::Reloads;
use crate::tls::{Certificate, Identity};

pub(super) struct Reload {
    signals: Reloads,
    args: BridgeArgs,
    fixed: Fixed,
    bridge: Bridge,
    certificate: Option<Arc<Certificate>>,
}

impl Reload {
    /// From now on, SIGHUP does not end the program.
    pub(super) fn new(
        args: &BridgeArgs,
        fixed: &Fixed,
        bridge: &Bridge,
        certificate: Option<Arc<Certificate>>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            signals: Reloads::new()?,
            args: args.clone(),
            fixed: fixed.clone(),
            bridge: bridge.clone(),
            certificate,
        })
    }

    pub(super) async fn run(mut self) {
        while self.signals.next().await {
            match self.args.config.clone() {
                Some(file) => self.file(file).await,
                None => self.renew(None),
            }
        }
    }

    async fn file(&self, file: PathBuf) {
        // Files may be far away, and sockets are not to wait for them.
        let read = tokio::task::spawn_blocking(move || Config::load(&file)).await;
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
                "listeners, drain_grace, connections and streams_per_connection change with the \
                 next start"
            );
        }
        self.renew(config.identity);
        self.bridge.replace(config.routes);
        tracing::info!(routes = self.bridge.routes().iter().count(), "reloaded");
    }

    /// Certificates are renewed, too.
    fn renew(&self, identity: Option<Identity>) {
        let Some(certificate) = &self.certificate else {
            return;
        };
        let identity = match (&self.args.listen.cert, &self.args.listen.key) {
            (Some(cert), Some(key)) => Identity::load(cert, key).map(Some),
            _ => Ok(identity),
        };
        let renewed = identity.and_then(|identity| match identity {
            Some(identity) => certificate.replace(&identity),
            None => Ok(()),
        });
        if let Err(error) = renewed {
            tracing::error!(error, "the old certificate is kept");
        }
    }
}
