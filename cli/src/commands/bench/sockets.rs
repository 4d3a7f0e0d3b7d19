//! Opens, pings and closes very many WebSockets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt, stream};
use h2ws::{Client, CloseCode, Message, WebSocket};
use tokio::task::JoinSet;

use super::super::request::connect_error;
use super::socket::Socket;
use crate::args::BenchArgs;
use crate::error::{Failure, with_causes};
use crate::progress::Count;

/// Maximum number of concurrent Pings or closing handshakes.
const AT_A_TIME: usize = 1_000;

/// Opens `count` WebSockets, spread over the clients.
pub(super) async fn open(
    args: &BenchArgs,
    clients: &[Client],
    count: u32,
    progress: &Count,
) -> Result<Vec<Socket>, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    // One list for all tasks: growing one per task would leave free memory behind, which would count
    // as the WebSockets' memory.
    let sockets = Arc::new(Mutex::new(Vec::with_capacity(count as usize)));
    let mut tasks = JoinSet::new();
    for _ in 0..args.opening.min(count) {
        let (next, clients, sockets) = (next.clone(), clients.to_vec(), sockets.clone());
        let (request, url, progress) = (args.request.clone(), args.url.clone(), progress.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= u64::from(count) {
                    return Ok::<_, h2ws::Error>(());
                }
                let client = &clients[n as usize % clients.len()];
                let socket = request.request(client, &url).connect().await?;
                let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
                sockets.push(Box::new(socket));
                progress.increment();
            }
        });
    }
    while let Some(opened) = tasks.join_next().await {
        opened?.map_err(|error| connect_error(error, &args.url))?;
    }
    let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *sockets))
}

/// Pings every WebSocket, and waits for the Pongs.
pub(super) async fn ping(sockets: &mut [Socket], progress: &Count) -> Result<(), Failure> {
    let asked = stream::iter(sockets).map(async |socket| {
        socket.send(Message::ping("bench")).await?;
        while let Some(message) = socket.next().await {
            if matches!(message?, Message::Pong(payload) if payload == "bench") {
                progress.increment();
                return Ok(());
            }
        }
        Err("the server closed the WebSocket instead of answering a Ping".into())
    });
    let mut asked = asked.buffer_unordered(AT_A_TIME);
    while let Some(answered) = asked.next().await {
        answered.map_err(|error: Failure| error)?;
    }
    Ok(())
}

/// Closes every WebSocket. Returns the number of failed closing handshakes and the first error.
pub(super) async fn close(sockets: &mut Vec<Socket>, progress: &Count) -> (u32, Option<String>) {
    let closing = stream::iter(sockets.drain(..)).map(async |mut socket| {
        let socket: &mut WebSocket = &mut socket;
        let closed = socket.close(CloseCode::NORMAL).await;
        progress.increment();
        closed
    });
    let mut closing = closing.buffer_unordered(AT_A_TIME);
    let (mut failed, mut failure) = (0, None);
    while let Some(closed) = closing.next().await {
        if let Err(error) = closed {
            failed += 1;
            failure.get_or_insert_with(|| with_causes(&error));
        }
    }
    (failed, failure)
}
