//! One opening request: from a URL to a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use tokio::time::{Instant, timeout};

use super::attempt::{Accepted, Attempt, Failure};
use super::fallback_probe;
use super::origin::{Instead, Origin, Route, Within};
use super::target::IntoTarget;
use super::target_cache::CachedTarget;
use super::{Client, HttpVersion};
use crate::error::Error;
use crate::frame::{Message, Role};
use crate::handshake::{DeflateConfig, HandshakeError, HostPort, Offer, UrlError, headers};
use crate::metrics::{Handshake, Handshaking};
use crate::socket::{Agreement, Early, RawStream, WebSocket};

/// Requests that a server certainly has not seen are repeated this often: it
/// may be going away, or refuse a stream for a moment (RFC 9113 §8.7).
const REPEATS: usize = 3;

/// An opening request being put together; see [`Client::request`].
#[derive(Debug)]
#[must_use = "nothing is sent before `connect`"]
pub struct RequestBuilder(Box<Request>);

/// Apart, because it is large and is moved at each call.
#[derive(Debug)]
struct Request {
    client: Client,
    place: Result<Arc<CachedTarget>, UrlError>,
    headers: HeaderMap,
    offer: Offer,
    deflate: Option<DeflateConfig>,
    version: Option<HttpVersion>,
    websocket_key: Option<bool>,
    authority: Option<HostPort>,
    address: Option<SocketAddr>,
    early: Early,
    /// For the connection and for the answer, where others than the client's.
    limits: Option<(Duration, Duration)>,
    error: Option<Error>,
}

impl RequestBuilder {
    pub(super) fn new(client: Client, url: impl IntoTarget) -> Self {
        let deflate = client.inner.connector.settings.deflate;
        Self(Box::new(Request {
            place: client.inner.target_cache.find(url),
            client,
            deflate,
            headers: HeaderMap::new(),
            offer: Offer::default(),
            version: None,
            websocket_key: None,
            authority: None,
            address: None,
            early: Early::default(),
            limits: None,
            error: None,
        }))
    }

    /// Adds a header field. The fields of the handshake itself cannot be set;
    /// [`connect`](Self::connect) says so.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match headers::field(name, value) {
            Ok((name, value)) => {
                self.0.headers.append(name, value);
            }
            Err(error) => {
                self.0.error.get_or_insert(Error::Header(Arc::new(error)));
            }
        }
        self
    }

    /// Sets the `Origin` (RFC 6455 §4.1), as browsers do.
    pub fn origin<V>(self, origin: V) -> Self
    where
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        self.header(http::header::ORIGIN, origin)
    }

    /// Offers a subprotocol (RFC 6455 §1.9), in the order of preference.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.0.offer.subprotocols.push(name.into());
        self
    }

    /// Offers permessage-deflate for this socket, or with `None` does not,
    /// instead of the client's [`deflate`](super::ClientBuilder::deflate).
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.0.deflate = config.into();
        self
    }

    /// Sends a message right behind the request, before the server has
    /// answered it, which saves a round trip. Several are sent in the order of
    /// the calls.
    ///
    /// This is off unless asked for: RFC 6455 §4.1 has clients wait for the
    /// answer, and a server that refuses has then read what was not for it.
    /// Over HTTP/2 the bytes cannot leave their stream. Over HTTP/1.1 they
    /// could be taken for a request (RFC 9931), so there they are sent once
    /// the server has switched protocols, never before. They are not
    /// compressed, and must make sense whichever of the offered subprotocols
    /// the server picks, or none.
    ///
    /// # Errors
    ///
    /// [`connect`](Self::connect) gives them back with a refusal, as
    /// [`RejectedResponse::unsent`](crate::client::RejectedResponse::unsent). [`Error::Connect`],
    /// [`Error::Proxy`], [`Error::Tls`] and [`Error::NoExtendedConnect`] mean that they have not
    /// left; a request that was certainly not processed (RFC 9113 §8.7) is
    /// repeated with them. After any other error, as with all that is sent,
    /// nobody knows.
    ///
    /// ```no_run
    /// # async fn example(client: h2ws::Client) -> Result<(), h2ws::Error> {
    /// let request = client.request("wss://example.com/news");
    /// let mut ws = request.early_message(r#"{"subscribe":"all"}"#).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn early_message(mut self, message: impl Into<Message>) -> Self {
        self.0.early.push(message.into());
        self
    }

    /// Which version of HTTP carries this socket, instead of the client's
    /// [`version`](super::ClientBuilder::version).
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.0.version = Some(version);
        self
    }

    /// Whether a `Sec-WebSocket-Key` is sent over HTTP/2 at once, instead of the client's
    /// [`websocket_key`](super::ClientBuilder::websocket_key).
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.0.websocket_key = Some(enabled);
        self
    }

    /// What the server is told that it is called (`Host`, `:authority`),
    /// instead of the URL's host and port. Which server that is, and the name
    /// that its certificate is for, the URL still says.
    pub fn authority(mut self, authority: HostPort) -> Self {
        self.0.authority = Some(authority);
        self
    }

    /// Connects to this address, without a proxy, instead of where the name of
    /// the URL leads to; nothing else about the request changes. Connections
    /// to one address are not shared with those to another.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.0.address = Some(address);
        self
    }

    /// How long a connection and the answer may take, beside what the client
    /// says of it.
    pub(crate) fn within(mut self, connect: Duration, handshake: Duration) -> Self {
        self.0.limits = Some((connect, handshake));
        self
    }

    /// Passes on what somebody else asked for: these fields, this offer, and
    /// nothing of the client's own.
    pub(crate) fn on_behalf(mut self, headers: HeaderMap, offer: Offer) -> Self {
        self.0.headers = headers;
        self.0.offer = offer;
        self.0.deflate = None;
        self
    }

    /// Opens the WebSocket; see [`Client::connect`].
    ///
    /// # Errors
    ///
    /// As [`Client::connect`]; [`Error::Handshake`] also for what was wrongly
    /// put into this request.
    pub async fn connect(self) -> Result<WebSocket, Error> {
        Ok(self.connect_with_response().await?.0)
    }

    /// Opens the WebSocket and gives the server's answer too, for its header
    /// fields.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with_response(mut self) -> Result<(WebSocket, Response<()>), Error> {
        let config = self.0.client.inner.connector.socket.clone();
        let deflate = self.0.deflate.unwrap_or_default();
        if let Some(config) = &self.0.deflate {
            self.0.offer = self.0.offer.deflate(config);
        }
        let Accepted {
            stream,
            agreed,
            response,
            meter,
        } = self.0.accepted().await?;
        let agreement = Agreement {
            subprotocol: agreed.subprotocol,
            deflate: agreed
                .deflate
                .map(|params| deflate.at(Role::Client, &params)),
        };
        let socket = WebSocket::new(stream, Role::Client, config, agreement, meter);
        Ok((socket, response))
    }

    /// Opens the stream and gives its bytes instead of a WebSocket: for those
    /// who bring a framing of their own. permessage-deflate is not offered.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_raw(self) -> Result<RawStream, Error> {
        let config = self.0.client.inner.connector.socket.clone();
        let Accepted { stream, meter, .. } = self.0.accepted().await?;
        Ok(RawStream::new(stream, Role::Client, config, meter))
    }

    /// Opens the stream, and gives all that came with it.
    pub(crate) async fn accepted(self) -> Result<Accepted, Error> {
        self.0.accepted().await
    }
}

impl Request {
    /// Sends the request; repeats it where it certainly was not acted on.
    async fn accepted(mut self: Box<Self>) -> Result<Accepted, Error> {
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
            Err(Error::Rejected(refusal)) => refusal.early_messages = self.early.into_messages(),
            _ => {}
        }
        accepted
    }

    fn origin_of(&self, place: &CachedTarget) -> Arc<Origin> {
        let find = || self.client.origin(&place.target, self.address);
        match self.address {
            Some(_) => find(),
            // Not forgotten while it is held here.
            None => place.origin.get_or_init(find).clone(),
        }
    }

    /// Attempts until one is answered. However many there are, together they
    /// take no longer than a connection and an answer may.
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
            .limits
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
        // A key is tried where none was sent and nobody knows what it would do.
        let mut may_try_key = !attempt.key && key_helps.is_none();
        let mut tries_key = false;
        let mut repeats = 0;
        let mut redialled = false;
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
                    // Boxed where they are large, for a place in this future is held
                    // until the answer is there, and many may be waited for at a time.
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
                    // Any other refusal is of what was asked for, with its key.
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
                    tracing::debug!(%error, "refused without a key: asking with one");
                    may_try_key = false;
                    tries_key = true;
                    attempt.key = true;
                    continue;
                }
                Err(Failure::Unprocessed(error)) if !fallback_probe::is_http1_required(&error) => {
                    tracing::debug!(%error, "not processed by the server: trying again");
                    if !client.is_open() {
                        origin.retire(client.handle());
                    }
                    repeats += 1;
                    if repeats <= REPEATS {
                        continue;
                    }
                    error
                }
                // Not for this connection, says the server (RFC 9110
                // §15.5.20): a new one may lead to where it is.
                Err(Failure::Final(Error::Rejected(refusal)))
                    if refusal.status == StatusCode::MISDIRECTED_REQUEST && !redialled =>
                {
                    origin.retire(client.handle());
                    redialled = true;
                    continue;
                }
                Err(Failure::Unprocessed(error) | Failure::Final(error)) => error,
            };
            if matches!(error, Error::Timeout(_)) {
                client.timed_out();
            }
            let is_sent = !self.early.is_empty();
            if version != HttpVersion::Auto || !fallback_probe::may_know_better(&error, is_sent) {
                return Err(error);
            }
            drop(client);
            return Box::pin(self.over_http1_instead(origin, attempt, end, error)).await;
        }
    }

    /// Over HTTP/1.1, where it is not known to know better only to find that
    /// out.
    async fn over_http1_instead(
        &self,
        origin: &Arc<Origin>,
        mut attempt: Attempt<'_>,
        end: Option<Instant>,
        refused: Error,
    ) -> Result<Accepted, Error> {
        let connector = attempt.connector;
        let asks = origin.ask_instead(connector.settings.http1_cache_ttl);
        let question = match timeout(left(end), asks).await {
            Ok(Instead::Use) => None,
            Ok(Instead::Ask(question)) => Some(question),
            Ok(Instead::No) | Err(_) => return Err(refused),
        };
        tracing::debug!(
            host = attempt.target.host(),
            error = %refused,
            "refused over HTTP/2: asking over HTTP/1.1"
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
            // There is no other in this version.
            Ok(Route::Http2(..)) => Err(Error::NoExtendedConnect),
            Err(error) => Err(error),
        };
        handshaking.done(result(&accepted));
        match question {
            None => accepted,
            Some(question) => {
                question.answered(connector, accepted.is_ok());
                accepted.map_err(|_| refused)
            }
        }
    }

    fn handshaking(&self) -> Handshaking {
        let observer = self.client.inner.connector.settings.observer.clone();
        Handshaking::new(observer, Role::Client, None)
    }
}

/// Until then.
fn left(end: Option<Instant>) -> Duration {
    let left = |end: Instant| end.saturating_duration_since(Instant::now());
    end.map_or(Duration::MAX, left)
}

fn result(accepted: &Result<Accepted, Error>) -> Handshake {
    accepted
        .as_ref()
        .map_or_else(Error::handshake, |_| Handshake::Accepted)
}
