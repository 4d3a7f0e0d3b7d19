//! WebSockets over HTTP/2 (RFC 8441), with the HTTP/1.1 Upgrade (RFC 6455) as
//! the fallback.
//!
//! [`Client`] opens sockets and keeps the connections that they share.
//! [`Server`] takes sockets over both versions of HTTP, and ordinary requests,
//! on one port. Either gives a [`WebSocket`], a `Stream` and `Sink` of
//! [`Message`]s; [`WebSocket::transport`] tells what carries it.
//!
#![cfg_attr(feature = "net", doc = "```")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use futures_util::{SinkExt, StreamExt};
//! use h2ws::server::WebSocketRequest;
//! use h2ws::{Client, CloseCode, HttpVersion, Message, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/", server.local_addr()?);
//! tokio::spawn(server.serve(|request: WebSocketRequest| async move {
//!     let Ok(mut socket) = request.accept().await else { return };
//!     while let Some(Ok(message)) = socket.next().await {
//!         if socket.feed(message).await.is_err() {
//!             break;
//!         }
//!     }
//! }).into_future());
//!
//! // Without TLS there is no ALPN, so HTTP/2 is asked for; with `wss` it is
//! // found out.
//! let client = Client::builder().version(HttpVersion::Http2).build()?;
//! let mut one = client.connect(&url).await?;
//! let mut other = client.connect(&url).await?;
//! assert_eq!(client.connections().len(), 1);
//!
//! one.send(Message::text("hello")).await?;
//! assert_eq!(one.next().await.transpose()?, Some(Message::text("hello")));
//! one.close(CloseCode::NORMAL).await?;
//! other.close(None).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `send`, `feed` and `next` are those of `futures-util`, which has the first
//! two with its feature `sink`.
//!
//! # Rooms
//!
//! - [`Client`], [`client::ClientBuilder`], [`client::RequestBuilder`]: opening.
//! - [`Server`], [`server::ServerBuilder`], [`WebSocketRequest`], [`server::Serve`]: being opened to.
//! - [`bridge::Bridge`], [`bridge::Routes`], [`bridge::Route`], [`bridge::Upstream`]: sockets taken on to
//!   servers behind.
//! - [`WebSocket`], its halves [`socket::WebSocketReader`] and [`socket::WebSocketWriter`], and
//!   [`RawStream`] for a framing of your own.
//! - [`metrics`]: figures for whoever runs it; spans and events go to `tracing`.
//! - [`Limits`], [`WebSocketConfig`], [`Http2Config`]: what peers may do. The defaults
//!   are for the open internet; ARCHITECTURE.md adds them up.
//! - [`frame`] and [`handshake`]: the protocols without I/O, which is what is
//!   left without the features `client` and `server`.
//!
//! # Errors
//!
//! A socket whose closing handshake was done ends its stream of messages with
//! `None`. Whatever else ends it is an [`Error`], and
//! [`Error::is_abnormal_closure`] tells those that RFC 6455 calls 1006. Which
//! are worth another attempt is said at [`Error`].
//!
//! # Cancel safety
//!
//! Receiving is cancel safe. A dropped future of `send` has sent its message
//! or has not, never a part. A dropped future of [`Client::connect`] cancels
//! its own stream and disturbs no other.
//!
//! # For those who know others
//!
//! - There is no `Message::Close`. [`WebSocket::close`] sends a Close frame and
//!   waits for the peer's; a peer that closes ends the stream of messages with
//!   `None`, and [`WebSocket::close_code`] tells its code. A socket that is
//!   dropped instead has not said goodbye, but
//!   [what it sent arrives](WebSocket#what-becomes-of-what-was-sent).
//! - Pings are answered for whoever reads the socket. Halves are those of
//!   [`WebSocket::split`], the reader first; a lock around the socket is not needed.
//! - [`Client::connect`] takes a URL; header fields and subprotocols are added
//!   to [`Client::request`]. It is not a connection: sockets share those that
//!   the client keeps, so make one client, as of an HTTP client.
//! - A handler gets the request and answers it, so there is no `on_upgrade`,
//!   and no subprotocol but the one that it [agrees to](WebSocketRequest::select_subprotocol).
//!   An axum `Router` goes to [`server::Serve::fallback`]; the sockets' paths are for
//!   the handler to tell apart.
//! - [`Server`] and [`Client`] are without compression, origins that are
//!   checked, and keep-alive by WebSocket Pings, until asked for.
//!
//! # Features
//!
//! `client`, `server`, `bridge` and `deflate` (all by default), and the
//! cryptography behind rustls: `ring` (by default) or `aws-lc-rs`.
#![cfg_attr(
    not(feature = "net"),
    allow(
        dead_code,
        rustdoc::broken_intra_doc_links,
        reason = "the client and the server use and link to what is left"
    )
)]

mod block;
pub mod frame;
pub mod handshake;

#[cfg(feature = "net")]
mod clock;
#[cfg(feature = "net")]
mod error;
#[cfg(feature = "net")]
pub mod metrics;
#[cfg(feature = "net")]
mod setting;
#[cfg(feature = "net")]
pub mod socket;
#[cfg(feature = "net")]
mod transport;

#[cfg(feature = "net")]
pub mod bridge;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod server;

/// One message to many sockets.
#[cfg(feature = "net")]
pub mod broadcast {
    pub use crate::socket::broadcast::{Broadcast, Delivery, LagPolicy, MemberId};
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

/// A listener and its clients in one process: handlers are tested without TCP.
///
/// [Testing](guide::testing) has an example.
#[cfg(feature = "net")]
pub mod memory {
    pub use crate::transport::memory::{MemoryConnector, MemoryListener, pair};
}

/// WebSockets in services on hyper.
#[cfg(feature = "net")]
pub mod hyper {
    pub use crate::server::embed::hyper::{
        OnWebSocket, UpgradeRejection, WebSocketUpgrade, upgrade,
    };
}

/// WebSockets in axum.
#[cfg(feature = "axum")]
pub mod axum {
    pub use crate::server::embed::axum::{
        ConnectAsGet, ConnectAsGetService, DefaultOnFailedUpgrade, OnFailedUpgrade,
        UpgradeRejection, WebSocketUpgrade,
    };
}

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
