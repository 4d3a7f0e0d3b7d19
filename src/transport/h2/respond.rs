//! Sends responses to plain HTTP requests.
//!
//! A response's body is sent as fast as the client's windows allow. If the body fails,
//! what it produced before is sent first, because a reset drops what `h2` has queued.

use std::fmt::Display;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::body::H2Body;
use super::handle::ConnectionHandle;
use super::handle::stream::SendBuf;
use super::server::{H2Incoming, H2Responder, send_head};
use crate::transport::StreamError;
use crate::transport::linger::LINGER;

/// Bytes of a response that are passed to `h2` at a time.
const CHUNK: usize = 64 * 1024;

impl H2Incoming {
    /// Answers with the response of `service`, which is dropped if the client resets the
    /// stream before.
    pub(crate) async fn answer<B, F>(self, service: impl FnOnce(Request<H2Body>) -> F)
    where
        B: Body<Data = Bytes, Error: Display + Send> + Unpin,
        F: Future<Output = Response<B>>,
    {
        let Self { parts, responder } = self;
        let (body, mut respond, handle) = responder.into_parts();
        let is_head = parts.method == Method::HEAD;
        let mut body = H2Body::of_request(body, &parts.headers, &handle);
        let mut waits_for_continue = body.first_read(&parts.headers);
        let mut response = pin!(service(Request::from_parts(parts, body)));
        let response = loop {
            tokio::select! {
                biased;
                _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
                () = body_is_read(&mut waits_for_continue) => send_continue(&mut respond),
                response = &mut response => break response,
            }
        };
        let (head, mut body, end) = split(response, is_head);
        match send_head(&handle, &mut respond, head, end) {
            Ok(_) if end => {}
            Ok(send) => send_body(send, Pin::new(&mut body), &handle).await,
            Err(error) => not_sent(&error),
        }
    }

    /// Answers with `response`.
    pub(crate) fn respond<B>(self, response: Response<B>)
    where
        B: Body<Data = Bytes, Error: Display + Send> + Unpin + Send + 'static,
    {
        let is_head = self.parts.method == Method::HEAD;
        send(self.responder, response, is_head);
    }
}

impl H2Responder {
    /// Answers a request other than HEAD with `response`.
    pub(crate) fn reject<B>(self, response: Response<B>)
    where
        B: Body<Data = Bytes, Error: Display + Send> + Unpin + Send + 'static,
    {
        send(self, response, false);
    }

    /// Resets the stream of a malformed request (RFC 9113 §8.1.1).
    pub(crate) fn reset_malformed(self) {
        self.reset(Reason::PROTOCOL_ERROR);
    }
}

fn send<B>(responder: H2Responder, response: Response<B>, is_head: bool)
where
    B: Body<Data = Bytes, Error: Display + Send> + Unpin + Send + 'static,
{
    let (head, mut body, end) = split(response, is_head);
    let handle = responder.handle().clone();
    match responder.respond(head, end) {
        Ok(_) if end => {}
        Ok(send) => {
            tokio::spawn(async move { send_body(send, Pin::new(&mut body), &handle).await });
        }
        Err(error) => not_sent(&error),
    }
}

fn not_sent(error: &StreamError) {
    tracing::debug!(?error, "cannot send a response");
}

/// Ready once, when the service reads a body that the client sends only after 100
/// (Continue).
async fn body_is_read(waits_for_continue: &mut Option<oneshot::Receiver<()>>) {
    if let Some(read) = waits_for_continue {
        let is_read = read.await.is_ok();
        *waits_for_continue = None;
        if is_read {
            return;
        }
    }
    pending::<()>().await;
}

/// Asks the client for the body (RFC 9110 §10.1.1).
fn send_continue(respond: &mut SendResponse<SendBuf>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    if let Err(error) = respond.send_informational(response) {
        tracing::debug!(%error, "cannot send 100 (Continue)");
    }
}

/// Splits a response into its head with a `content-length`, its body, and whether the head
/// ends the stream.
fn split<B: Body>(response: Response<B>, is_head: bool) -> (Response<()>, B, bool) {
    let (mut parts, body) = response.into_parts();
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
async fn send_body<B>(
    mut send: SendStream<SendBuf>,
    mut body: Pin<&mut B>,
    handle: &ConnectionHandle,
) where
    B: Body<Data = Bytes, Error: Display + Send>,
{
    loop {
        let frame = tokio::select! {
            biased;
            _ = poll_fn(|cx| send.poll_reset(cx)) => return,
            frame = body.frame() => frame,
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
                tracing::debug!(%error, "the body of a response failed");
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
        send.reserve_capacity(data.len().min(CHUNK));
        while send.capacity() == 0 {
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(capacity) => capacity?,
                None => return Err(StreamError::Closed),
            };
        }
        let chunk = data.split_to(send.capacity().min(data.len()));
        send.send_data(SendBuf::untracked(chunk), false)?;
    }
    Ok(())
}
