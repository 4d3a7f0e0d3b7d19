//! Sends a WebSocket request: over HTTP/2 or HTTP/1.1, and again where that is safe.
//!
//! A request is repeated only if the server has certainly not processed it (RFC 9113 §8.7),
//! if the server rejects it on this connection (421), without a key (400), or if it may
//! support the method only over HTTP/1.1 ([`fallback_probe`]).

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Version};
use tokio::time::{Instant, timeout};

use super::Request;
use crate::client::attempt::{Accepted, Attempt, Failure};
use crate::client::fallback_probe;
use crate::client::origin::{Instead, Origin, Route, Within};
use crate::client::target_cache::CachedTarget;
use crate::client::version::HttpVersion;
use crate::error::{Chain, Error};
use crate::frame::Role;
use crate::handshake::HandshakeError;
use crate::metrics::{Handshake, Handshaking};

/// Maximum number of times that a request is repeated which the server has certainly not
/// processed, because it shuts down or temporarily refuses streams (RFC 9113 §8.7).
const REPEATS: usize = 3;

impl Request {
    /// Sends the request, and repeats it if the server has certainly not processed it.
    pub(super) async fn accepted(mut self: Box<Self>) -> Result<Accepted, Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut accepted = self.attempts().await;
        match &mut accepted {
            Ok(Accepted {
                meter: Some(meter), ..
            }) => {
                let (messages, bytes) = self.early.size();
                meter.sent(messages, bytes);
            }
            Err(Error::Rejected(response)) => response.early_messages = self.early.into_messages(),
            _ => {}
        }
        accepted
    }

    fn origin_of(&self, place: &CachedTarget) -> Arc<Origin> {
        let settings = &self.client.inner.connector.settings;
        let version = self.version.unwrap_or(settings.version);
        // Over HTTP/1.1 each WebSocket has a connection of its own anyway.
        let is_http1 = version.for_scheme(place.target.secure()) == HttpVersion::Http1;
        let group = self.group.filter(|_| !is_http1);
        let find = || self.client.origin(&place.target, self.address, group);
        match (self.address, group) {
            // `Origins` does not forget the origin while it is referenced here.
            (None, None) => place.origin.get_or_init(find).clone(),
            _ => find(),
        }
    }

    /// Makes attempts until one is answered. All of them together take no longer than one
    /// connection and one response may.
    async fn attempts(&self) -> Result<Accepted, Error> {
        let began = Instant::now();
        let place = self.place.as_deref();
        let place = place.map_err(|error| HandshakeError::Url(*error))?;
        let target = match &self.authority {
            Some(authority) => &place.target.clone().with_authority(authority),
            None => &place.target,
        };
        let origin = &self.origin_of(place);
        let connector = &self.client.inner.connector;
        let settings = &connector.settings;
        let version = self.version.unwrap_or(settings.version);
        let (connect, handshake) = self
            .timeouts
            .unwrap_or((Duration::MAX, settings.handshake_timeout));
        let connect = connect.min(settings.connect_timeout);
        let handshake = handshake.min(settings.handshake_timeout);
        let end = connect.checked_add(handshake);
        let end = end.and_then(|in_all| began.checked_add(in_all));
        let mut attempt = Attempt {
            handshake,
            connector,
            target,
            headers: &self.headers,
            offer: &self.offer,
            early: &self.early,
            key: self.websocket_key.unwrap_or(settings.websocket_key),
        };
        let key_helps = origin.key_helps(settings.http1_cache_ttl);
        attempt.key |= key_helps == Some(true);
        // A key is tried if none was sent and its effect at this origin is unknown.
        let mut may_try_key = !attempt.key && key_helps.is_none();
        let mut tries_key = false;
        let mut repeats = 0;
        let mut reconnected = false;
        loop {
            let left = left(end);
            attempt.handshake = handshake.min(left);
            let within = Within {
                connect: connect.min(left),
                handshake,
            };
            let mut handshaking = self.handshaking();
            let route = origin.route(connector, target, version, within).await;
            let (client, slot) = match route {
                Ok(Route::Http2(client, slot)) => (client, slot),
                Ok(Route::Http1(io)) => {
                    handshaking.on(Version::HTTP_11);
                    // Large futures are boxed, because each would take space in this one until
                    // the response arrives.
                    let accepted = Box::pin(attempt.over_http1(io)).await;
                    handshaking.done(result(&accepted));
                    return accepted;
                }
                Err(error) => {
                    handshaking.done(error.handshake());
                    return Err(error);
                }
            };
            handshaking.on(Version::HTTP_2);
            let accepted = Box::pin(attempt.over_http2(&client, slot)).await;
            handshaking.done(match &accepted {
                Ok(_) => Handshake::Accepted,
                Err(Failure::Unprocessed(_)) => Handshake::Unprocessed,
                Err(Failure::Final(error)) => error.handshake(),
            });
            if std::mem::take(&mut tries_key) {
                match &accepted {
                    Ok(_) => origin.tried_key(true),
                    // Any other rejection concerns the request itself, with its key.
                    Err(Failure::Final(error @ Error::Rejected(_))) => {
                        origin.tried_key(!fallback_probe::may_want_key(error));
                    }
                    Err(_) => {}
                }
            }
            let error = match accepted {
                Ok(accepted) => return Ok(accepted),
                Err(Failure::Final(error))
                    if may_try_key && fallback_probe::may_want_key(&error) =>
                {
                    tracing::debug!(error = %Chain(&error), "rejected without a key: retrying with one");
                    may_try_key = false;
                    tries_key = true;
                    attempt.key = true;
                    continue;
                }
                Err(Failure::Unprocessed(error)) if !fallback_probe::is_http1_required(&error) => {
                    tracing::debug!(error = %Chain(&error), "not processed by the server: retrying");
                    if !client.is_open() {
                        origin.remove(client.handle());
                    }
                    repeats += 1;
                    if repeats <= REPEATS {
                        continue;
                    }
                    error
                }
                // The server does not accept the request on this connection (RFC 9110
                // §15.5.20); a new one may be accepted.
                Err(Failure::Final(Error::Rejected(response)))
                    if response.status == StatusCode::MISDIRECTED_REQUEST && !reconnected =>
                {
                    origin.remove(client.handle());
                    reconnected = true;
                    continue;
                }
                Err(Failure::Unprocessed(error) | Failure::Final(error)) => error,
            };
            if matches!(error, Error::Timeout(_)) {
                client.timed_out();
            }
            let is_sent = !self.early.is_empty();
            if version != HttpVersion::Auto || !fallback_probe::may_work_over_http1(&error, is_sent)
            {
                return Err(error);
            }
            drop(client);
            return Box::pin(self.over_http1_instead(origin, attempt, end, error)).await;
        }
    }

    /// Sends the request over HTTP/1.1: because that is known to work, or to find out
    /// whether it does.
    async fn over_http1_instead(
        &self,
        origin: &Arc<Origin>,
        mut attempt: Attempt<'_>,
        end: Option<Instant>,
        rejected: Error,
    ) -> Result<Accepted, Error> {
        let connector = attempt.connector;
        let decision = origin.http1_instead(connector.settings.http1_cache_ttl);
        let probe = match timeout(left(end), decision).await {
            Ok(Instead::Use) => None,
            Ok(Instead::Probe(probe)) => Some(probe),
            Ok(Instead::No) | Err(_) => return Err(rejected),
        };
        tracing::debug!(
            host = attempt.target.host(),
            error = %Chain(&rejected),
            "rejected over HTTP/2: trying HTTP/1.1"
        );
        let mut handshaking = self.handshaking();
        let left = left(end);
        let within = Within {
            connect: left,
            handshake: attempt.handshake,
        };
        let http1 = HttpVersion::Http1;
        let route = origin.route(connector, attempt.target, http1, within);
        let accepted = match route.await {
            Ok(Route::Http1(io)) => {
                handshaking.on(Version::HTTP_11);
                attempt.handshake = left;
                Box::pin(attempt.over_http1(io)).await
            }
            // Does not happen, because HTTP/1.1 was requested.
            Ok(Route::Http2(..)) => Err(Error::NoExtendedConnect),
            Err(error) => Err(error),
        };
        handshaking.done(result(&accepted));
        match probe {
            None => accepted,
            Some(probe) => {
                probe.finished(connector, accepted.is_ok());
                accepted.map_err(|_| rejected)
            }
        }
    }

    fn handshaking(&self) -> Handshaking {
        let observer = self.client.inner.connector.settings.observer.clone();
        Handshaking::new(observer, Role::Client, None)
    }
}

/// Time left until `end`.
fn left(end: Option<Instant>) -> Duration {
    let left = |end: Instant| end.saturating_duration_since(Instant::now());
    end.map_or(Duration::MAX, left)
}

fn result(accepted: &Result<Accepted, Error>) -> Handshake {
    accepted
        .as_ref()
        .map_or_else(Error::handshake, |_| Handshake::Accepted)
}
