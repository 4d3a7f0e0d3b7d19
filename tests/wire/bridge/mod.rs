//! A bridge between a client and an upstream, both written by hand.

mod drain;
mod forwarded_names;
mod handshake;
mod health;
mod kept_connections;
mod observer;
mod outcomes;
mod plain_http;
mod plain_http_bodies;
mod plain_http_connections;
mod plain_http_ends;
mod pools;
mod routes;
mod splice;
mod stalled_peers;
mod tcp;
