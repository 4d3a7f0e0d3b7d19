//! The WebSocket handler of `serve` and of the demo's backend: an echo.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::error::with_causes;
use futures_util::{SinkExt, StreamExt};
use h2ws::server::WebSocketRequest;
use h2ws::{Message, Transport, WebSocket};
use http::{HeaderName, HeaderValue};
use serde_json::json;

/// On this path the first message describes the connection that carries the WebSocket.
pub(crate) const CARRIER: &str = "/carrier";

/// The field in which the demo's bridge describes the client's connection. It is for display only.
const CARRIED_BY: HeaderName = HeaderName::from_static("h2ws-carried-by");

/// Adds a field that describes the connection of a request, for the server that it is forwarded to.
pub(crate) fn add_carrier_header(request: &mut WebSocketRequest) {
    let carrier = carrier(request.transport()).to_string();
    if let Ok(carrier) = HeaderValue::try_from(carrier) {
        request.headers_mut().insert(CARRIED_BY, carrier);
    }
}

/// Accepts a WebSocket, with the first offered subprotocol that is in `subprotocols`, and sends every
/// message back.
pub(crate) fn echo(
    request: WebSocketRequest,
    subprotocols: Arc<[String]>,
) -> impl Future<Output = ()> + Send {
    // Boxed: otherwise the task would keep room for this larger state as long as the WebSocket
    // lives.
    let opening = Box::pin(open(request, subprotocols));
    async move {
        let mut socket = match opening.await {
            Ok(socket) => socket,
            Err(error) => {
                return tracing::debug!(error = %with_causes(&error), "the client left before the answer");
            }
        };
        tracing::debug!(transport = %socket.transport(), "WebSocket open");
        match poll_fn(|cx| poll_echo(&mut socket, cx)).await {
            Ok(()) => {
                let code = socket.close_code().map(u16::from);
                tracing::debug!(transport = %socket.transport(), code, "WebSocket closed");
            }
            Err(error) => {
                tracing::debug!(transport = %socket.transport(), error = %with_causes(&error), "WebSocket failed");
            }
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
        tracing::warn!(error = %with_causes(&error), "cannot select the subprotocol");
    }
    if request.path() == CARRIER {
        accept_with_carrier(request).await
    } else {
        request.accept().await
    }
}

/// Accepts a WebSocket and sends a description of its connection.
async fn accept_with_carrier(request: WebSocketRequest) -> Result<WebSocket, h2ws::Error> {
    let before = request.headers().get(CARRIED_BY).cloned();
    let mut socket = request.accept().await?;
    let carrier = match before.as_ref().map(HeaderValue::to_str) {
        Some(Ok(before)) => before.to_owned(),
        _ => carrier(socket.transport()).to_string(),
    };
    socket.send(Message::text(carrier)).await?;
    Ok(socket)
}

/// Waits for room to send before it reads, so that it never holds a message.
fn poll_echo(socket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Result<(), h2ws::Error>> {
    loop {
        ready!(socket.poll_ready_unpin(cx))?;
        match ready!(socket.poll_next_unpin(cx)).transpose()? {
            // Flushed when there is nothing more to read for now.
            Some(message) if message.is_text() || message.is_binary() => {
                socket.start_send_unpin(message)?;
            }
            Some(_) => {}
            None => return Poll::Ready(Ok(())),
        }
    }
}

/// Describes the connection that carries a request or WebSocket, for the page.
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
    fn a_task_is_hardly_larger_than_its_websocket() {
        let more = size_of_future(echo) - size_of::<WebSocket>();
        assert!(more <= 24, "{more} bytes per WebSocket");
    }
}
