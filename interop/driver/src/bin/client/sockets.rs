//! What is done with one socket.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, Transport, WebSocket};
use interop_driver::{Failure, messages};

use crate::outcome::Carried;

/// Whatever takes longer is a call that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where sockets lead, and what they ask for.
#[derive(Clone)]
pub struct Goal {
    pub client: Client,
    pub url: String,
    pub subprotocol: Option<String>,
}

impl Goal {
    pub async fn open(&self) -> Result<WebSocket, Failure> {
        let mut request = self.client.request(&self.url);
        if let Some(name) = &self.subprotocol {
            request = request.subprotocol(name);
        }
        Ok(patiently("opening", request.connect()).await??)
    }

    /// Opens, echoes, closes.
    pub async fn one(&self) -> Carried {
        let mut socket = self.open().await?;
        echo(&mut socket).await?;
        close(socket).await
    }
}

async fn patiently<T>(what: &str, call: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, call)
        .await
        .map_err(|_| format!("HUNG {what}").into())
}

/// A message there and back; what else comes (a mirror's echo for others) is skipped.
pub async fn echo(socket: &mut WebSocket) -> Carried {
    let text = format!("over {}", socket.transport());
    patiently("sending", socket.send(Message::text(text.clone()))).await??;
    loop {
        match patiently("receiving", socket.next()).await? {
            Some(Ok(message)) if message.as_bytes() == text.as_bytes() => {
                return Ok(socket.transport());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err("closed before the answer came".into()),
        }
    }
}

/// One message, and its answer.
pub async fn ask(socket: &mut WebSocket, text: &str) -> Result<String, Failure> {
    patiently("sending", socket.send(Message::text(text.to_owned()))).await??;
    match patiently("receiving", socket.next()).await? {
        Some(Ok(message)) => Ok(String::from_utf8_lossy(message.as_bytes()).into_owned()),
        Some(Err(error)) => Err(error.into()),
        None => Err("closed before the answer came".into()),
    }
}

/// As many messages of many sizes there and back as told, the next ones underway before the first
/// returns. Gives the socket back.
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
            match patiently("receiving", reader.next()).await? {
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

/// A message of this size there and back. It is read while it is sent, for a peer may echo its
/// fragments one by one.
pub async fn large(socket: &mut WebSocket, size: usize) -> Carried {
    let transport = socket.transport();
    let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let (mut writer, mut reader) = StreamExt::split(socket);
    let sending = patiently("sending", writer.send(Message::binary(bytes.clone())));
    let receiving = patiently("receiving", reader.next());
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

pub async fn close(mut socket: WebSocket) -> Carried {
    patiently("closing", socket.close(CloseFrame::from(CloseCode::NORMAL))).await??;
    Ok(socket.transport())
}

/// Reads to the end, and says what it was.
pub async fn end(mut socket: WebSocket) -> (Transport, String) {
    let transport = socket.transport();
    let how = loop {
        match patiently("receiving", socket.next()).await {
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

/// Echoes without a pause until the socket has ended, and says how that was; told to hush it gives
/// the socket back.
pub async fn chat(
    mut socket: WebSocket,
    hush: Arc<AtomicBool>,
) -> Result<WebSocket, (Transport, String)> {
    let transport = socket.transport();
    while !hush.load(Ordering::Relaxed) {
        let text = Message::text("still there?".to_owned());
        match patiently("sending", socket.send(text)).await {
            Ok(Ok(())) => {}
            // Whatever made it unsendable is what reading tells.
            Ok(Err(_)) => return Err(end(socket).await),
            Err(hung) => return Err((transport, hung.to_string())),
        }
        match patiently("receiving", socket.next()).await {
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
