//! Listens for local connections, and tunnels each.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Route;
use super::pump::{Broken, Local, pump};
use crate::args::At;
use crate::error::{Failure, with_causes};
use crate::log;

/// Pause after an error of the system, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

pub(super) enum Listener {
    Tcp(TcpListener, String),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, which is removed when the value is dropped.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Fails if somebody else has removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(super) async fn bind(at: &At) -> Result<Self, Failure> {
        let cannot = |error| format!("cannot listen on {}: {error}", name(at));
        match at {
            At::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(cannot)?;
                let name = name(&At::Tcp(listener.local_addr()?));
                Ok(Self::Tcp(listener, name))
            }
            #[cfg(unix)]
            At::Unix(file) => {
                let listener = bind_unix(file).await.map_err(cannot)?;
                Ok(Self::Unix(listener, SocketFile(file.clone())))
            }
            #[cfg(not(unix))]
            At::Unix(_) => Err(cannot(io::ErrorKind::Unsupported.into()).into()),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Tcp(_, name) => name.clone(),
            #[cfg(unix)]
            Self::Unix(_, file) => name(&At::Unix(file.0.clone())),
        }
    }

    /// Tunnels connections until the future is dropped, which resets all that are open.
    pub(super) async fn serve(self, max_connections: u32, route: Arc<Route>) {
        let slots = Arc::new(Semaphore::new(max_connections as usize));
        let mut tunnels = JoinSet::new();
        loop {
            // Before accepting: a connection over the limit waits in the system's queue.
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            while tunnels.try_join_next().is_some() {}
            let route = route.clone();
            let accepted = match &self {
                Self::Tcp(listener, _) => listener.accept().await.map(|(tcp, peer)| {
                    // What programs write is sent at once, in the pieces in which they write it.
                    let _ = tcp.set_nodelay(true);
                    tunnels.spawn(async move {
                        tunnel(TcpLocal { tcp, ended: false }, peer, &route).await;
                        drop(slot);
                    });
                }),
                #[cfg(unix)]
                Self::Unix(listener, file) => listener.accept().await.map(|(unix, _)| {
                    let name = file.0.display().to_string();
                    tunnels.spawn(async move {
                        tunnel(unix, name, &route).await;
                        drop(slot);
                    });
                }),
            };
            if let Err(error) = accepted {
                log::notice(format_args!("cannot accept on {}: {error}", self.name()));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn name(at: &At) -> String {
    match at {
        At::Tcp(address) => format!("tcp://{address}"),
        At::Unix(file) => format!("unix:{}", file.display()),
    }
}

/// Listens on a file that this user alone may open. The file of a program that has ended without
/// removing it is replaced.
#[cfg(unix)]
async fn bind_unix(file: &Path) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    use rustix::process::umask;

    let bind = || {
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = UnixListener::bind(file);
        umask(before);
        bound
    };
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let answer = UnixStream::connect(file).await;
            let left_over = answer.is_err_and(|why| why.kind() == io::ErrorKind::ConnectionRefused);
            if !left_over {
                return Err(error);
            }
            std::fs::remove_file(file)?;
            bind()
        }
        bound => bound,
    }
}

/// Tunnels one connection to its end. Failures are reported here: they concern no other connection.
async fn tunnel(mut local: impl Endable, peer: impl Display, route: &Route) {
    let ended = match route.open().await {
        Ok(mut remote) => pump(&mut local, &mut remote).await,
        Err(failure) => {
            let why = with_causes(&*failure);
            log::notice(format_args!("{peer}: {}: {why}", route.url));
            return;
        }
    };
    match ended {
        Ok(()) => local.end(),
        Err(Broken::Local(error)) => tracing::debug!(%peer, %error, "the local connection broke"),
        Err(Broken::Remote(error)) => {
            let why = with_causes(&error);
            log::notice(format_args!("{peer}: {}: {why}", route.url));
        }
    }
}

/// A local connection that is reset when it is dropped, unless it was ended.
trait Endable: Local {
    fn end(&mut self);
}

struct TcpLocal {
    tcp: TcpStream,
    ended: bool,
}

impl Endable for TcpLocal {
    fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for TcpLocal {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.tcp.set_zero_linger()
        {
            tracing::debug!(%error, "cannot reset a local connection");
        }
    }
}

impl Local for TcpLocal {}

impl AsyncRead for TcpLocal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpLocal {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A Unix socket knows no reset: its peer sees the end of the data.
#[cfg(unix)]
impl Local for UnixStream {}

#[cfg(unix)]
impl Endable for UnixStream {
    fn end(&mut self) {}
}
