//! The guide: one chapter per question. It exists in the documentation only.
//!
//! | chapter | answers |
//! |---|---|
//! | [`versions`] | Does a socket use HTTP/2 or HTTP/1.1, and how is that chosen? |
//! | [`limits`] | What may a peer do, and what happens when it does more? |
//! | [`tls`] | How are certificates set up, in production and in development? |
//! | [`access_control`] | Who may open a socket? |
//! | [`proxies`] | How are forward proxies used, and what to set in reverse proxies? |
//! | [`compression`] | When is permessage-deflate worth its memory? |
//! | [`observability`] | Which metrics and logs are there? |
//! | [`endings`] | What becomes of sent messages when a socket is dropped? |
//! | [`testing`] | How is a handler tested? |
//! | [`troubleshooting`] | Why did this browser's socket fail? |
//! | [`tuning`] | What to change for many sockets, large messages, or little memory? |
//! | [`migrating`] | What changes for users of tokio-tungstenite, axum's `ws` and fastwebsockets? |
//! | [`alternatives`] | When is another crate the better choice? |

#[doc = include_str!("guide/versions.md")]
pub mod versions {}
#[doc = include_str!("guide/limits.md")]
pub mod limits {}
#[doc = include_str!("guide/tls.md")]
pub mod tls {}
#[doc = include_str!("guide/access_control.md")]
pub mod access_control {}
#[doc = include_str!("guide/proxies.md")]
pub mod proxies {}
#[doc = include_str!("guide/compression.md")]
pub mod compression {}
#[doc = include_str!("guide/observability.md")]
pub mod observability {}
#[doc = include_str!("guide/endings.md")]
pub mod endings {}
#[doc = include_str!("guide/testing.md")]
pub mod testing {}
#[doc = include_str!("guide/troubleshooting.md")]
pub mod troubleshooting {}
#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}
#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}
#[doc = include_str!("guide/alternatives.md")]
pub mod alternatives {}
