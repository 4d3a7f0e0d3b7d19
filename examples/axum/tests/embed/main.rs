//! WebSockets through axum routers and tower layers, over both versions of HTTP,
//! under h2ws's server and under `axum::serve`.

mod chat;
mod faults;
mod layers;
mod support;
