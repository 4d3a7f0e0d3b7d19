//! Tests of the bridge between a client and an upstream. In most of them, the
//! test itself writes and reads the bytes of both.

mod client_cert;
mod drain;
mod forward_auth;
mod forwarded_names;
mod handshake;
mod health;
mod kept_connections;
mod lifetime;
mod observer;
mod outcomes;
mod pings;
mod plain_http;
mod plain_http_bodies;
mod plain_http_connections;
mod plain_http_ends;
mod pools;
mod request_ids;
mod routes;
mod splice;
mod stalled_peers;
mod tcp;
#[cfg(unix)]
mod unix;
