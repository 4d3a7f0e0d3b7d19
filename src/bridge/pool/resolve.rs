//! Periodic resolution of names that stand for several servers, such as headless
//! services of Kubernetes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Pool;
use crate::bridge::upstream::Upstream;

/// Maximum duration of one resolution.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Pool {
    /// Resolves the names at an interval, until the future is dropped.
    pub(crate) async fn resolve(self: Arc<Self>) {
        let Some(every) = self.settings.resolve else {
            return;
        };
        let named: Vec<_> = self
            .targets
            .iter()
            .filter(|t| t.has_name())
            .cloned()
            .collect();
        if named.is_empty() {
            return;
        }
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for target in &named {
                self.update(target, lookup(target).await);
            }
        }
    }

    /// Updates the servers of a name. If the resolution failed, the known addresses
    /// are kept: servers do not stop working with their resolver.
    fn update(&self, target: &Upstream, answer: io::Result<Vec<SocketAddr>>) {
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                let mut addresses = addresses;
                addresses.sort_unstable();
                addresses.dedup();
                self.set_addresses(target, &addresses);
            }
            Ok(_) => {
                tracing::warn!(upstream = %target, "name has no addresses; keeping the known ones");
            }
            Err(error) => {
                tracing::warn!(upstream = %target, %error, "cannot resolve name; keeping the known addresses");
            }
        }
    }
}

async fn lookup(target: &Upstream) -> io::Result<Vec<SocketAddr>> {
    let answer = lookup_host((target.host(), target.port()));
    Ok(timeout(TIMEOUT, answer).await??.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::pool::Settings;

    fn pool(url: &str) -> Arc<Pool> {
        let settings = Settings {
            resolve: Some(Duration::from_secs(30)),
            ..Settings::default()
        };
        let targets = vec![url.parse().unwrap()];
        Arc::new(Pool::new("route".into(), targets, settings))
    }

    fn addresses(pool: &Pool) -> Vec<Option<SocketAddr>> {
        let statuses = pool.statuses().into_iter();
        statuses.map(|status| status.upstream.address()).collect()
    }

    #[test]
    fn a_failed_or_empty_resolution_keeps_the_addresses() {
        let pool = pool("ws://chat.internal");
        let target = pool.targets[0].clone();
        assert_eq!(addresses(&pool), [None], "usable before it is resolved");
        let [one, two] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 80)));
        pool.update(&target, Ok(vec![two, one, two]));
        assert_eq!(addresses(&pool), [Some(one), Some(two)]);
        pool.update(&target, Err(io::Error::other("no resolver")));
        pool.update(&target, Ok(vec![]));
        assert_eq!(addresses(&pool), [Some(one), Some(two)]);
        pool.update(&target, Ok(vec![two]));
        assert_eq!(addresses(&pool), [Some(two)]);
    }

    #[tokio::test]
    async fn names_are_resolved_and_addresses_are_not() {
        let named = pool("ws://localhost:9");
        let task = tokio::spawn(named.clone().resolve());
        let resolved = async {
            while addresses(&named).contains(&None) {
                tokio::task::yield_now().await;
            }
        };
        let hangs = Duration::from_secs(60);
        timeout(hangs, resolved).await.expect("an address");
        let is_loopback = |address: &Option<SocketAddr>| {
            address.is_some_and(|address| address.ip().is_loopback() && address.port() == 9)
        };
        assert!(addresses(&named).iter().all(is_loopback));
        task.abort();
        let literal = pool("ws://127.0.0.1:9");
        literal.clone().resolve().await;
        assert_eq!(addresses(&literal), [None]);
    }
}
