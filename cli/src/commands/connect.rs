//! `h2ws connect`: sends the lines of stdin as messages, and prints the messages that arrive.

use std::cell::Cell;
use std::io::Write;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::socket::WebSocketReader;
use h2ws::{CloseCode, CloseFrame, Error, Message, Timeout, WebSocket};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::request::{LAST_FRAMES, build, connect_error, shutdown};
use super::text::count;
use crate::args::ConnectArgs;
use crate::error::{Failure, Stopped};
use crate::{log, signals, terminal};

pub(crate) async fn run(args: ConnectArgs) -> Result<(), Failure> {
    let client = build(args.request.client(&args.url)?)?;
    let request = args.request.request(&client, &args.url);
    let mut stop = std::pin::pin!(signals::stop());
    let socket = tokio::select! {
        opened = request.connect() => opened.map_err(|error| connect_error(error, &args.url))?,
        () = &mut stop => return Err(Stopped.into()),
    };
    log::notice(format_args!("open over {}", socket.transport()));
    if let Some(name) = socket.subprotocol() {
        log::notice(format_args!("subprotocol {name}"));
    }
    // These lines must come before the first message, which goes to stdout.
    log::flush();
    let done = talk(socket, Duration::from_secs_f64(args.wait), stop).await;
    shutdown(&client).await;
    done
}

/// Sends lines and prints messages until the peer closes, or stdin has ended and as many messages
/// have arrived as were sent (or none for `wait`).
async fn talk(
    socket: WebSocket,
    wait: Duration,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Failure> {
    // Read while a line is being sent: a peer that echoes may not read the rest of a long line
    // before its echo of the beginning is read.
    let (mut reader, mut writer) = socket.split();
    let sent = Cell::new(0u64);
    let mut send = Box::pin(async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let stdin = |error| format!("stdin: {error}");
        while let Some(line) = lines.next_line().await.map_err(stdin)? {
            writer.send(Message::text(line)).await?;
            sent.set(sent.get() + 1);
        }
        Ok::<_, Failure>(())
    });
    let mut sending = true;
    let mut received = 0u64;
    let code = loop {
        if !sending && received >= sent.get() {
            break CloseCode::NORMAL;
        }
        let quiet = tokio::time::sleep(wait);
        tokio::select! {
            message = reader.next() => match message {
                Some(message) => received += u64::from(print(message?)?),
                None => return ended(&reader),
            },
            done = &mut send, if sending => {
                done?;
                sending = false;
            }
            () = quiet, if !sending => {
                log::notice(format_args!(
                    "received {} for {}, then nothing for {wait:?}; closing",
                    count(received as usize, "message"),
                    count(sent.get() as usize, "line"),
                ));
                break CloseCode::NORMAL;
            }
            () = &mut stop => break CloseCode::GOING_AWAY,
        }
    };
    drop(send);
    let mut socket = reader.reunite(writer)?;
    let close = socket.close(CloseFrame::from(code));
    if code == CloseCode::GOING_AWAY {
        // The user is waiting. A peer that does not read must not delay the exit.
        let closed = tokio::time::timeout(LAST_FRAMES, close).await;
        closed.unwrap_or(Err(Error::Timeout(Timeout::Close)))?;
    } else {
        close.await?;
    }
    Ok(())
}

/// Prints a text or binary message. Returns false for other messages.
fn print(message: Message) -> std::io::Result<bool> {
    let payload = match message {
        Message::Text(_) | Message::Binary(_) => message.into_data(),
        _ => return Ok(false),
    };
    let mut stdout = terminal::stdout();
    stdout.write_all(&payload)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(true)
}

/// Reports how the peer closed. It is a failure if the close code says so.
fn ended(socket: &WebSocketReader) -> Result<(), Failure> {
    let code = socket.close_code().unwrap_or(CloseCode::NO_STATUS_RECEIVED);
    let frame = socket.close_frame();
    let reason = frame.as_ref().map_or("", |frame| frame.reason.as_str());
    let text = format!("closed by the peer: {} {reason}", u16::from(code));
    log::notice(terminal::quoted(text.trim_end()));
    match code {
        CloseCode::NORMAL | CloseCode::GOING_AWAY | CloseCode::NO_STATUS_RECEIVED => Ok(()),
        code => Err(format!(
            "the peer closed the WebSocket with code {}",
            u16::from(code)
        )
        .into()),
    }
}
