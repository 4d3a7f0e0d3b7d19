//! Ordinary requests: handed to the fallback, answered over HTTP/2.

use std::future::{pending, poll_fn};
use std::pin::pin;

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Body;
use super::connection::status;
use super::serve::{Fallback, ResponseBody};
use crate::handshake::headers;
use crate::transport::StreamError;
use crate::transport::h2::{ConnectionHandle, H2Body, H2Incoming, H2Responder, SendBuf, send_head};
use crate::transport::linger::LINGER;

/// Bytes of a response that are handed to `h2` at a time.
const PIECE: usize = 64 * 1024;

/// Asks the fallback; its failure is a 500.
pub(super) async fn call(fallback: &Fallback, request: Request<Body>) -> Response<ResponseBody> {
    fallback(request).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the fallback service failed");
        status(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

/// Answers a request over HTTP/2 by the fallback.
pub(super) async fn answer(incoming: H2Incoming, fallback: Fallback) {
    let H2Incoming { parts, responder } = incoming;
    let (body, mut respond, handle) = responder.into_parts();
    let is_head = parts.method == Method::HEAD;
    let mut body = H2Body::of_request(body, &parts.headers, &handle);
    let mut asked = body.asks(&parts.headers);
    let request = Request::from_parts(parts, Body::h2(body));
    let mut response = pin!(call(&fallback, request));
    let response = loop {
        tokio::select! {
            biased;
            // The client does not want the answer any more.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
            () = is_asked(&mut asked) => go_on(&mut respond),
            response = &mut response => break response,
        }
    };
    let (head, body, end) = split(response, is_head);
    match send_head(&handle, &mut respond, head, end) {
        Ok(_) if end => {}
        Ok(send) => send_body(send, body, &handle).await,
        Err(error) => tracing::debug!(?error, "cannot answer"),
    }
}

/// Ready once, if the service waits for a body that the client keeps back.
async fn is_asked(asked: &mut Option<oneshot::Receiver<()>>) {
    if let Some(ask) = asked {
        let is_asked = ask.await.is_ok();
        *asked = None;
        if is_asked {
            return;
        }
    }
    pending::<()>().await;
}

/// Tells a client to send the body (RFC 9110 §10.1.1).
fn go_on(respond: &mut SendResponse<SendBuf>) {
    let mut go_on = Response::new(());
    *go_on.status_mut() = StatusCode::CONTINUE;
    if let Err(error) = respond.send_informational(go_on) {
        tracing::debug!(%error, "cannot ask for a body");
    }
}

/// Answers a request over HTTP/2.
pub(super) fn respond(incoming: H2Incoming, response: Response<ResponseBody>) {
    let is_head = incoming.parts.method == Method::HEAD;
    send(incoming.responder, response, is_head);
}

/// Answers a request over HTTP/2; a HEAD by the head alone.
pub(super) fn send(responder: H2Responder, response: Response<ResponseBody>, is_head: bool) {
    let (head, body, end) = split(response, is_head);
    let handle = responder.handle().clone();
    match responder.respond(head, end) {
        Ok(_) if end => {}
        Ok(send) => {
            tokio::spawn(async move { send_body(send, body, &handle).await });
        }
        Err(error) => tracing::debug!(?error, "cannot answer"),
    }
}

/// The head as HTTP/2 wants it, the body, and whether there is none.
fn split(response: Response<ResponseBody>, is_head: bool) -> (Response<()>, ResponseBody, bool) {
    let (mut parts, body) = response.into_parts();
    headers::remove_forbidden_in_http2(&mut parts.headers);
    let end = is_head || body.is_end_stream();
    if let Some(length) = body.size_hint().exact()
        && !(parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT)
        && !(length == 0 && (is_head || parts.status == StatusCode::NOT_MODIFIED))
    {
        parts
            .headers
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    (Response::from_parts(parts, ()), body, end)
}

/// Sends a body as fast as the client takes it.
async fn send_body(
    mut send: SendStream<SendBuf>,
    mut body: ResponseBody,
    handle: &ConnectionHandle,
) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = poll_fn(|cx| send.poll_reset(cx)) => return,
        };
        let sent = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => send_data(&mut send, data).await,
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => {
                        let _ = send.send_trailers(trailers);
                        return;
                    }
                    Err(_) => Ok(()),
                },
            },
            Some(Err(error)) => {
                tracing::debug!(%error, "a response broke off");
                // The reset would drop what is queued, the head too.
                let _ = timeout(LINGER, handle.flushed()).await;
                return send.send_reset(Reason::INTERNAL_ERROR);
            }
            None => {
                let _ = send.send_data(SendBuf::empty(), true);
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn send_data(send: &mut SendStream<SendBuf>, mut data: Bytes) -> Result<(), StreamError> {
    while data.has_remaining() {
        send.reserve_capacity(data.len().min(PIECE));
        while send.capacity() == 0 {
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(capacity) => capacity?,
                None => return Err(StreamError::Closed),
            };
        }
        let piece = data.split_to(send.capacity().min(data.len()));
        send.send_data(SendBuf::untracked(piece), false)?;
    }
    Ok(())
}
