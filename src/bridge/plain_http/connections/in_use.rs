//! A connection while it carries a request.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::http1::{Binding, Http1, announced_idle_time};
use super::http2::Http2;
use super::{Connections, PoolKey, Requirements, SendFailure};
use crate::bridge::plain_http::upload::Upload;
use crate::bridge::verdict::Verdict;
use crate::error::Error;
use crate::transport::StreamError;

/// How long a connection may take to become ready for the next request after its
/// response: it may still be sending a body that the upstream did not wait for.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that carries a request.
///
/// Dropping it without [`release`](Self::release) cuts an HTTP/1.1 connection,
/// or cancels the request's HTTP/2 stream.
pub(in crate::bridge::plain_http) struct Connection {
    carrier: Carrier,
    /// Whether it has carried other requests, and so may have been closed
    /// unnoticed.
    pub(in crate::bridge::plain_http) is_reused: bool,
    /// How long to keep it unused.
    keep: Duration,
    pool: Arc<Connections>,
    key: PoolKey,
}

pub(super) enum Carrier {
    Http1(Http1),
    Http2(Http2),
    Released,
}

impl Connection {
    pub(super) fn new(
        pool: &Arc<Connections>,
        key: &PoolKey,
        carrier: Carrier,
        is_reused: bool,
        keep: Duration,
    ) -> Self {
        Self {
            carrier,
            is_reused,
            keep,
            pool: pool.clone(),
            key: key.clone(),
        }
    }

    pub(in crate::bridge::plain_http) fn is_http2(&self) -> bool {
        matches!(self.carrier, Carrier::Http2(_))
    }

    /// Sends a request and awaits the head of its response.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future and then the connection cancels the request.
    ///
    /// # Errors
    ///
    /// The error contains the request if none of it was sent.
    pub(in crate::bridge::plain_http) async fn send(
        &mut self,
        request: Request<Upload>,
        requirements: &Requirements,
    ) -> Result<Response<Incoming>, SendFailure> {
        let sent = match &mut self.carrier {
            Carrier::Http2(http2) => http2.send(request).await?,
            Carrier::Http1(http1) => {
                if requirements.authenticates {
                    http1.binding = match requirements.client {
                        Some(client) => Binding::Client(client),
                        None => Binding::SingleUse,
                    };
                }
                http1.send(request).await?
            }
            Carrier::Released => {
                return Err(SendFailure {
                    error: Error::Closed,
                    verdict: Verdict::Unknown,
                    request: Some(request),
                });
            }
        };
        let response = sent.map_err(|mut error| SendFailure {
            request: error.take_message(),
            verdict: match self.is_reused {
                true => Verdict::Unknown,
                false => Verdict::of_request(error.error()),
            },
            error: StreamError::from(error.into_error()).into(),
        })?;
        if let Some(announced) = announced_idle_time(response.headers()) {
            self.keep = self.keep.min(announced);
        }
        Ok(response)
    }

    /// Makes the connection available to the next request. The response must
    /// have been read to its end.
    pub(in crate::bridge::plain_http) fn release(mut self) {
        let carrier = std::mem::replace(&mut self.carrier, Carrier::Released);
        let Carrier::Http1(mut http1) = carrier else {
            return;
        };
        if http1.binding == Binding::SingleUse {
            return;
        }
        let (pool, key, keep) = (self.pool.clone(), self.key.clone(), self.keep);
        if http1.send.is_ready() {
            return pool.put_idle(key, http1, keep);
        }
        tokio::spawn(async move {
            match timeout(READY_TIMEOUT, http1.send.ready()).await {
                Ok(Ok(())) => pool.put_idle(key, http1, keep),
                Ok(Err(_)) => {}
                Err(_) => http1.abort(),
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Carrier::Http1(http1) = &self.carrier {
            http1.abort();
        }
    }
}
