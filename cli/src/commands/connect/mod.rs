//! `h2ws connect`: a WebSocket in a shell.
//!
//! | file | idea |
//! |---|---|
//! | `link` | the WebSocket, or one after another with `--reconnect`; reports what happens to it |
//! | `input` | stdin, cut into messages |
//! | `pipe` | sends what is read and prints what arrives, until both are done |
//! | `interactive` | the same by hand, where stdin and stdout are a terminal |

mod input;
#[cfg(unix)]
mod interactive;
mod link;
mod pipe;

use h2ws::{CloseCode, WebSocketConfig};

use self::link::{Ending, Link};
use super::request::{build, shutdown};
use crate::args::ConnectArgs;
use crate::error::{Failure, Stopped};
use crate::signals;

pub(crate) async fn run(args: ConnectArgs) -> Result<(), Failure> {
    let messages = args.messages()?;
    #[cfg(unix)]
    let by_hand = !args.is_scripted() && interactive::is_possible();
    #[cfg(not(unix))]
    let by_hand = false;
    let socket = WebSocketConfig::default()
        .ping_interval(args.ping_interval())
        .control_messages(by_hand);
    let client = args
        .request
        .client(&args.url)?
        .connect_timeout(args.timeout())
        .handshake_timeout(args.timeout())
        .socket(socket);
    let client = build(client)?;
    let mut stop = std::pin::pin!(signals::stop());
    let link = tokio::select! {
        link = Link::open(&args, &client) => link?,
        () = &mut stop => return Err(Stopped.into()),
    };
    let done = match by_hand {
        #[cfg(unix)]
        true => interactive::run(&args, link, stop).await,
        _ => pipe::run(&args, messages, link, stop).await,
    };
    shutdown(&client).await;
    done
}

/// Returns what carries the WebSocket, and what was negotiated.
fn description(link: &Link) -> Vec<String> {
    let Some(socket) = link.socket() else {
        return Vec::new();
    };
    let mut lines = vec![format!("open over {}", socket.transport())];
    lines.extend(
        socket
            .subprotocol()
            .map(|name| format!("subprotocol {name}")),
    );
    lines
}

/// Returns how the peer closed, and whether that is a failure, which its close code decides.
fn closed_by_peer(Ending { code, reason }: &Ending) -> (String, Result<(), Failure>) {
    let number = u16::from(*code);
    let text = format!("closed by the peer: {number} {reason}");
    let done = match *code {
        CloseCode::NORMAL | CloseCode::GOING_AWAY | CloseCode::NO_STATUS_RECEIVED => Ok(()),
        _ => Err(format!("the peer closed the WebSocket with code {number}").into()),
    };
    (text.trim_end().to_owned(), done)
}
