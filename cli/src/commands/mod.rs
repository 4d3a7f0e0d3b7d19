//! The commands, each in a file or folder of its own, and what several of them share.

pub(crate) mod bench;
pub(crate) mod bridge;
pub(crate) mod certificate;
pub(crate) mod connect;
pub(crate) mod demo;
mod echo;
pub(crate) mod generate;
pub(crate) mod health;
pub(crate) mod help;
mod listen;
mod page;
pub(crate) mod probe;
mod process;
mod request;
pub(crate) mod serve;
mod text;
pub(crate) mod tunnel;
