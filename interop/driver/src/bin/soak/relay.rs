//! A TCP relay that drops connections, so that both sides lose them at the same time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use interop_driver::Failure;
use interop_driver::messages::Random;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

#[derive(Default)]
struct State {
    open: HashMap<usize, AbortHandle>,
    accepted: usize,
    cuts: usize,
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
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(accept(listener, target, state.clone()));
        Ok(Self {
            address,
            state,
            random: Mutex::new(Random::new(1)),
        })
    }

    /// Drops a random connection, if there is one.
    pub fn cut_one(&self) {
        let mut state = lock(&self.state);
        let chosen = lock(&self.random).below(state.open.len());
        if let Some(relayed) = state.open.values().nth(chosen) {
            relayed.abort();
            state.cuts += 1;
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
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, target: SocketAddr, state: Arc<Mutex<State>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut locked = lock(&state);
        locked.accepted += 1;
        let number = locked.accepted;
        let remove = RemoveOnDrop(state.clone(), number);
        let relayed = tokio::spawn(async move {
            let _remove = remove;
            if let Ok(mut far) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
        locked.open.insert(number, relayed.abort_handle());
    }
}

/// Removes the connection from the open ones when its task ends, even if it is aborted.
struct RemoveOnDrop(Arc<Mutex<State>>, usize);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        lock(&self.0).open.remove(&self.1);
    }
}
