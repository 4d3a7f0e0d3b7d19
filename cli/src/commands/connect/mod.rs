//! `h2ws connect`: a WebSocket in a shell.
//!
//! | file | idea |
//! |---|---|
//! | `link` | the WebSocket, or one after another with `--reconnect`; reports what happens to it |
//! | `input` | stdin, cut into messages |
//! | `pipe` | sends what is read and prints what arrives, until both are done |

mod input;
mod link;
mod pipe;

use h2ws::WebSocketConfig;

use self::link::Link;
use super::request::{build, shutdown};
use crate::args::ConnectArgs;
use crate::error::{Failure, Stopped};
use crate::signals;

pub(crate) async fn run(args: ConnectArgs) -> Result<(), Failure> {
    let messages = args.messages()?;
    let socket = WebSocketConfig::default().ping_interval(args.ping_interval());
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
    let done = pipe::run(&args, messages, link, stop).await;
    shutdown(&client).await;
    done
}
