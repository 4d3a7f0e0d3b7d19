//! Spreads connections over runtimes, each of which serves its own.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::{Arc, mpsc};
use std::thread;

use h2ws::server::Listener;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle};

/// The runtimes that serve connections. Without any, the one that accepts does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runtimes(Arc<[Handle]>);

impl Runtimes {
    /// Uses the current runtime, which is single-threaded, and starts another for every further of
    /// `threads`; by default there are as many as processors.
    pub(crate) fn one_per_thread(threads: Option<u16>) -> io::Result<Self> {
        let mut handles = vec![Handle::current()];
        for _ in 1..number(threads) {
            handles.push(start(Builder::new_current_thread())?);
        }
        Ok(Self(handles.into()))
    }

    /// Starts one with so many threads, for connections whose tasks exchange messages with those of
    /// other connections: from one runtime to another, that takes a system call each time.
    pub(crate) fn one(threads: Option<u16>) -> io::Result<Self> {
        let threads = number(threads);
        if threads == 1 {
            return Ok(Self::default());
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads);
        Ok(Self([start(builder)?].into()))
    }

    /// Returns the one with the fewest tasks, of which each connection and each of its requests is
    /// one.
    fn least_used(&self) -> Option<Handle> {
        let tasks = |runtime: &&Handle| runtime.metrics().num_alive_tasks();
        self.0.iter().min_by_key(tasks).cloned()
    }
}

fn number(threads: Option<u16>) -> usize {
    match threads {
        Some(threads) => threads.into(),
        None => thread::available_parallelism().map_or(1, NonZero::get),
    }
}

/// Starts a runtime, in a thread of its own, that lives as long as the process.
fn start(builder: Builder) -> io::Result<Handle> {
    let (started, handle) = mpsc::channel();
    thread::Builder::new()
        .name("connections".to_owned())
        .spawn(move || run(builder, &started))?;
    let ended = |_| io::Error::other("a thread for connections has ended");
    handle.recv().map_err(ended)?
}

fn run(mut builder: Builder, started: &mpsc::Sender<io::Result<Handle>>) {
    let runtime = builder.enable_all().build();
    // Fails only if the caller is gone, and with it the process.
    let _ = match &runtime {
        Ok(runtime) => started.send(Ok(runtime.handle().clone())),
        Err(error) => started.send(Err(io::Error::new(error.kind(), error.to_string()))),
    };
    if let Ok(runtime) = runtime {
        runtime.block_on(std::future::pending::<()>());
    }
}

/// A listener whose connections are served by one of several runtimes each.
pub(super) struct Spread<L> {
    listener: L,
    runtimes: Runtimes,
    /// The one that serves what was accepted last.
    chosen: Option<Handle>,
}

impl<L> Spread<L> {
    pub(super) fn new(listener: L, runtimes: Runtimes) -> Self {
        Self {
            listener,
            runtimes,
            chosen: None,
        }
    }
}

impl<L: Listener<Io: Move>> Listener for Spread<L> {
    type Io = L::Io;

    async fn accept(&mut self) -> io::Result<(L::Io, SocketAddr)> {
        let (io, peer) = self.listener.accept().await?;
        self.chosen = self.runtimes.least_used();
        let io = match &self.chosen {
            Some(runtime) if runtime.id() != Handle::current().id() => io.move_to(runtime)?,
            _ => io,
        };
        Ok((io, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn runtime(&self) -> Option<Handle> {
        self.chosen.clone()
    }
}

/// A connection that can be moved to another runtime.
pub(super) trait Move: Sized {
    fn move_to(self, runtime: &Handle) -> io::Result<Self>;
}

impl Move for TcpStream {
    fn move_to(self, runtime: &Handle) -> io::Result<Self> {
        let stream = self.into_std()?;
        let _entered = runtime.enter();
        Self::from_std(stream)
    }
}

#[cfg(unix)]
impl Move for UnixStream {
    fn move_to(self, runtime: &Handle) -> io::Result<Self> {
        let stream = self.into_std()?;
        let _entered = runtime.enter();
        Self::from_std(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Opens three connections, exchanges a byte on each, and returns how many runtimes serve them,
    /// and whether the current one does.
    async fn used(runtimes: Runtimes) -> (usize, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut spread = Spread::new(listener, runtimes);
        let mut open = Vec::new();
        let mut used = HashSet::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let (mut io, _) = spread.accept().await.unwrap();
            let runtime = spread.runtime().unwrap_or_else(Handle::current);
            used.insert(runtime.id());
            let task = runtime.spawn(async move {
                let byte = io.read_u8().await.unwrap();
                io.write_u8(byte).await.unwrap();
                // Open for as long as the client is, so that it counts.
                io.read_u8().await.unwrap_err();
            });
            client.write_u8(b'x').await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'x');
            open.push((client, task));
        }
        for (client, task) in open {
            drop(client);
            task.await.unwrap();
        }
        (used.len(), used.contains(&Handle::current().id()))
    }

    #[tokio::test]
    async fn connections_move_to_the_least_used_runtime_and_work_there() {
        let per_thread = |threads| Runtimes::one_per_thread(Some(threads)).unwrap();
        assert_eq!(used(per_thread(3)).await, (3, true));
        assert_eq!(used(per_thread(1)).await, (1, true));
        let one = |threads| Runtimes::one(Some(threads)).unwrap();
        assert_eq!(used(one(2)).await, (1, false));
        assert_eq!(used(one(1)).await, (1, true));
        assert_eq!(used(Runtimes::default()).await, (1, true));
    }
}
