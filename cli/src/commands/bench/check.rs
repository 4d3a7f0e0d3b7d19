//! Checks by one message before the load that the server echoes: a load on any other server would
//! measure nothing.

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::{Message, WebSocket};
use tokio::time::{Instant, timeout_at};

use super::NO_ECHO;
use crate::error::Failure;
use crate::log;

/// When to warn that there has been no answer yet.
const WARN_AFTER: Duration = Duration::from_secs(2);

/// When to stop waiting for the answer.
const STOP_AFTER: Duration = Duration::from_secs(5);

/// Characters of an unexpected answer that an error quotes.
const QUOTED: usize = 60;

/// Sends a message and waits for its echo.
pub(super) async fn echo(socket: &mut WebSocket, payload: &Message) -> Result<(), Failure> {
    let began = Instant::now();
    let mut echoed = std::pin::pin!(exchange(socket, payload));
    if let Ok(result) = timeout_at(began + WARN_AFTER, &mut echoed).await {
        return result;
    }
    log::notice(format_args!("after {WARN_AFTER:?}: {NO_ECHO}"));
    match timeout_at(began + STOP_AFTER, echoed).await {
        Ok(result) => result,
        Err(_) => Err(format!("the server does not echo: {NO_ECHO}").into()),
    }
}

async fn exchange(socket: &mut WebSocket, payload: &Message) -> Result<(), Failure> {
    socket.send(payload.clone()).await?;
    loop {
        match socket.next().await.transpose()? {
            Some(Message::Ping(_) | Message::Pong(_)) => {}
            Some(answer) if answer == *payload => return Ok(()),
            Some(answer) => return Err(unexpected(payload, &answer).into()),
            None => {
                let code = socket.close_code().map(u16::from);
                let code = code.map_or_else(String::new, |code| format!(" ({code})"));
                let error = format!("the server closed the WebSocket{code} instead of echoing");
                return Err(error.into());
            }
        }
    }
}

fn unexpected(sent: &Message, answer: &Message) -> String {
    let shown = match answer.as_text() {
        Some(text) => {
            let beginning: String = text.chars().take(QUOTED).collect();
            let more = if beginning.len() < text.len() {
                "..."
            } else {
                ""
            };
            format!(": {beginning:?}{more}")
        }
        None => String::new(),
    };
    let advice = if answer.is_text() && !sent.is_text() {
        "; if it echoes text only, try --text"
    } else {
        ""
    };
    format!(
        "the server does not echo: {} came back for {}{shown}{advice}",
        described(answer),
        described(sent)
    )
}

fn described(message: &Message) -> String {
    let kind = if message.is_text() { "text" } else { "binary" };
    format!("{} bytes of {kind}", message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unexpected_answer_is_quoted_without_its_escape_sequences() {
        let sent = Message::binary(&b"xx"[..]);
        let error = unexpected(&sent, &Message::text("\u{1b}[2Jwelcome"));
        assert_eq!(
            error,
            "the server does not echo: 11 bytes of text came back for 2 bytes of binary: \
             \"\\u{1b}[2Jwelcome\"; if it echoes text only, try --text"
        );
        let long = Message::text("x".repeat(1000));
        assert!(unexpected(&long, &long).len() < 200);
        let other = unexpected(&sent, &Message::binary(&b"yy"[..]));
        assert!(other.ends_with("2 bytes of binary came back for 2 bytes of binary"));
    }
}
