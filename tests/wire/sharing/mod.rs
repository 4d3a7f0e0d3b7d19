//! Many WebSockets on one connection: what one of them may cost the others.

mod abandoned_requests;
mod fairness;
mod floods;
mod flow_control;
mod header_lists;
mod memory;
