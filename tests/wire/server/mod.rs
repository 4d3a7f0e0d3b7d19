//! Accepting, rejecting and shutting down, seen from the client that meets a server of ours.

mod access_control;
mod axum_router;
mod connection_limit;
mod drain;
mod endings;
mod handlers;
mod http1;
mod http1_rejections;
mod http1_timeouts;
mod invalid_frames;
mod listeners;
mod opening;
mod plain_http;
mod tls;
