//! Buffers between the application and the transport of a byte stream.
//!
//! **The rule.** Waiting bytes occupy little more memory than their length. A
//! short piece of a large buffer is copied out of it, and a buffer that is far
//! from full is copied once nothing more will be added to it. Unused capacity
//! of a buffer that still grows is counted ([`Outgoing::held`],
//! [`Incoming::spare`]), so that limits are limits of memory.

mod incoming;
mod outgoing;

pub(crate) use self::incoming::Incoming;
pub(crate) use self::outgoing::{Outgoing, Payload};
