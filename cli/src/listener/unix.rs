//! A listener on a Unix socket, and the file that stands for it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use h2ws::server::Listener;
use tokio::net::{UnixListener, UnixStream};

/// Removes its file when it is dropped, unless another process has replaced the file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of a file of ours.
    file: Option<(u64, u64)>,
}

impl UnixSocket {
    /// Creates a socket.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path).await?;
        let listener = UnixListener::bind(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: identity(path),
        })
    }

    /// Uses a socket whose file belongs to the process that passed it.
    pub(super) fn passed(listener: UnixListener, path: PathBuf) -> Self {
        Self {
            listener,
            path,
            file: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Listener for UnixSocket {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, SocketAddr)> {
        Listener::accept(&mut self.listener).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.listener)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // On failure the file stays, and the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Removes the socket of a process that has ended without doing so.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let exists = |reason: &str| io::Error::new(io::ErrorKind::AddrInUse, reason.to_owned());
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(exists("there is a file that is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Success, or a queue that is full: somebody listens.
        _ => Err(exists("a running process listens there")),
    }
}
