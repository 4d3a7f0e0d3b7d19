//! An echo server that executes the same commands in messages as `apps/echo.mjs`.
//!
//! It selects the first offered subprotocol whose name begins with `echo`, rejects requests for
//! `/refuse` with 403 and a body, and compresses as the query of the path says, if there is one
//! (see [`crate::deflate`]).

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{CloseCode, CloseFrame, Error, Message, WebSocket};
use http::header::{CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use tower_service::Service;

use crate::{Failure, deflate};

/// Responds to the request, and serves the socket until it ends.
pub async fn handle(mut request: WebSocketRequest) -> Result<(), Failure> {
    if request.path().starts_with("/refuse") {
        let mut response = Response::new("not you\n");
        *response.status_mut() = StatusCode::FORBIDDEN;
        request.reject_with(response);
        return Ok(());
    }
    let selected = request
        .requested_subprotocols()
        .find(|name| name.starts_with("echo"))
        .map(str::to_owned);
    if let Some(name) = &selected {
        request.select_subprotocol(name)?;
    }
    if let Some(parameters) = request.uri().query() {
        request.set_deflate(deflate(parameters)?);
    }
    let facts = facts(&request);
    let mut socket = request.accept().await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        match &message {
            Message::Text(order) if order.as_str().starts_with('?') => {
                let stays_open = execute(&mut socket, order.as_str(), &facts).await?;
                if !stays_open {
                    return Ok(());
                }
            }
            Message::Text(_) | Message::Binary(_) => socket.feed(message).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Executes the command in a message that begins with `?`. Returns whether the socket stays open.
pub async fn execute(socket: &mut WebSocket, order: &str, facts: &str) -> Result<bool, Error> {
    let mut words = order.splitn(3, ' ');
    match words.next().unwrap_or_default() {
        "?close" => {
            let code = words.next().and_then(|code| code.parse::<u16>().ok());
            let code = code.map_or(CloseCode::NORMAL, CloseCode::from);
            let reason = words.next().unwrap_or_default().to_owned();
            socket.close(CloseFrame::new(code, reason)).await?;
            Ok(false)
        }
        "?request" => {
            socket.send(Message::text(facts.to_owned())).await?;
            Ok(true)
        }
        // Dropped without a Close frame: RST_STREAM(CANCEL), or the end of the connection.
        "?abort" => Ok(false),
        "?ping" => {
            socket.send(Message::ping("are you there")).await?;
            while let Some(message) = socket.next().await {
                if let Message::Pong(payload) = message? {
                    let payload = String::from_utf8_lossy(&payload).into_owned();
                    socket
                        .send(Message::text(format!("ponged {payload}")))
                        .await?;
                    break;
                }
            }
            Ok(true)
        }
        _ => {
            socket.send(Message::text(order.to_owned())).await?;
            Ok(true)
        }
    }
}

/// Returns a description of the request as JSON.
fn facts(request: &WebSocketRequest) -> String {
    let version = if request.version() == Version::HTTP_2 {
        "2"
    } else {
        "1.1"
    };
    let offered = request.headers().get(SEC_WEBSOCKET_EXTENSIONS);
    let offered = offered
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    format!(
        r#"{{"version":"{version}","path":"{}","extensions":"{offered}"}}"#,
        request.path()
    )
}

/// Answers plain HTTP requests with a page, which may open WebSockets.
#[derive(Clone)]
pub struct Page;

impl<B> Service<Request<B>> for Page {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response =
            Response::new("<!doctype html><title>echo</title>an ordinary answer\n".into());
        let html = HeaderValue::from_static("text/html");
        response.headers_mut().insert(CONTENT_TYPE, html);
        ready(Ok(response))
    }
}
