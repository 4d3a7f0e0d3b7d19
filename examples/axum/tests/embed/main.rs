//! WebSockets through axum routers and tower layers, over HTTP/1.1 and HTTP/2, under h2ws's server
//! and under `axum::serve`.

mod chat;
mod faults;
mod layers;
mod moved;
mod requests;
mod support;
