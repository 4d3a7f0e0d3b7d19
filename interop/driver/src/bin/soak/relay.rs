//! A TCP relay that harms connections. It cuts one, so that both sides lose it at the same time, or
//! makes one vanish: nothing that either side sends arrives any more, and neither is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use interop_driver::Failure;
use interop_driver::messages::Random;
use tokio::io::{AsyncRead, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

struct State {
    target: SocketAddr,
    open: HashMap<usize, Relayed>,
    accepted: usize,
    cuts: usize,
    vanished: usize,
}

struct Relayed {
    task: AbortHandle,
    /// Dropped when the connection vanishes.
    intact: Option<oneshot::Sender<()>>,
}

pub struct Relay {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    random: Mutex<Random>,
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            target,
            open: HashMap::new(),
            accepted: 0,
            cuts: 0,
            vanished: 0,
        }));
        tokio::spawn(accept(listener, state.clone()));
        Ok(Self {
            address,
            state,
            random: Mutex::new(Random::new(1)),
        })
    }

    /// Relays further connections to `target`.
    pub fn redirect(&self, target: SocketAddr) {
        lock(&self.state).target = target;
    }

    /// Cuts a random connection, if there is one.
    pub fn cut_one(&self) {
        let mut state = lock(&self.state);
        let chosen = lock(&self.random).below(state.open.len());
        if let Some(relayed) = state.open.values().nth(chosen) {
            relayed.task.abort();
            state.cuts += 1;
        }
    }

    /// Makes a random connection vanish, if there is one that has not yet.
    pub fn vanish_one(&self) {
        let mut state = lock(&self.state);
        let chosen = lock(&self.random).below(state.open.len());
        let relayed = state.open.values_mut().nth(chosen);
        if relayed.is_some_and(|relayed| relayed.intact.take().is_some()) {
            state.vanished += 1;
        }
    }

    pub fn open(&self) -> usize {
        lock(&self.state).open.len()
    }

    pub fn accepted(&self) -> usize {
        lock(&self.state).accepted
    }

    pub fn cuts(&self) -> usize {
        lock(&self.state).cuts
    }

    pub fn vanished(&self) -> usize {
        lock(&self.state).vanished
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((near, _)) = listener.accept().await {
        let mut locked = lock(&state);
        let target = locked.target;
        locked.accepted += 1;
        let number = locked.accepted;
        let remove = RemoveOnDrop(state.clone(), number);
        let (intact, vanishes) = oneshot::channel();
        let relayed = tokio::spawn(async move {
            let _remove = remove;
            if let Ok(far) = TcpStream::connect(target).await {
                relay(near, far, vanishes).await;
            }
        });
        locked.open.insert(
            number,
            Relayed {
                task: relayed.abort_handle(),
                intact: Some(intact),
            },
        );
    }
}

/// Relays until both sides have ended. After `vanishes`, nothing arrives any more.
async fn relay(mut near: TcpStream, mut far: TcpStream, vanishes: oneshot::Receiver<()>) {
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = vanishes => {
            tokio::join!(discard(&mut near), discard(&mut far));
        }
    }
}

/// Reads until the side ends or fails, and ignores what it sends.
async fn discard(mut side: impl AsyncRead + Unpin) {
    let _ = copy(&mut side, &mut sink()).await;
}

/// Removes the connection from the open ones when its task ends, even if it is aborted.
struct RemoveOnDrop(Arc<Mutex<State>>, usize);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        lock(&self.0).open.remove(&self.1);
    }
}
