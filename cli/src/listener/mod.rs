//! The listeners of `serve` and `bridge`. Each has its sockets, its TLS and its accept loop, which
//! runs in a task of its own: what fails at one does not stop another.

mod address;
pub(crate) mod proxy_protocol;
mod redirect;
mod socket;
mod spread;
#[cfg(unix)]
mod unix;

use std::io::{self, Write};
use std::time::Duration;

use futures_util::FutureExt;
use h2ws::Server;
use h2ws::server::{ConnectionCounts, Listener, Serve, ServerBuilder, ShutdownReport};
use h2ws::tls::ServerTls;
use tokio::task::JoinSet;

use self::proxy_protocol::Proxied;
use self::redirect::Redirect;
use self::socket::{Inherited, Socket};
use self::spread::{Move, Spread};
use crate::error::{Failure, with_causes};
use crate::tls::ServerFiles;
use crate::{log, terminal};

pub(crate) use self::address::{AddressKind, ListenAddress};
pub(crate) use self::proxy_protocol::{Networks, v2_header};
pub(crate) use self::spread::Runtimes;

/// What a listener is to do.
#[derive(Clone, Debug)]
pub(crate) struct ListenerConfig {
    pub(crate) address: ListenAddress,
    /// `None` for cleartext.
    pub(crate) tls: Option<ServerFiles>,
    /// Redirects to https instead of serving.
    pub(crate) redirect_https: bool,
    /// Whose PROXY headers are required; empty for none.
    pub(crate) proxy_protocol: Networks,
    /// `None` for what applies to all listeners.
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_connections_per_client: Option<usize>,
}

impl ListenerConfig {
    /// Returns the names of the settings in which `new` differs; not the files of TLS, which can be
    /// loaded again.
    pub(crate) fn changes(old: &[Self], new: &[Self]) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut compare = |name, differs: &dyn Fn(&Self, &Self) -> bool| {
            let mut pairs = old.iter().zip(new);
            if pairs.any(|(old, new)| differs(old, new)) {
                changed.push(name);
            }
        };
        compare("listen", &|old, new| old.address != new.address);
        compare("cleartext", &|old, new| {
            old.tls.is_some() != new.tls.is_some()
        });
        compare("redirect_https", &|old, new| {
            old.redirect_https != new.redirect_https
        });
        compare("proxy_protocol", &|old, new| {
            old.proxy_protocol != new.proxy_protocol
        });
        compare("max_connections of [[listener]]", &|old, new| {
            old.max_connections != new.max_connections
                || old.max_connections_per_client != new.max_connections_per_client
        });
        if old.len() != new.len() && !changed.contains(&"listen") {
            changed.insert(0, "listen");
        }
        changed
    }
}

/// Bound listeners.
pub(crate) struct Listeners {
    bound: Vec<Bound>,
    certificates: Certificates,
}

/// The connections of a listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerCounts {
    pub(crate) url: String,
    pub(crate) connections: ConnectionCounts,
}

struct Bound {
    server: Server,
    url: String,
    redirect: Option<Redirect>,
}

impl Listeners {
    /// Returns the numbers of the connections of each listener.
    pub(crate) fn counts(&self) -> Vec<ListenerCounts> {
        let counts = self.bound.iter().map(|bound| ListenerCounts {
            url: bound.url.clone(),
            connections: bound.server.connection_counts(),
        });
        counts.collect()
    }

    /// Binds all, or none: an error closes those that were bound.
    pub(crate) async fn bind(
        configs: &[ListenerConfig],
        builder: &ServerBuilder,
        reuse_port: bool,
        runtimes: &Runtimes,
    ) -> Result<Self, Failure> {
        let is_systemd = |one: &ListenerConfig| matches!(one.address.kind, AddressKind::Systemd(_));
        let mut inherited = if configs.iter().any(is_systemd) {
            Inherited::take_all()?
        } else {
            Inherited::default()
        };
        let mut bound = Vec::new();
        let mut certificates = Vec::new();
        // Those that take what is left come last, and redirects after what they redirect to.
        let is_rest =
            |one: &&ListenerConfig| matches!(one.address.kind, AddressKind::Systemd(None));
        let mut ordered: Vec<_> = configs.iter().collect();
        ordered.sort_by_key(|one| (one.redirect_https, is_rest(one)));
        let mut https = None;
        for config in ordered {
            let mut builder = builder.clone();
            if let Some(connections) = config.max_connections {
                builder = builder.max_connections(connections);
            }
            if let Some(connections) = config.max_connections_per_client {
                builder = builder.max_connections_per_client(connections);
            }
            let tls = config.tls.as_ref().filter(|_| !config.redirect_https);
            if let Some(files) = tls {
                let tls = ServerTls::new(files.load()?);
                builder = builder.tls(tls.clone());
                certificates.push((config.address.clone(), tls));
            }
            let redirect = config.redirect_https.then(|| Redirect {
                port: https.unwrap_or(443),
            });
            let sockets = socket::open(&config.address, reuse_port, &mut inherited).await;
            let failed = |error| format!("cannot listen on {}: {error}", config.address);
            for socket in sockets.map_err(failed)? {
                let url = socket.url(tls.is_some())?;
                let url = match redirect {
                    Some(_) => url.replacen("ws", "http", 1),
                    None => url,
                };
                let server = config.server(builder.clone(), socket, runtimes)?;
                let port = server.local_addr()?.port();
                if tls.is_some() && port != 0 {
                    https.get_or_insert(port);
                }
                bound.push(Bound {
                    server,
                    url,
                    redirect,
                });
            }
        }
        inherited.report_unused();
        Ok(Self {
            bound,
            certificates: Certificates(certificates),
        })
    }

    /// The TLS configurations, which can be replaced.
    pub(crate) fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// The URL of the first listener.
    pub(crate) fn url(&self) -> &str {
        self.bound.first().map_or("", |bound| &bound.url)
    }

    /// Prints the listeners' URLs, the first as the first line of stdout.
    pub(crate) fn announce(&self, more: impl IntoIterator<Item = String>) -> io::Result<()> {
        let mut stdout = terminal::stdout();
        for Bound { url, redirect, .. } in &self.bound {
            match redirect {
                Some(_) => writeln!(stdout, "redirecting {url} to https")?,
                None => writeln!(stdout, "listening on {url}")?,
            }
        }
        for line in more {
            writeln!(stdout, "{line}")?;
        }
        stdout.flush()
    }

    /// Serves all until `stop`, then drains all at the same time.
    pub(crate) async fn serve(
        self,
        serve: impl Fn(Server) -> Serve,
        drain_timeout: Duration,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ShutdownReport {
        let stop = stop.shared();
        let running = self.bound.into_iter().map(|bound| {
            let serve = match bound.redirect {
                Some(redirect) => redirect.serve(bound.server),
                None => serve(bound.server),
            };
            let serve = serve
                .drain_timeout(drain_timeout)
                .with_graceful_shutdown(stop.clone());
            serve.into_future()
        });
        // Ends them when it is dropped.
        let mut running: JoinSet<_> = running.collect();
        let mut drained = ShutdownReport::default();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(Ok(report)) => {
                    drained.sockets_cut += report.sockets_cut;
                    drained.connections_cut += report.connections_cut;
                }
                Ok(Err(error)) => log::notice(format_args!("a listener ended: {error}")),
                Err(error) => log::notice(format_args!("a listener ended: {error}")),
            }
        }
        drained
    }
}

impl ListenerConfig {
    fn server(
        &self,
        builder: ServerBuilder,
        socket: Socket,
        runtimes: &Runtimes,
    ) -> io::Result<Server> {
        let runtimes = runtimes.clone();
        match socket {
            Socket::Tcp(listener) => self.proxied(builder, listener, runtimes),
            #[cfg(unix)]
            Socket::Unix(listener) => self.proxied(builder, listener, runtimes),
        }
    }

    fn proxied(
        &self,
        builder: ServerBuilder,
        listener: impl Listener<Io: Move>,
        runtimes: Runtimes,
    ) -> io::Result<Server> {
        if self.proxy_protocol.is_empty() {
            builder.listener(Spread::new(listener, runtimes))
        } else {
            let proxied = Proxied::new(listener, self.proxy_protocol.clone());
            builder.listener(Spread::new(proxied, runtimes))
        }
    }
}

/// The TLS configuration of each listener.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(Vec<(ListenAddress, ServerTls)>);

impl Certificates {
    /// Loads the files of the listeners again, for new connections. Where that fails, the old
    /// certificates stay in use.
    pub(crate) fn reload(&self, configs: &[ListenerConfig]) -> bool {
        let mut reloaded = false;
        for (address, tls) in &self.0 {
            let config = configs.iter().find(|config| config.address == *address);
            let files = config.and_then(|config| config.tls.as_ref());
            let Some(files) = files.filter(|files| files.is_any()) else {
                continue;
            };
            match files.load() {
                Ok(config) => {
                    tls.replace(config);
                    reloaded = true;
                }
                Err(error) => log::notice(format_args!(
                    "certificates of {address} not reloaded, the old ones stay in use: {}",
                    with_causes(&*error)
                )),
            }
        }
        reloaded
    }
}
