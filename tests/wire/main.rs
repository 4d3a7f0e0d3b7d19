//! What goes over the wire, and what does not. One binary, so that the library
//! is linked once.

#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]

mod abandoned;
mod admission;
mod asking;
mod axum_router;
mod bridge_blame;
mod bridge_drain;
mod bridge_handshake;
mod bridge_health;
mod bridge_names;
mod bridge_observer;
mod bridge_ordinary;
mod bridge_ordinary_bodies;
mod bridge_ordinary_connections;
mod bridge_ordinary_ends;
mod bridge_ordinary_kept;
mod bridge_pools;
mod bridge_routes;
mod bridge_splice;
mod bridge_stalled;
mod bridge_tcp;
mod broadcast;
mod cancel;
mod clauses;
mod close_timeout;
#[cfg(feature = "deflate")]
mod deflate;
mod dialling;
mod drain;
mod early;
mod ending_client;
mod ending_server;
mod fallback;
mod floods;
mod flow;
mod fragments;
mod frames_server;
mod halves;
mod header_lists;
mod http1;
mod http1_client;
mod http1_refusals;
mod http1_turns;
mod layers;
mod life;
mod memory;
mod metrics;
mod opening_client;
mod opening_server;
mod places;
mod pool;
mod proxy;
mod random;
mod room;
mod sent;
mod settings;
mod shares;
mod spans;
mod support;
mod tls_client;
mod tls_server;
