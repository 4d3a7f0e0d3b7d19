//! The server: accepting and rejecting requests, closing sockets and shutting
//! down, as a client sees it.

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
mod own_answers;
mod plain_http;
mod tls;
