//! Opening a WebSocket: who asks for what, in which words, and what then holds.
//!
//! Two handshakes lead to the same socket: the Upgrade of HTTP/1.1 (RFC 6455 §4), in
//! [`upgrade`], and the extended CONNECT of HTTP/2 (RFC 8441 §4-5), in [`extended_connect`].
//! Each module has the same four functions: the client's `request` and `check_response`, the
//! server's `check_request` and `response`. What they share has rooms of its own: the
//! [`Target`] of a URL, the [`Key`], [`subprotocol`]s, [`extensions`] and among those
//! permessage-deflate ([`deflate`], RFC 7692), the rules for [`origin`] and [`authority`], and
//! the [`headers`] that belong to one hop alone.
//!
//! Everything here is a pure function of [`http`] types. Nothing does I/O, reads a clock or
//! draws randomness (the bytes of a [`Key`] are passed in), so any HTTP implementation can be
//! put underneath:
//!
//! ```
//! use h2ws::handshake::{DeflateConfig, Key, Offer, Target, upgrade};
//!
//! let target: Target = "wss://example.com/chat".parse()?;
//! let offer = Offer::default().subprotocol("chat.v2").subprotocol("chat.v1");
//! let key = Key::new([7; 16]); // sixteen random bytes
//! let request = upgrade::request(&target, Default::default(), &offer, &key)?;
//!
//! // … over the wire; then, at the server:
//! let (request, ()) = request.into_parts();
//! let opening = upgrade::check_request(&request).map_err(|no| no.to_string())?;
//! let agreed = opening.agree(&["chat.v1"], Some(&DeflateConfig::default()));
//! let response = upgrade::response(&opening, &agreed, Default::default())?;
//!
//! // … and back at the client:
//! let (response, ()) = response.into_parts();
//! let agreed = upgrade::check_response(&response, &offer, &key)?;
//! assert_eq!(agreed.subprotocol.as_deref(), Some("chat.v1"));
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
