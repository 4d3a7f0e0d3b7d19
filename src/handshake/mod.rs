//! The opening handshakes of WebSockets, without I/O.
//!
//! There are two: the HTTP/1.1 Upgrade (RFC 6455 §4) in [`upgrade`], and the HTTP/2 extended
//! CONNECT (RFC 8441 §4-5) in [`extended_connect`]. Both modules have the same four functions:
//! `request` and `check_response` for clients, `check_request` and `response` for servers.
//!
//! What they share is in the other modules: the [`Target`] of a URL and its [`Endpoint`], the
//! [`Key`], the negotiation of [`subprotocol`]s and [`extensions`], including permessage-deflate
//! ([`deflate`], RFC 7692), access control by [`origin`] and by [`authority`], and the [`headers`]:
//! cookies, tokens, and those that are not forwarded.
//!
//! All functions are pure and work on [`http`] types. They do no I/O, read no clock and draw no
//! random numbers (the bytes of a [`Key`] are passed in), so they fit any HTTP implementation:
//!
//! ```
//! use h2ws::handshake::{DeflateConfig, Key, Offer, Target, upgrade};
//!
//! let target: Target = "wss://example.com/chat".parse()?;
//! let offer = Offer::default().subprotocol("chat.v2").subprotocol("chat.v1");
//! let key = Key::new([7; 16]); // sixteen random bytes
//! let request = upgrade::request(&target, Default::default(), &offer, &key)?;
//!
//! // The server receives the request and responds:
//! let (request, ()) = request.into_parts();
//! let request = upgrade::check_request(&request)?;
//! let negotiated = request.negotiate(&["chat.v1"], Some(&DeflateConfig::default()));
//! let response = upgrade::response(&request, &negotiated, Default::default())?;
//!
//! // The client receives the response:
//! let (response, ()) = response.into_parts();
//! let negotiated = upgrade::check_response(&response, &offer, &key)?;
//! assert_eq!(negotiated.subprotocol.as_deref(), Some("chat.v1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod authority;
pub mod deflate;
mod error;
pub mod extended_connect;
pub mod extensions;
pub mod headers;
mod key;
mod kind;
mod negotiation;
pub mod origin;
mod parsed_request;
mod rejection;
mod request_fields;
pub mod subprotocol;
mod syntax;
mod target;
pub mod upgrade;

pub use authority::{AllowedHosts, HostPort};
pub use deflate::{DeflateConfig, DeflateParams};
pub use error::{HandshakeError, UrlError};
pub use extensions::Extension;
pub use key::{InvalidKey, Key};
pub use kind::HandshakeKind;
pub use negotiation::{Negotiated, Offer};
pub use origin::AllowedOrigins;
pub use parsed_request::ParsedRequest;
pub use rejection::Rejection;
pub use target::{Endpoint, Target};
