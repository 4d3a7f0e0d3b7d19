//! Two nodes and an engine: in this process, and with Redis and NATS.

mod engines;
mod memory;
mod scenarios;
mod support;
