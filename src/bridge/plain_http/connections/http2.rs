//! HTTP/2 connections to upstreams, which concurrent requests share.
//!
//! The task that drives a connection owns it. What others need to know, such as
//! the server's stream limit, is read from what the server has announced, so no
//! request ever waits for the driver.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::SendFailure;
use crate::bridge::plain_http::abandoned::ResetLimiter;
use crate::bridge::plain_http::upload::Upload;
use crate::bridge::verdict::Verdict;
use crate::error::{Chain, Error};
use crate::transport::h2::Http2Config;
use crate::transport::h2::header_list;
use crate::transport::h2::inspected_io::{InspectedIo, Server};
use crate::transport::{BoxIo, StreamError};

#[derive(Clone)]
pub(super) struct Http2 {
    send: http2::SendRequest<Upload>,
    /// Cloned for each request in progress, to count them.
    requests: Arc<()>,
    server: Server,
    resets: Arc<ResetLimiter>,
    /// Maximum size of a response's header list, in bytes.
    max_header_list: u32,
}

impl Http2 {
    /// Returns once the server's SETTINGS have been received.
    pub(super) async fn connect(io: BoxIo, config: &Http2Config) -> Result<Self, Error> {
        let (io, server) = InspectedIo::new(io, config.max_header_list_size);
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_frame_size(config.max_frame_size)
            .max_header_list_size(header_list::TAKEN)
            .max_send_buf_size(config.write_buffer)
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout)
            .handshake(TokioIo::new(Box::new(io) as BoxIo))
            .await
            .map_err(StreamError::from)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %Chain(&error), "connection to an upstream broke");
            }
        });
        // The first request must respect the server's limits.
        server.settings().await?;
        Ok(Self {
            send,
            requests: Arc::default(),
            resets: ResetLimiter::new(server.clone()),
            server,
            max_header_list: config.max_header_list_size,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }

    /// Whether a request could be sent without waiting for others to end (RFC
    /// 9113 §5.1.2). A server that allows no stream for now gets one request,
    /// which waits.
    pub(super) fn has_room(&self) -> bool {
        let in_progress = Arc::strong_count(&self.requests) - 1;
        in_progress < self.server.max_concurrent_streams().max(1)
    }

    /// Sends a request. Dropping the future cancels it.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Upload>>>, SendFailure> {
        let size = header_list::of_request(&request, None);
        if let Err(error) = self.server.check_header_list(size) {
            return Err(SendFailure {
                error: error.into(),
                verdict: Verdict::Unknown,
                request: Some(request),
            });
        }
        let sending = self.send.try_send_request(request);
        let in_progress = self.requests.clone();
        let response = self.resets.response(sending, in_progress).await;
        if let Ok(response) = &response {
            let checked = header_list::check_response(response, self.max_header_list);
            checked.map_err(|error| SendFailure::invalid_response(error.into()))?;
        }
        Ok(response)
    }
}
