//! What the program's servers do with a socket.

use futures_util::{SinkExt, StreamExt};
use h2ws::{Message, Transport, Upgrade, WebSocket};
use http::{HeaderName, HeaderValue};
use serde_json::json;

/// Sockets of this path are first told what carries them.
pub(crate) const CARRIER: &str = "/carrier";

/// The field by which a bridge tells what carries a socket before it. It is
/// there to be shown: nothing is decided by it.
const CARRIED_BY: HeaderName = HeaderName::from_static("h2ws-carried-by");

/// Adds to a request what carries it, for those behind a bridge.
pub(crate) fn tell_carrier(request: &mut Upgrade) {
    let carrier = carrier(request.transport()).to_string();
    if let Ok(carrier) = HeaderValue::try_from(carrier) {
        request.headers_mut().insert(CARRIED_BY, carrier);
    }
}

/// Accepts a socket and sends back whatever comes, agreeing to the first
/// offered subprotocol that is in `subprotocols`.
pub(crate) async fn echo(mut request: Upgrade, subprotocols: &[String]) {
    let agreed = request
        .subprotocols()
        .find(|offered| subprotocols.iter().any(|known| known == offered))
        .map(str::to_owned);
    if let Some(agreed) = agreed
        && let Err(error) = request.subprotocol(&agreed)
    {
        tracing::warn!(%error, "subprotocol");
    }
    // Apart, or every socket would have room for what these few need.
    let told = if request.path() == CARRIER {
        Box::pin(accept_and_tell(request)).await
    } else {
        request.accept().await
    };
    let mut socket = match told {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "gone before the answer"),
    };
    tracing::debug!(transport = %socket.transport(), "socket open");
    match serve(&mut socket).await {
        Ok(()) => {
            let code = socket.close_code().map(u16::from);
            tracing::debug!(transport = %socket.transport(), code, "socket closed");
        }
        Err(error) => tracing::debug!(transport = %socket.transport(), %error, "socket broke"),
    }
}

/// Accepts a socket and tells it what carries it.
async fn accept_and_tell(request: Upgrade) -> Result<WebSocket, h2ws::Error> {
    let before = request.headers().get(CARRIED_BY).cloned();
    let mut socket = request.accept().await?;
    let carrier = match before.as_ref().map(HeaderValue::to_str) {
        Some(Ok(before)) => before.to_owned(),
        _ => carrier(socket.transport()).to_string(),
    };
    socket.send(Message::text(carrier)).await?;
    Ok(socket)
}

async fn serve(socket: &mut WebSocket) -> Result<(), h2ws::Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            // Leaves when there is nothing more to read for the moment.
            socket.feed(message).await?;
        }
    }
    Ok(())
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
