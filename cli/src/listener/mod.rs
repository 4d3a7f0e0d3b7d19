//! The listeners of `serve` and `bridge`. Each has its sockets, its TLS and its accept loop, which
//! runs in a task of its own: what fails at one does not stop another.

mod address;
pub(crate) mod proxy_protocol;
mod socket;
mod spread;
#[cfg(unix)]
mod unix;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use h2ws::Server;
use h2ws::server::{ConnectionCounts, Listener, Serve, ServerBuilder, ShutdownReport};
use h2ws::tls::ServerTls;
use tokio::task::JoinSet;

use self::proxy_protocol::Proxied;
use self::socket::{Inherited, Socket};
use self::spread::{Move, Spread};
use crate::error::{Failure, with_causes};
use crate::tls::{ServerFiles, Validity};
use crate::{log, terminal};

pub(crate) use self::address::{AddressKind, ListenAddress};
pub(crate) use self::proxy_protocol::{Networks, v2_header};
pub(crate) use self::spread::Runtimes;

/// What a listener is to do.
#[derive(Clone, Debug)]
pub(crate) struct ListenerConfig {
    /// The line of its `[[listener]]`, if it has one.
    pub(crate) line: Option<usize>,
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
    /// Returns the settings in which `new` differs; not the files of TLS, which can be loaded again.
    pub(crate) fn changes(old: &[Self], new: &[Self]) -> Vec<Change> {
        let mut changed = Vec::new();
        let mut compare = |key, differs: &dyn Fn(&Self, &Self) -> bool| {
            let mut pairs = old.iter().zip(new);
            let found = pairs.find(|(old, new)| differs(old, new));
            changed.extend(found.map(|(_, new)| Change {
                key,
                line: new.line,
            }));
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
        compare("max_connections", &|old, new| {
            old.max_connections != new.max_connections
        });
        compare("max_connections_per_client", &|old, new| {
            old.max_connections_per_client != new.max_connections_per_client
        });
        if old.len() != new.len() && changed.iter().all(|change| change.key != "listen") {
            let added = new.get(old.len());
            let line = added.and_then(|added| added.line);
            changed.insert(
                0,
                Change {
                    key: "listen",
                    line,
                },
            );
        }
        changed
    }
}

/// A setting that has changed in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// With the names of the tables around it, unless `line` is known.
    pub(crate) key: &'static str,
    /// The line of its `[[listener]]`, if it is in one.
    pub(crate) line: Option<usize>,
}

/// The versions of HTTP that a listener offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    Both,
    Http1,
}

/// Bound listeners.
pub(crate) struct Listeners {
    bound: Vec<Bound>,
    certificates: Certificates,
}

/// The connections and the certificates of a listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerStatus {
    pub(crate) url: String,
    pub(crate) connections: ConnectionCounts,
    certificates: Option<Arc<RwLock<ValidFiles>>>,
}

/// The files of certificates with their validity.
type ValidFiles = Vec<(PathBuf, Validity)>;

impl ListenerStatus {
    /// Returns the files of the certificates that new connections get, with their validity.
    pub(crate) fn certificates(&self) -> ValidFiles {
        let certificates = self.certificates.as_ref();
        let certificates = certificates.map(|valid| valid.read());
        certificates.map_or_else(Vec::new, |valid| {
            valid.unwrap_or_else(PoisonError::into_inner).clone()
        })
    }
}

struct Bound {
    server: Server,
    url: String,
    redirects: bool,
    http1_only: bool,
    certificates: Option<Arc<RwLock<ValidFiles>>>,
}

impl Listeners {
    /// Returns the connections and the certificates of each listener.
    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        let status = self.bound.iter().map(|bound| ListenerStatus {
            url: bound.url.clone(),
            connections: bound.server.connection_counts(),
            certificates: bound.certificates.clone(),
        });
        status.collect()
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
            let http1_only = tls.is_some_and(|files| files.http1_only);
            let mut valid = None;
            if let Some(files) = tls {
                let loaded = files.load()?;
                let tls = ServerTls::new(loaded.config);
                builder = builder.tls(tls.clone());
                let loaded = Arc::new(RwLock::new(loaded.valid));
                valid = Some(loaded.clone());
                let earlier = configs.iter().take_while(|one| !std::ptr::eq(*one, config));
                certificates.push(InUse {
                    address: config.address.clone(),
                    nth: earlier.filter(|one| one.address == config.address).count(),
                    tls,
                    valid: loaded,
                });
            }
            if config.redirect_https {
                builder = builder.redirect_https(https.unwrap_or(443));
            }
            let sockets = socket::open(&config.address, reuse_port, &mut inherited).await;
            let failed = |error| format!("cannot listen on {}: {error}", config.address);
            for socket in sockets.map_err(failed)? {
                let url = socket.url(tls.is_some())?;
                let url = match config.redirect_https {
                    true => url.replacen("ws", "http", 1),
                    false => url,
                };
                let server = config.server(builder.clone(), socket, runtimes)?;
                let port = server.local_addr()?.port();
                if tls.is_some() && !http1_only && port != 0 {
                    https.get_or_insert(port);
                }
                bound.push(Bound {
                    server,
                    url,
                    redirects: config.redirect_https,
                    http1_only,
                    certificates: valid.clone(),
                });
            }
        }
        bound.sort_by_key(|one| (one.redirects, one.http1_only));
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

    /// The port of the first TCP listener for HTTP/1.1 alone.
    pub(crate) fn http1_port(&self) -> Option<u16> {
        let mut of_http1 = self.bound.iter().filter(|bound| bound.http1_only);
        of_http1.find_map(|bound| {
            let port = bound.server.local_addr().ok()?.port();
            (port != 0).then_some(port)
        })
    }

    /// Prints the listeners' URLs, the first as the first line of stdout.
    pub(crate) fn announce(&self, more: impl IntoIterator<Item = String>) -> io::Result<()> {
        let mut stdout = terminal::stdout();
        for bound in &self.bound {
            let url = &bound.url;
            let line = if bound.redirects {
                let text = format!("redirecting {url} to https");
                log::startup_line(text, "redirecting to https", url)
            } else if bound.http1_only {
                let text = format!("listening on {url} for HTTP/1.1 only");
                log::startup_line(text, "listening for HTTP/1.1 only", url)
            } else {
                log::startup_line(format!("listening on {url}"), "listening", url)
            };
            writeln!(stdout, "{line}")?;
        }
        for line in more {
            writeln!(stdout, "{line}")?;
        }
        stdout.flush()
    }

    /// Serves all until `stop`, then drains all at the same time.
    pub(crate) async fn serve(
        self,
        serve: impl Fn(Server, Versions) -> Serve,
        drain_timeout: Duration,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ShutdownReport {
        let stop = stop.shared();
        let running = self.bound.into_iter().map(|bound| {
            let versions = if bound.http1_only {
                Versions::Http1
            } else {
                Versions::Both
            };
            let serve = serve(bound.server, versions)
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
pub(crate) struct Certificates(Vec<InUse>);

#[derive(Clone, Debug)]
struct InUse {
    address: ListenAddress,
    /// Of the listeners with this address, such as one with port 0.
    nth: usize,
    tls: ServerTls,
    valid: Arc<RwLock<ValidFiles>>,
}

impl Certificates {
    /// Loads the files of the listeners again, for new connections. Where that fails, the old
    /// certificates stay in use. Returns the files that were loaded, each with its last day.
    pub(crate) fn reload(&self, configs: &[ListenerConfig]) -> Vec<String> {
        let mut reloaded = Vec::new();
        for InUse {
            address,
            nth,
            tls,
            valid,
        } in &self.0
        {
            let mut same = configs.iter().filter(|config| config.address == *address);
            let config = same.nth(*nth);
            let files = config.and_then(|config| config.tls.as_ref());
            let Some(files) = files.filter(|files| files.is_any()) else {
                continue;
            };
            match files.load() {
                Ok(loaded) => {
                    tls.replace(loaded.config);
                    reloaded.extend(loaded.valid.iter().map(|(file, valid)| {
                        format!("{} until {}", file.display(), valid.last_day())
                    }));
                    *valid.write().unwrap_or_else(PoisonError::into_inner) = loaded.valid;
                }
                Err(error) => log::notice(format_args!(
                    "certificates of {address} not reloaded, the old ones stay in use: {}",
                    with_causes(&*error)
                )),
            }
        }
        // Listeners may share files.
        reloaded.sort();
        reloaded.dedup();
        reloaded
    }
}
