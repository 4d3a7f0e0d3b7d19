//! The operations on one socket.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, Transport, WebSocket};
use interop_driver::{Failure, messages};

use crate::outcome::SocketResult;

/// A call that takes longer counts as hung.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Where sockets are opened, and the subprotocol that they request.
#[derive(Clone)]
pub struct Target {
    pub client: Client,
    pub url: String,
    pub subprotocol: Option<String>,
}

impl Target {
    pub async fn open(&self) -> Result<WebSocket, Failure> {
        let mut request = self.client.request(&self.url);
        if let Some(name) = &self.subprotocol {
            request = request.subprotocol(name);
        }
        Ok(with_timeout("opening", request.connect()).await??)
    }

    /// Opens a socket, echoes a message and closes it.
    pub async fn one(&self) -> SocketResult {
        let mut socket = self.open().await?;
        echo(&mut socket).await?;
        close(socket).await
    }
}

async fn with_timeout<T>(what: &str, call: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(CALL_TIMEOUT, call)
        .await
        .map_err(|_| format!("HUNG {what}").into())
}

/// Sends a message and waits for its echo. Other messages are skipped (a peer may mirror those of
/// other sockets).
pub async fn echo(socket: &mut WebSocket) -> SocketResult {
    let text = format!("over {}", socket.transport());
    with_timeout("sending", socket.send(Message::text(text.clone()))).await??;
    loop {
        match with_timeout("receiving", socket.next()).await? {
            Some(Ok(message)) if message.as_bytes() == text.as_bytes() => {
                return Ok(socket.transport());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err("closed before the answer came".into()),
        }
    }
}

/// Sends a message and returns the reply.
pub async fn ask(socket: &mut WebSocket, text: &str) -> Result<String, Failure> {
    with_timeout("sending", socket.send(Message::text(text.to_owned()))).await??;
    match with_timeout("receiving", socket.next()).await? {
        Some(Ok(message)) => Ok(String::from_utf8_lossy(message.as_bytes()).into_owned()),
        Some(Err(error)) => Err(error.into()),
        None => Err("closed before the answer came".into()),
    }
}

/// Sends `count` messages of many sizes without waiting for the echoes, and checks the echoes.
/// Returns the socket.
pub async fn talk(socket: WebSocket, count: usize) -> Result<WebSocket, Failure> {
    let (mut reader, mut writer) = socket.split();
    let sending = async {
        for number in 0..count {
            writer.feed(messages::numbered(number)).await?;
        }
        writer.flush().await?;
        Ok::<_, Failure>(())
    };
    let receiving = async {
        for number in 0..count {
            match with_timeout("receiving", reader.next()).await? {
                Some(Ok(message)) if message == messages::numbered(number) => {}
                Some(Ok(other)) => {
                    let bytes = other.as_bytes().len();
                    return Err(format!("message {number} came back as {bytes} other bytes").into());
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(format!("closed before message {number}").into()),
            }
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(reader
        .reunite(writer)
        .map_err(|_| "halves of two sockets")?)
}

/// Echoes a message of this size. The echo is read while the message is sent, because a peer may
/// echo its fragments one at a time.
pub async fn large(socket: &mut WebSocket, size: usize) -> SocketResult {
    let transport = socket.transport();
    let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let (mut writer, mut reader) = StreamExt::split(socket);
    let sending = with_timeout("sending", writer.send(Message::binary(bytes.clone())));
    let receiving = with_timeout("receiving", reader.next());
    let (sent, received) = tokio::try_join!(sending, receiving)?;
    sent?;
    match received {
        Some(Ok(message)) if message.as_bytes() == bytes => Ok(transport),
        Some(Ok(message)) => {
            Err(format!("{} of {size} bytes came back", message.as_bytes().len()).into())
        }
        Some(Err(error)) => Err(error.into()),
        None => Err("closed before the answer came".into()),
    }
}

pub async fn close(mut socket: WebSocket) -> SocketResult {
    with_timeout("closing", socket.close(CloseFrame::from(CloseCode::NORMAL))).await??;
    Ok(socket.transport())
}

/// Reads until the socket ends, and returns how it ended.
pub async fn end(mut socket: WebSocket) -> (Transport, String) {
    let transport = socket.transport();
    let how = loop {
        match with_timeout("receiving", socket.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => break broken(&error),
            Ok(None) => {
                break socket
                    .close_code()
                    .map_or_else(|| "no code".into(), |code| u16::from(code).to_string());
            }
            Err(hung) => break hung.to_string(),
        }
    };
    (transport, how)
}

/// Echoes messages until the socket ends, and returns how it ended as an error. Returns the socket
/// when `hush` is set.
pub async fn chat(
    mut socket: WebSocket,
    hush: Arc<AtomicBool>,
) -> Result<WebSocket, (Transport, String)> {
    let transport = socket.transport();
    while !hush.load(Ordering::Relaxed) {
        let text = Message::text("still there?".to_owned());
        match with_timeout("sending", socket.send(text)).await {
            Ok(Ok(())) => {}
            // Reading returns the reason why sending failed.
            Ok(Err(_)) => return Err(end(socket).await),
            Err(hung) => return Err((transport, hung.to_string())),
        }
        match with_timeout("receiving", socket.next()).await {
            Ok(Some(Ok(_))) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(Some(Err(error))) => return Err((transport, broken(&error))),
            Ok(None) => return Err(end(socket).await),
            Err(hung) => return Err((transport, hung.to_string())),
        }
    }
    Ok(socket)
}

fn broken(error: &Error) -> String {
    let code = if error.is_abnormal_closure() {
        "1006"
    } else {
        "error"
    };
    format!("{code} {error}")
}
