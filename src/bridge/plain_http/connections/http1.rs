//! HTTP/1.1 connections to upstreams, which carry one request at a time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, TRANSFER_ENCODING};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Requirements, SendFailure};
use crate::bridge::plain_http::upload::Upload;
use crate::error::{Chain, Error};
use crate::handshake::{HandshakeError, upgrade};
use crate::transport::{BoxIo, MAX_HEADER_FIELDS, MAX_INTERIM, StreamError, TOO_MANY_INTERIM, h1};

/// How long after its last response a connection may carry a request that cannot
/// be repeated. Shorter than the idle timeouts of servers that announce none.
const FRESH: Duration = Duration::from_secs(1);

/// How much earlier than announced a server may close a connection.
const MARGIN: Duration = Duration::from_secs(1);

pub(super) struct Http1 {
    pub(super) send: http1::SendRequest<Upload>,
    task: AbortHandle,
    pub(super) binding: Binding,
}

/// The clients whose requests a connection may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// Any client.
    Unbound,
    /// Requests from the client's connection with this number.
    Client(u64),
    /// No further request.
    SingleUse,
}

impl Http1 {
    pub(super) async fn connect(io: BoxIo) -> Result<Self, Error> {
        let (send, connection) = http1::Builder::new()
            .max_buf_size(h1::MAX_HEAD)
            .max_headers(MAX_HEADER_FIELDS)
            .handshake(TokioIo::new(h1::EarlyResponseIo::new(io)))
            .await
            .map_err(StreamError::from)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %Chain(&error), "connection to an upstream broke");
            }
        });
        Ok(Self {
            send,
            task: task.abort_handle(),
            binding: Binding::Unbound,
        })
    }

    /// Sends a request and awaits the head of its response.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Upload>,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Upload>>>, SendFailure> {
        let interim = Arc::new(Interim::default());
        let counter = interim.clone();
        on_informational(&mut request, move |_| counter.count());
        let sent = tokio::select! {
            biased;
            () = interim.exceeded.notified() => {
                let error = io::Error::new(io::ErrorKind::InvalidData, TOO_MANY_INTERIM);
                return Err(SendFailure::invalid_response(StreamError::from(error).into()));
            }
            sent = self.send.try_send_request(request) => sent,
        };
        if let Ok(response) = &sent {
            let fields = response.headers();
            if !upgrade::is_chunked_only(fields) {
                let error = HandshakeError::TransferCoding;
                return Err(SendFailure::invalid_response(error.into()));
            }
            if fields.contains_key(TRANSFER_ENCODING) && fields.contains_key(CONTENT_LENGTH) {
                self.binding = Binding::SingleUse;
            }
        }
        Ok(sent)
    }

    /// Cuts the connection.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

/// Counts the interim responses to one request.
#[derive(Default)]
struct Interim {
    count: AtomicUsize,
    /// Notified after more than [`MAX_INTERIM`].
    exceeded: Notify,
}

impl Interim {
    fn count(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM {
            self.exceeded.notify_one();
        }
    }
}

/// A connection between two requests.
pub(super) struct IdleHttp1 {
    pub(super) since: Instant,
    pub(super) until: Instant,
    pub(super) http1: Http1,
}

impl IdleHttp1 {
    /// Whether a request may be sent on this connection.
    pub(super) fn serves(&self, request: &Requirements) -> bool {
        let now = Instant::now();
        let is_in_time = now < self.until;
        let is_fresh = request.is_repeatable || now < self.since + FRESH;
        is_in_time && is_fresh && self.http1.send.is_ready()
    }
}

/// How long a server promises in `Keep-Alive` to keep an unused connection, less
/// a safety margin.
pub(super) fn announced_idle_time(fields: &HeaderMap) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let values = fields.get_all(KEEP_ALIVE).into_iter();
    let parameters = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let seconds = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        let seconds = value.trim().trim_matches('"').parse::<u32>();
        seconds.ok().filter(|_| is_timeout)
    });
    let announced = Duration::from_secs(seconds.min()?.into());
    Some(announced.saturating_sub(MARGIN.min(announced / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_connection_is_given_up_before_its_server_closes_it() {
        for (values, expected) in [
            (&["timeout=5"][..], Some(4_000)),
            (&["max=100, Timeout = \"60\""], Some(59_000)),
            (&["timeout=5", "timeout=3"], Some(2_000)),
            (&["timeout=1"], Some(500)),
            (&["timeout=0"], Some(0)),
            (&["timeout=-1"], None),
            (&["max=5"], None),
            (&[], None),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append("keep-alive", HeaderValue::from_static(value));
            }
            let expected = expected.map(Duration::from_millis);
            assert_eq!(announced_idle_time(&fields), expected);
        }
    }
}
