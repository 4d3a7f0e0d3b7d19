//! `h2ws connect`: stdin to a socket, the socket to stdout.

use std::io::Write;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, WebSocket};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::args::ConnectArgs;
use crate::{Failure, signals, tls};

pub(crate) async fn run(args: ConnectArgs) -> Result<(), Failure> {
    let mut builder = Client::builder().version(args.version.version());
    if args.insecure {
        builder = builder.tls(tls::insecure()?);
    }
    let client = builder.build()?;
    let mut request = client.request(&args.url);
    for (name, value) in &args.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    for name in &args.subprotocol {
        request = request.subprotocol(name);
    }
    if let Some(origin) = &args.origin {
        request = request.origin(origin.as_str());
    }
    let socket = request.connect().await.map_err(explain)?;
    eprintln!("h2ws: open over {}", socket.transport());
    if let Some(name) = socket.subprotocol() {
        eprintln!("h2ws: subprotocol {name}");
    }
    talk(socket, Duration::from_secs_f64(args.wait)).await
}

/// Sends lines and prints messages, until stdin has ended and as many
/// messages have come as were sent (or none for `wait`), or the peer closes.
async fn talk(mut socket: WebSocket, wait: Duration) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut reading = true;
    let (mut sent, mut received) = (0u64, 0u64);
    let mut stop = std::pin::pin!(signals::stop());
    let code = loop {
        if !reading && received >= sent {
            break CloseCode::NORMAL;
        }
        let quiet = tokio::time::sleep(wait);
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => received += u64::from(print(message?)?),
                None => return ended(&socket),
            },
            line = lines.next_line(), if reading => match line? {
                Some(line) => {
                    socket.send(Message::text(line)).await?;
                    sent += 1;
                }
                None => reading = false,
            },
            () = quiet, if !reading => {
                eprintln!("h2ws: {received} messages for {sent} lines, and no more for {wait:?}");
                break CloseCode::NORMAL;
            }
            () = &mut stop => break CloseCode::GOING_AWAY,
        }
    };
    socket.close(CloseFrame::from(code)).await?;
    Ok(())
}

/// Prints a message. Returns whether it was one that an application sent.
fn print(message: Message) -> std::io::Result<bool> {
    let payload = match message {
        Message::Text(_) | Message::Binary(_) => message.into_payload(),
        _ => return Ok(false),
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&payload)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(true)
}

/// The peer closed by itself: no failure unless its code says so.
fn ended(socket: &WebSocket) -> Result<(), Failure> {
    let code = socket.close_code().unwrap_or(CloseCode::NO_STATUS);
    let reason = socket.close_reason();
    eprintln!("h2ws: closed by the peer: {} {reason}", u16::from(code));
    match code {
        CloseCode::NORMAL | CloseCode::GOING_AWAY | CloseCode::NO_STATUS => Ok(()),
        code => Err(format!("the peer closed with code {}", u16::from(code)).into()),
    }
}

/// A refusal's body says why more often than its status does.
fn explain(error: Error) -> Failure {
    if let Some(refusal) = error.refusal() {
        let body = String::from_utf8_lossy(&refusal.body);
        let body = body.trim();
        if !body.is_empty() {
            return format!("{error}: {body}").into();
        }
    }
    error.into()
}
