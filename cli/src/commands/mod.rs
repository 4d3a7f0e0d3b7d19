//! The commands, one file each.

pub(crate) mod connect;
pub(crate) mod demo;
mod echo;
mod page;
pub(crate) mod serve;
