//! What the program's servers do with a socket.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{SinkExt, StreamExt};
use h2ws::server::WebSocketRequest;
use h2ws::{Message, Transport, WebSocket};
use http::{HeaderName, HeaderValue};
use serde_json::json;

/// Sockets of this path are first told what carries them.
pub(crate) const CARRIER: &str = "/carrier";

/// The field by which a bridge tells what carries a socket before it. It is
/// there to be shown: nothing is decided by it.
const CARRIED_BY: HeaderName = HeaderName::from_static("h2ws-carried-by");

/// Adds to a request what carries it, for those behind a bridge.
pub(crate) fn tell_carrier(request: &mut WebSocketRequest) {
    let carrier = carrier(request.transport()).to_string();
    if let Ok(carrier) = HeaderValue::try_from(carrier) {
        request.headers_mut().insert(CARRIED_BY, carrier);
    }
}

/// Accepts a socket and sends back whatever comes, agreeing to the first
/// offered subprotocol that is in `subprotocols`.
pub(crate) fn echo(
    request: WebSocketRequest,
    subprotocols: Arc<[String]>,
) -> impl Future<Output = ()> + Send {
    // In a box of its own: a socket's task has room for the largest of its
    // states for the socket's whole life.
    let opening = Box::pin(open(request, subprotocols));
    async move {
        let mut socket = match opening.await {
            Ok(socket) => socket,
            Err(error) => return tracing::debug!(%error, "gone before the answer"),
        };
        tracing::debug!(transport = %socket.transport(), "socket open");
        match poll_fn(|cx| poll_echo(&mut socket, cx)).await {
            Ok(()) => {
                let code = socket.close_code().map(u16::from);
                tracing::debug!(transport = %socket.transport(), code, "socket closed");
            }
            Err(error) => tracing::debug!(transport = %socket.transport(), %error, "socket broke"),
        }
    }
}

async fn open(
    mut request: WebSocketRequest,
    subprotocols: Arc<[String]>,
) -> Result<WebSocket, h2ws::Error> {
    let agreed = request
        .requested_subprotocols()
        .find(|offered| subprotocols.iter().any(|known| known == offered))
        .map(str::to_owned);
    if let Some(agreed) = agreed
        && let Err(error) = request.select_subprotocol(&agreed)
    {
        tracing::warn!(%error, "subprotocol");
    }
    if request.path() == CARRIER {
        accept_and_tell(request).await
    } else {
        request.accept().await
    }
}

/// Accepts a socket and tells it what carries it.
async fn accept_and_tell(request: WebSocketRequest) -> Result<WebSocket, h2ws::Error> {
    let before = request.headers().get(CARRIED_BY).cloned();
    let mut socket = request.accept().await?;
    let carrier = match before.as_ref().map(HeaderValue::to_str) {
        Some(Ok(before)) => before.to_owned(),
        _ => carrier(socket.transport()).to_string(),
    };
    socket.send(Message::text(carrier)).await?;
    Ok(socket)
}

/// Waits for room first, so that no message is held while there is none.
fn poll_echo(socket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Result<(), h2ws::Error>> {
    loop {
        ready!(socket.poll_ready_unpin(cx))?;
        match ready!(socket.poll_next_unpin(cx)).transpose()? {
            // Leaves when there is nothing more to read for the moment.
            Some(message) if message.is_text() || message.is_binary() => {
                socket.start_send_unpin(message)?;
            }
            Some(_) => {}
            None => return Poll::Ready(Ok(())),
        }
    }
}

/// What carries something, for pages.
pub(crate) fn carrier(transport: Transport) -> serde_json::Value {
    match transport {
        Transport::Http2 { connection, stream } => {
            json!({ "transport": "h2", "connection": connection, "stream": stream })
        }
        Transport::Http1 { connection } => json!({ "transport": "h1", "connection": connection }),
        other => json!({ "transport": other.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_task_is_little_more_than_its_socket() {
        let more = size_of_future(echo) - size_of::<WebSocket>();
        assert!(more <= 24, "{more} bytes, once per socket");
    }
}
