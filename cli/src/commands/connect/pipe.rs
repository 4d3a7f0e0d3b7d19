//! Messages from stdin or `--execute` to stdout, until the server closes or both are done.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use h2ws::{CloseCode, CloseFrame, Error, Message, Timeout};

use super::input::Input;
use super::link::{Ending, Event, Link};
use super::{closed_by_peer, description};
use crate::args::{ConnectArgs, Encoding};
use crate::commands::request::LAST_FRAMES;
use crate::commands::text::count;
use crate::error::Failure;
use crate::{log, terminal};

/// Sends messages and prints those that arrive until the server closes, or the input has ended and
/// as many messages have arrived as were sent (or none for `--wait`).
pub(super) async fn run(
    args: &ConnectArgs,
    messages: Vec<Message>,
    mut link: Link,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Failure> {
    let encoding = args.encoding();
    let mut input = if messages.is_empty() {
        Input::new(encoding, args.one_message)
    } else {
        Input::none(encoding)
    };
    let wait = args.wait.duration();
    let is_enough = |received: u64, sent: u64| match wait {
        _ if args.one_message => received > 0,
        Some(_) => received >= sent,
        None => false,
    };
    let mut queue = VecDeque::new();
    let mut next = None;
    let mut is_open = false;
    // A part of the input that cannot be sent. What came before it is.
    let mut unsent = None;
    let mut reading = true;
    let (mut sent, mut received) = (0u64, 0u64);
    let code = loop {
        next = next.or_else(|| queue.pop_front());
        let idle = is_open && !reading && next.is_none() && link.is_flushed();
        if idle && is_enough(received, sent) {
            break CloseCode::NORMAL;
        }
        let quiet = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = link.next(&mut next) => match event {
                Event::Open => {
                    is_open = true;
                    announce(&link);
                    queue = messages.iter().cloned().collect();
                }
                Event::Sent => sent += 1,
                Event::Flushed => {}
                Event::Received(_) if args.one_message && received > 0 => {}
                Event::Received(message) => received += u64::from(print(message, encoding)?),
                Event::Lost(why, retry_in) => {
                    is_open = false;
                    lost(&why, retry_in);
                }
                Event::Ended(ending) => return ended(&ending?).and(reported(unsent)),
            },
            message = input.next(), if reading && next.is_none() => match message {
                Some(Ok(message)) => next = Some(message),
                Some(Err(error)) => unsent = Some(error),
                None => reading = false,
            },
            () = quiet, if idle => {
                let noun = if args.execute.is_empty() && encoding == Encoding::Lines {
                    "line"
                } else {
                    "message"
                };
                log::notice(format_args!(
                    "received {} for {}, then nothing for {:?}; closing",
                    count(received as usize, "message"),
                    count(sent as usize, noun),
                    wait.unwrap_or_default(),
                ));
                if args.one_message {
                    unsent.get_or_insert_with(|| "no message arrived".into());
                }
                break CloseCode::NORMAL;
            }
            () = &mut stop => break CloseCode::GOING_AWAY,
        }
    };
    let close = link.close(CloseFrame::from(code));
    if code == CloseCode::GOING_AWAY {
        // The user is waiting. A peer that does not read must not delay the exit.
        let closed = tokio::time::timeout(LAST_FRAMES, close).await;
        closed.unwrap_or(Err(Error::Timeout(Timeout::Close)))?;
    } else {
        close.await?;
    }
    reported(unsent)
}

fn reported(error: Option<String>) -> Result<(), Failure> {
    error.map_or(Ok(()), |error| Err(error.into()))
}

fn announce(link: &Link) {
    for line in description(link) {
        log::notice(line);
    }
    // These lines must come before the first message, which goes to stdout.
    log::flush();
}

fn lost(why: &str, retry_in: Duration) {
    let why = terminal::quoted(why);
    log::notice(format_args!("{why}; trying again in {retry_in:.1?}"));
}

/// Prints a text or binary message. Returns false for other messages.
fn print(message: Message, encoding: Encoding) -> std::io::Result<bool> {
    let payload = match message {
        Message::Binary(payload) if encoding == Encoding::Base64 => {
            BASE64_STANDARD.encode(payload).into()
        }
        Message::Text(_) | Message::Binary(_) => message.into_data(),
        _ => return Ok(false),
    };
    let mut stdout = terminal::stdout();
    stdout.write_all(&payload)?;
    if encoding != Encoding::Binary {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()?;
    Ok(true)
}

fn ended(ending: &Ending) -> Result<(), Failure> {
    let (text, done) = closed_by_peer(ending);
    log::notice(terminal::quoted(&text));
    done
}
