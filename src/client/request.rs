//! [`RequestBuilder`]: builds a WebSocket request.

mod sending;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::attempt::Accepted;
use super::client::Client;
use super::target::IntoTarget;
use super::target_cache::CachedTarget;
use super::version::HttpVersion;
use crate::error::Error;
use crate::frame::{Message, Role};
use crate::handshake::{DeflateConfig, HostPort, Offer, UrlError, headers};
use crate::socket::{Agreement, Early, RawStream, WebSocket};

/// Builds a WebSocket request; see [`Client::request`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `connect`"]
pub struct RequestBuilder(Box<Request>);

/// Boxed, because it is large and moved by each call.
#[derive(Clone, Debug)]
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
    group: Option<NonZeroU16>,
    early: Early,
    /// Timeouts of the connection and of the response, if shorter than the client's.
    timeouts: Option<(Duration, Duration)>,
    error: Option<Error>,
}

impl Client {
    /// Opens a WebSocket to a `ws`, `wss`, `http` or `https` URL.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the server answers with something other than a WebSocket;
    /// [`Error::Handshake`] if the URL is invalid; otherwise the error that kept the request
    /// from being answered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt and cancels its stream. Other WebSockets are
    /// not affected.
    pub async fn connect(&self, url: impl IntoTarget) -> Result<WebSocket, Error> {
        self.request(url).connect().await
    }

    /// Starts to build a WebSocket request, for header fields, subprotocols and so on.
    ///
    /// [`RequestBuilder::connect`] reports an invalid URL.
    pub fn request(&self, url: impl IntoTarget) -> RequestBuilder {
        RequestBuilder::new(self.clone(), url)
    }
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
            group: None,
            early: Early::default(),
            timeouts: None,
            error: None,
        }))
    }

    /// Adds a header field. If it is invalid or reserved for the handshake,
    /// [`connect`](Self::connect) fails with [`Error::Header`] or [`Error::Handshake`].
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

    /// Sets the `Origin` header field (RFC 6455 §4.1), as browsers do.
    pub fn origin<V>(self, origin: V) -> Self
    where
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        self.header(http::header::ORIGIN, origin)
    }

    /// Offers a subprotocol (RFC 6455 §1.9). Offer several in the order of preference.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.0.offer.subprotocols.push(name.into());
        self
    }

    /// Offers permessage-deflate for this WebSocket, or with `None` does not. Default: the
    /// client's [`deflate`](super::ClientBuilder::deflate).
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.0.deflate = config.into();
        self
    }

    /// Sends a message together with the request, before the server has answered, which
    /// saves a round trip. Several messages are sent in the order of the calls.
    ///
    /// RFC 6455 §4.1 has clients wait for the response, and a server that rejects the request
    /// has then received messages that were not meant for it. Over HTTP/2 the messages
    /// remain on their stream. Over HTTP/1.1 they could be parsed as a request (RFC 9931), so
    /// they are sent only after the server has switched protocols. They are not compressed,
    /// and must be valid in each of the offered subprotocols and without one.
    ///
    /// # Errors
    ///
    /// If the server rejects the request, [`connect`](Self::connect) returns the messages as
    /// [`RejectedResponse::early_messages`](crate::client::RejectedResponse::early_messages).
    /// After [`Error::Connect`], [`Error::Proxy`], [`Error::Tls`] and
    /// [`Error::NoExtendedConnect`] they have not been sent. A request that was certainly not
    /// processed (RFC 9113 §8.7) is repeated with them. After any other error it is unknown
    /// whether the server has processed them.
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

    /// Sets the version of HTTP for this WebSocket. Default: the client's
    /// [`version`](super::ClientBuilder::version).
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.0.version = Some(version);
        self
    }

    /// Whether to send a `Sec-WebSocket-Key` over HTTP/2. Default: the client's
    /// [`websocket_key`](super::ClientBuilder::websocket_key).
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.0.websocket_key = Some(enabled);
        self
    }

    /// Sets the `Host` or `:authority` of the request. Default: the URL's host and port. The
    /// URL still determines where to connect, and the name in the server's certificate.
    pub fn authority(mut self, authority: HostPort) -> Self {
        self.0.authority = Some(authority);
        self
    }

    /// Connects directly to this address, instead of resolving the URL's host. Nothing else
    /// about the request changes. WebSockets share a connection only if their addresses are
    /// equal. A [connector](super::ClientBuilder::connector) gets the address and decides.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.0.address = Some(address);
        self
    }

    /// Limits the time for a connection and for the response further than the client does.
    pub(crate) fn within(mut self, connect: Duration, handshake: Duration) -> Self {
        self.0.timeouts = Some((connect, handshake));
        self
    }

    /// Shares HTTP/2 connections only with WebSockets of the same group.
    pub(crate) fn group(mut self, group: Option<NonZeroU16>) -> Self {
        self.0.group = group;
        self
    }

    /// Forwards another client's request: with its header fields and its offer, and without
    /// the settings of this client.
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
    /// As [`Client::connect`]; [`Error::Header`] or [`Error::Handshake`] also if this request
    /// was built with invalid values.
    pub async fn connect(self) -> Result<WebSocket, Error> {
        Ok(self.connect_with_response().await?.0)
    }

    /// Opens the WebSocket, and also returns the server's response, for its header fields.
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

    /// Opens the byte stream instead of a WebSocket, for protocols with their own framing.
    /// permessage-deflate is not offered.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_raw(self) -> Result<RawStream, Error> {
        Ok(self.connect_raw_with_response().await?.0)
    }

    /// Opens the byte stream, and also returns the server's response, whose
    /// `sec-websocket-protocol` is the subprotocol.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_raw_with_response(self) -> Result<(RawStream, Response<()>), Error> {
        let config = self.0.client.inner.connector.socket.clone();
        let Accepted {
            stream,
            response,
            meter,
            ..
        } = self.0.accepted().await?;
        let stream = RawStream::new(stream, Role::Client, config, meter);
        Ok((stream, response))
    }

    /// Opens the byte stream, and returns it with everything that was negotiated.
    pub(crate) async fn accepted(self) -> Result<Accepted, Error> {
        self.0.accepted().await
    }
}
