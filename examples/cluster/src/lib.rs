//! Topics whose subscribers are on several nodes, connected by Redis pub/sub or NATS.
//!
//! ```text
//!  WebSockets ── node A ──┐                 ┌── node B ── WebSockets
//!                Topics   ├── Redis, NATS ──┤   Topics
//!                         └── (one subscription per topic and node)
//! ```
//!
//! - [`hub`]: one task per node owns its [`h2ws::broadcast::Topics`]. A message is prepared once,
//!   sent to the node's own subscribers first, and then queued for the engine. What comes back from
//!   the engine with the node's own id is dropped.
//! - [`engine`]: what an engine has to do, in three methods, and three engines that do it.
//! - [`link`]: keeps the node connected to the engine. The hub never waits for it: if the engine is
//!   slow or lost, the queue fills, further messages are counted as dropped, and the node's own
//!   subscribers notice nothing. After a loss it connects and subscribes again.
//! - [`presence`]: the names of a topic's subscribers on all nodes. A node that is no longer heard
//!   of expires.
//!
//! Delivery is at most once, in order per sender. Messages are numbered, so every node counts what
//! it has missed ([`Counters::missed`]), whichever part of the way lost it.

pub mod engine;
pub mod hub;
pub mod link;
pub mod presence;

mod counters;
mod envelope;
mod node;

pub use counters::{Counter, Counters};
pub use envelope::{Content, Envelope, NodeId};
pub use node::{Config, Node};
