//! Tests of the program as users run it: exit status, output, and behavior on the network. They are
//! one binary, so that the library is linked once.
//!
//! | command | tests |
//! |---|---|
//! | all | [`exit_status`], [`help`], [`messages`] (errors and rejections), [`tls`] (certificates), [`terminal_output`] (escaping, colors, signals), [`progress`] (bars), [`unread_stderr`] |
//! | `demo`, `serve`, `connect`, `bench` | [`demo`], [`serve`], [`connect`], [`bench`] |
//! | `serve`, `demo` | [`page`], [`page_http1`] (the port for its WebSockets over HTTP/1.1) |
//! | `serve`, `bridge` | [`listener_answers`] (what a listener answers by itself), [`listeners`] (several, Unix sockets, PROXY protocol, systemd, a change of processes) |
//! | `tunnel`, `certificate` | [`tunnel`], [`certificate`] |
//! | `probe` | [`probe`] (reports), [`probe_findings`] (one server per protocol violation) |
//! | `bridge` | [`bridge`] (transports, drain), [`bridge_config`] (errors in files), [`bridge_http`] (plain HTTP requests), [`bridge_operations`] (reload, metrics, access log), [`bridge_tls`], [`certificate_dates`], [`metric_names`] (in dashboards, alerts and documentation) |
//!
//! Fixtures: [`process`] runs the program and its servers, [`in_process`] has servers and clients in
//! this process, [`certificates`] makes certificates, [`documented`] has what documents quote, [`raw_server`] writes its frames by hand.

mod bench;
mod bridge;
mod bridge_config;
mod bridge_http;
#[cfg(unix)]
mod bridge_operations;
#[cfg(unix)]
mod bridge_tls;
#[cfg(unix)]
mod certificate_dates;

mod certificates;
mod connect;
#[cfg(unix)]
mod connect_options;
#[cfg(unix)]
mod connect_terminal;
mod demo;
#[cfg(unix)]
mod documented;
mod exit_status;
#[cfg(unix)]
mod help;
mod in_process;
#[cfg(unix)]
mod listener_answers;
#[cfg(unix)]
mod listeners;
mod messages;
#[cfg(unix)]
mod metric_names;
mod page;
mod page_http1;
mod probe;
mod probe_findings;
mod process;
#[cfg(unix)]
mod progress;
mod raw_server;
mod serve;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod terminal_output;
mod tls;
#[cfg(unix)]
mod tunnel;
#[cfg(unix)]
mod unread_stderr;
