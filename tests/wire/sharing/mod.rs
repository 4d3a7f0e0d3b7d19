//! Tests of many WebSockets on one connection, and of how one may affect the others.

mod abandoned_requests;
mod fairness;
mod floods;
mod flow_control;
mod header_lists;
mod memory;
mod upstream_connections;
