//! WebSockets over HTTP/2 (RFC 8441), with the HTTP/1.1 Upgrade (RFC 6455) as the fallback.
//!
//! A [`Client`] opens WebSockets and keeps the connections that they share. A [`Server`] accepts
//! WebSockets over both versions of HTTP on one port, beside plain HTTP requests. Both return a
//! [`WebSocket`], which behaves the same whatever carries it.
//!
#![cfg_attr(feature = "net", doc = "```")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use h2ws::server::WebSocketRequest;
//! use h2ws::{Client, CloseCode, Error, HttpVersion, Message, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/", server.local_addr()?);
//! let echo = |request: WebSocketRequest| async move {
//!     let mut socket = request.accept().await?;
//!     while let Some(message) = socket.recv().await {
//!         socket.feed(message?).await?;
//!     }
//!     Ok::<_, Error>(())
//! };
//! tokio::spawn(server.serve(echo).into_future());
//!
//! // Without TLS there is no ALPN, so HTTP/2 has to be asked for. For a wss:// URL it is used
//! // whenever the server supports it.
//! let client = Client::builder().version(HttpVersion::Http2).build()?;
//! let mut one = client.connect(&url).await?;
//! let mut other = client.connect(&url).await?;
//! assert_eq!(client.connections().len(), 1);
//!
//! one.send("hello").await?;
//! assert_eq!(one.recv().await.transpose()?, Some(Message::text("hello")));
//! one.close(CloseCode::NORMAL).await?;
//! other.close(None).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! - [`Client`] and [`client`]: opening WebSockets.
//! - [`Server`] and [`server`]: accepting them. [`hyper`] and, with the feature `axum`, `axum`
//!   accept them in services of those crates.
//! - [`WebSocket`] and [`socket`]: sending and receiving, split halves, and byte streams for
//!   protocols with their own framing. [`broadcast`] sends one message to many WebSockets, also by
//!   topics, such as rooms.
//! - [`bridge`]: a reverse proxy for WebSockets and the HTTP requests of their pages.
//! - [`WebSocketConfig`], [`Http2Config`], [`Limits`] and [`config`]: limits and timeouts. The
//!   defaults are meant for the open internet.
//! - [`tls`], [`proxy`] and [`metrics`]: TLS configurations, errors of forward proxies, and
//!   metrics hooks. Spans and events go to the crate `tracing`.
//! - [`frame`] and [`handshake`]: the protocols without I/O. They are all that is left without
//!   the feature `net`.
//!
//! [`http`] and [`rustls`] are public dependencies and re-exported, so that their versions match.
//!
//! # Errors
//!
//! A WebSocket that ends by the closing handshake is not an error: [`WebSocket::recv`] returns
//! `None`, and [`WebSocket::close_code`] returns the peer's code. Every other end is an [`Error`].
//! [`Error::is_retryable`] reports whether to reconnect, and a
//! [`client::ReconnectingWebSocket`] does. An error's `Display` never contains its
//! cause, which is in `source`: print the whole chain.
//!
//! # Cancel safety
//!
//! Receiving is cancel safe. A future of [`WebSocket::send`] that is dropped may or may not have
//! sent its message, but never a part of it. A future of [`Client::connect`] that is dropped
//! cancels its own stream and affects no other.
//!
//! # Differences from tungstenite and axum
//!
//! - [`WebSocket::close`] sends a Close frame and waits for the peer's. When the peer closes,
//!   [`WebSocket::recv`] returns `None`, and [`WebSocket::close_frame`] returns its Close frame.
//!   A WebSocket that is dropped is closed
//!   abnormally (1006), but
//!   [what was sent still arrives](WebSocket#what-becomes-of-what-was-sent).
//! - Pings are answered while the WebSocket is read. Pings, Pongs and Close frames are not received
//!   as messages unless [`WebSocketConfig::control_messages`] is set.
//! - [`WebSocket::split`] returns the reader first, and needs no lock around the WebSocket.
//! - [`Client::connect`] takes a URL; header fields and subprotocols are added to
//!   [`Client::request`]. A client is not one connection: it pools connections, so create one per
//!   program.
//! - A handler of [`Server::serve`] receives the request and accepts or rejects it, so there is no
//!   `on_upgrade`. No subprotocol is agreed on unless the handler
//!   [selects it](server::WebSocketRequest::select_subprotocol). To route WebSockets by an axum
//!   `Router`, use [`Server::serve_service`].
//! - Compression, the check of origins and keep-alive Pings are off by default.
//!
//! # Features
//!
//! - `net` (default): client, server and bridge, and everything else that does I/O.
//! - `deflate` (default): permessage-deflate (RFC 7692).
//! - `ring` (default) or `aws-lc-rs`: the cryptography of rustls.
//! - `axum`: an extractor for axum.
#![cfg_attr(
    not(feature = "net"),
    allow(
        dead_code,
        rustdoc::broken_intra_doc_links,
        reason = "the client and the server use and link to what is left"
    )
)]

pub mod frame;
pub mod handshake;

#[cfg(feature = "net")]
mod clock;
#[cfg(feature = "net")]
mod error;
#[cfg(feature = "net")]
pub mod metrics;
#[cfg(feature = "net")]
mod percent;
#[cfg(feature = "net")]
mod setting;
#[cfg(feature = "net")]
pub mod socket;
#[cfg(feature = "net")]
mod sync;
#[cfg(feature = "net")]
mod transport;

#[cfg(feature = "net")]
pub mod bridge;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod server;

/// One message to many WebSockets, in one group or by topic.
#[cfg(feature = "net")]
pub mod broadcast {
    pub use crate::socket::broadcast::{Broadcast, Delivery, LagPolicy, MemberId};
    pub use crate::socket::topics::{TopicChange, Topics};
}

/// Settings that clients and servers share, beside [`WebSocketConfig`] and [`Http2Config`].
#[cfg(feature = "net")]
pub mod config {
    pub use crate::setting::InvalidSetting;
    pub use crate::transport::TcpConfig;
    pub use crate::transport::h2::ProcessBuffer;
}

/// Errors of forward proxies, which a client may go through.
#[cfg(feature = "net")]
pub mod proxy {
    pub use crate::transport::proxy::{ProxyError, ProxyUrlError};
}

/// TLS configurations for common cases, and what a handshake reported.
///
/// [`server::ServerBuilder::tls`] and [`client::ClientBuilder::tls`] also take a
/// `rustls::ServerConfig` or `rustls::ClientConfig` of your own.
#[cfg(feature = "net")]
pub mod tls {
    pub use crate::transport::tls::{Certificates, ClientAuth, ServerTls, TlsInfo, server_config};
    pub use crate::transport::tls::{Identity, provider, roots_from_pem};
    pub use crate::transport::tls::{Trust, client_config};
}

/// Connections within one process, so that handlers are tested without TCP.
///
/// [`pair`](memory::pair) creates a listener for a [`Server`] and what a [`Client`] connects to it
/// with. All else is as over TCP: handshakes, both versions of HTTP, TLS, limits and shutdown.
/// A connection buffers 64 KiB in each direction, and up to 128 connections wait to be accepted.
/// No port is used, so tests can run in parallel, and URLs can have any host.
///
/// [Testing](guide::testing) has an example.
#[cfg(feature = "net")]
pub mod memory {
    pub use crate::transport::memory::{MemoryConnector, MemoryListener, pair};
}

/// WebSockets in services on hyper 1, over both versions of HTTP.
///
/// [`upgrade`](hyper::upgrade) turns a request into a response and a future of the WebSocket;
/// [`WebSocketUpgrade`](hyper::WebSocketUpgrade) also sets subprotocols, limits and compression.
/// hyper's own server needs
///
/// - for HTTP/1.1: `with_upgrades`, or `serve_connection_with_upgrades` of hyper-util,
/// - for HTTP/2: `enable_connect_protocol` of the builder's `http2()`,
/// - for a graceful shutdown: to close WebSockets, and to wait for the tasks that hold them, for
///   example with `tokio_util`'s `TaskTracker`. hyper closes none; it waits for those over HTTP/2
///   until they end, and not at all for those over HTTP/1.1,
/// - a time limit for the service: a client may otherwise wait for ever.
///
/// The example `hyper_service.rs` is such a server. Under [`Server::serve_service`] the same code
/// runs without these, the stream's bytes are not copied, and the server's limits, metrics and
/// graceful shutdown apply.
#[cfg(feature = "net")]
pub mod hyper {
    pub use crate::server::embed::hyper::{
        OnWebSocket, UpgradeRejection, WebSocketUpgrade, upgrade,
    };
}

/// WebSockets that an axum `Router` routes as any other request.
///
/// The extractor [`WebSocketUpgrade`](axum::WebSocketUpgrade) has the methods of axum's own. Paths,
/// state, other extractors and layers apply to its route; header fields that layers add are in the
/// response that opens the WebSocket, and a layer can reject the request. A time limit by a layer
/// applies until the response, and not to the WebSocket.
///
/// | | [`Server::serve_service`] | `axum::serve` |
/// |---|---|---|
/// | HTTP/2 | yes | with axum's feature `http2`; without TLS, only with prior knowledge |
/// | TLS | [`ServerBuilder::tls`](server::ServerBuilder::tls) | no; axum-server has it |
/// | a `get` route | accepts both versions | HTTP/1.1 alone; use `any` or [`ConnectAsGet`](axum::ConnectAsGet) |
/// | `ConnectInfo` | [`Server::serve_make_service`] | `axum::serve` of the same make service |
/// | graceful shutdown | closes WebSockets with 1001, and waits for them | closes none; waits for those over HTTP/2 alone |
/// | a handler that does not answer | 503 after [`handler_timeout`](server::ServerBuilder::handler_timeout) | waits for the client to give up |
/// | a layer that replaces the accepting response | `on_failed_upgrade` is called | over HTTP/1.1, hyper may give the handler the connection all the same; see below |
/// | a route that answers 200 without the extractor | 501 and a warning | a stream that breaks, over HTTP/2 |
///
/// A layer that rejects requests must do so **before** it calls the inner service. Under `axum::serve`
/// (and with every extractor for it) an HTTP/1.1 client whose accepting response was replaced by a 403
/// can still reach the handler: when the connection ends its HTTP part, for example for the client's
/// `connection: close`, hyper completes the upgrade that the handler waits for.
///
/// [Migrating](guide::migrating#from-axums-ws) has the steps from axum's `ws`, and `README.md` a whole
/// program.
#[cfg(feature = "axum")]
pub mod axum {
    pub use crate::server::embed::axum::{
        ConnectAsGet, ConnectAsGetService, DefaultOnFailedUpgrade, OnFailedUpgrade,
        UpgradeRejection, WebSocketUpgrade,
    };
}

pub use ::http;
#[cfg(feature = "net")]
pub use ::rustls;

#[cfg(feature = "net")]
pub use self::client::{client::Client, version::HttpVersion};
#[cfg(feature = "net")]
pub use self::error::{Error, Timeout};
pub use self::frame::{
    close::CloseFrame, close_code::CloseCode, limits::Limits, message::Message, text::Text,
};
#[cfg(feature = "net")]
pub use self::server::server::Server;
#[cfg(feature = "net")]
pub use self::socket::{config::WebSocketConfig, websocket::WebSocket};
#[cfg(feature = "net")]
pub use self::transport::{Transport, h2::Http2Config};

// Documentation only, of what the default features bring.
#[cfg(all(any(doc, doctest), feature = "net"))]
pub mod guide;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
