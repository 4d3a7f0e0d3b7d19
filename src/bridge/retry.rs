//! Retries a request at another upstream.
//!
//! One rule for WebSocket handshakes and plain HTTP requests: a request is sent
//! to another upstream only if the previous one certainly has not received any
//! of it, and to at most [`MAX_ATTEMPTS`] upstreams in all. Each failed attempt
//! counts towards the upstream's health as its [`Verdict`] says. The client gets
//! the response that describes the last failure.
//!
//! Which status codes count as failures of an upstream (502, 503 and 504) is
//! decided by [`Ejection`](crate::bridge::Ejection), for both kinds of requests.

use bytes::Bytes;
use http::Response;

use super::access::AccessRecord;
use super::pool::KeySource;
use super::verdict::Verdict;
use super::{Lease, Route, rejection};
use crate::error::{Error, Timeout};

/// Maximum number of upstreams that are tried for one request.
const MAX_ATTEMPTS: usize = 3;

/// The upstreams tried for one request.
pub(super) struct Attempts<'a> {
    route: &'a Route,
    source: KeySource<'a>,
    failed: Vec<Lease>,
    last_failure: Option<Box<Response<Bytes>>>,
}

impl<'a> Attempts<'a> {
    /// Starts with no upstream tried. `source` decides about affinity.
    pub(super) fn new(route: &'a Route, source: KeySource<'a>) -> Self {
        Self {
            route,
            source,
            failed: Vec::new(),
            last_failure: None,
        }
    }

    /// Picks the upstream to try next. Fails with the response to the client if
    /// all upstreams, or [`MAX_ATTEMPTS`] of them, have failed.
    pub(super) fn next(
        &mut self,
        access: &mut AccessRecord,
    ) -> Result<Lease, Box<Response<Bytes>>> {
        if self.failed.len() < MAX_ATTEMPTS {
            match self.route.pick_other(self.source, &self.failed) {
                Ok(lease) => {
                    access.set_upstream(lease.upstream());
                    return Ok(lease);
                }
                Err(none) if self.last_failure.is_none() => access.set_reason(none),
                Err(_) => {}
            }
        }
        let last = self.last_failure.take();
        Err(last.unwrap_or_else(|| Box::new(rejection::no_upstream())))
    }

    /// Records a failed attempt. Fails with `response`, the response to the
    /// client, unless `may_retry`.
    pub(super) fn failed(
        &mut self,
        lease: Lease,
        verdict: Verdict,
        may_retry: bool,
        response: Response<Bytes>,
    ) -> Result<(), Box<Response<Bytes>>> {
        lease.judge(verdict);
        let response = Box::new(response);
        if !may_retry {
            return Err(response);
        }
        self.last_failure = Some(response);
        self.failed.push(lease);
        Ok(())
    }
}

/// Whether the upstream certainly has not received any of the request: there was
/// no connection to send it on.
pub(super) fn is_unsent(error: &Error) -> bool {
    matches!(
        error,
        Error::Connect(_) | Error::Tls(_) | Error::Proxy(_) | Error::Timeout(Timeout::Connect)
    )
}
