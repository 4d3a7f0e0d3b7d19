//! WebSocket streams on HTTP/2 connections, on the `h2` crate.
//!
//! One task per connection, the [driver], owns the connection and is the only
//! one that takes the lock inside `h2`. Each [stream](handle::stream) has a small buffer per
//! direction that the application and the driver share; the [handle] lists the
//! streams that the driver has to service. Below `h2`, the [coalescing
//! I/O](coalescing_io) gathers writes.

use std::time::Duration;

use crate::setting::InvalidSetting;

mod abandoned;
mod body;
mod client;
mod coalescing_io;
mod driver;
mod end;
mod fields;
mod flood;
mod frame_counter;
mod handle;
pub(crate) mod header_list;
pub(crate) mod inspected_io;
mod keep_alive;
mod meter;
#[cfg(all(test, h2ws_loom))]
pub(crate) mod models;
mod open_error;
mod peer_deadlines;
mod ping;
mod read_quota;
mod recv_memory;
mod respond;
mod send_quota;
mod server;
mod short_frames;

pub(crate) use self::body::H2Body;
pub(crate) use self::client::{H2Client, MAX_STREAMS, Opened};
pub(crate) use self::fields::are_padded;
pub(crate) use self::handle::stream::H2Stream;
pub(crate) use self::handle::{ConnectionHandle, Slot};
pub(crate) use self::open_error::OpenError;
pub use self::recv_memory::ProcessBuffer;
pub(crate) use self::server::{H2Incoming, H2Responder, H2Server};

/// Returns a description of an HTTP/2 error code (RFC 9113 §7).
pub(crate) fn error_code(code: u32) -> impl std::fmt::Display {
    h2::Reason::from(code)
}

/// The value of `:protocol` in RFC 8441 §5.
pub(crate) const WEBSOCKET: &str = "websocket";

/// Flow control and limits of an HTTP/2 connection. A value out of range is an
/// error when a client or a server is built with it.
///
/// These settings bound memory. A peer can make this side hold at most
/// [`stream_window`](Self::stream_window) unread bytes per stream,
/// [`max_concurrent_streams`](Self::max_concurrent_streams) streams, and
/// [`connection_buffer`](Self::connection_buffer) bytes in total, including
/// incomplete messages and data that the peer does not accept. All peers
/// together are bounded by [`process_buffer`](Self::process_buffer).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http2Config {
    /// Maximum number of bytes that the peer may send on one stream before the
    /// application reads (RFC 9113 §6.9.2), 1 to 2^31-1. Default 256 KiB.
    pub stream_window: u32,
    /// Maximum number of bytes that the peer may send on all streams together
    /// before the application reads, 65,535 to 2^31-1. With a small value, one
    /// WebSocket that is not read stalls all others on the connection. Default
    /// 2^31-1: only the stream windows limit.
    pub connection_window: u32,
    /// Maximum number of bytes that all streams together may hold: unread, in
    /// incomplete messages, and written but not accepted by the peer; counted
    /// to within 16 KiB per stream. When it is exceeded, the WebSocket that
    /// holds the most is closed with
    /// [`Error::Overloaded`](crate::Error::Overloaded) and close code 1013, or
    /// reset with ENHANCE_YOUR_CALM (RFC 9113 §7) if neither side reads; the
    /// others continue. `usize::MAX` is unlimited. Default 256 MiB: the unread
    /// bytes of a thousand streams, or sixteen messages of the maximum size.
    pub connection_buffer: usize,
    /// Maximum number of bytes that all connections with a clone of this value
    /// may hold together, counted as for
    /// [`connection_buffer`](Self::connection_buffer). When it is exceeded, the
    /// connection that holds the most closes WebSockets as if it had exceeded
    /// its own limit. Default: one [`ProcessBuffer`] of 2 GiB, shared by all
    /// connections of the process, of clients and servers alike.
    pub process_buffer: ProcessBuffer,
    /// Maximum frame size accepted, in bytes, 16,384 to 16,777,215 (RFC 9113
    /// §4.2). Default 64 KiB.
    pub max_frame_size: u32,
    /// Maximum number of streams that a client may have open at a time (RFC
    /// 9113 §5.1.2). Servers only. Default 1,000.
    pub max_concurrent_streams: u32,
    /// Maximum size of the header fields of a request or response, in bytes,
    /// where each field counts 32 bytes extra (RFC 9113 §6.5.2). A server
    /// answers larger requests with 431, also over HTTP/1.1; a client fails
    /// that one WebSocket. Default 64 KiB.
    pub max_header_list_size: u32,
    /// Number of unsent bytes of a WebSocket at which writers wait. Default 128
    /// KiB.
    pub write_buffer: usize,
    /// Time without a byte from the peer after which a PING is sent (RFC 9113
    /// §6.7), while the connection has open streams. Any received byte counts,
    /// so a busy connection sends no PING. PINGs detect peers that have
    /// vanished, and keep the mappings of address translators alive, which
    /// expire after a minute or more without traffic. The PING may be sent up
    /// to one interval late. `None` turns keep-alive off. Default 30 s.
    pub keep_alive_interval: Option<Duration>,
    /// Time that the peer has to answer that PING. After it the connection is
    /// closed, and its WebSockets fail with
    /// [`Timeout::KeepAlive`](crate::error::Timeout::KeepAlive). Default 20 s.
    pub keep_alive_timeout: Duration,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            stream_window: 256 * 1024,
            connection_window: (1 << 31) - 1,
            connection_buffer: 256 * 1024 * 1024,
            process_buffer: ProcessBuffer::default(),
            max_frame_size: 64 * 1024,
            max_concurrent_streams: 1_000,
            max_header_list_size: 64 * 1024,
            write_buffer: 128 * 1024,
            keep_alive_interval: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(20),
        }
    }
}

impl Http2Config {
    /// Sets the flow-control window of a stream, in bytes.
    #[must_use]
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes;
        self
    }

    /// Sets the flow-control window of the connection, in bytes.
    #[must_use]
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes;
        self
    }

    /// Sets how many bytes the streams of a connection may hold together.
    #[must_use]
    pub fn connection_buffer(mut self, bytes: usize) -> Self {
        self.connection_buffer = bytes;
        self
    }

    /// Sets the buffer limit that the connection shares with others.
    #[must_use]
    pub fn process_buffer(mut self, shared: ProcessBuffer) -> Self {
        self.process_buffer = shared;
        self
    }

    /// Sets the largest frame accepted, in bytes.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: u32) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// Sets how many streams a client may have open at a time.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// Sets the largest header list accepted, in bytes.
    #[must_use]
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.max_header_list_size = bytes;
        self
    }

    /// Sets the number of unsent bytes of a WebSocket at which writers wait.
    #[must_use]
    pub fn write_buffer(mut self, bytes: usize) -> Self {
        self.write_buffer = bytes;
        self
    }

    /// Sets the time without received bytes before a PING; `None` turns it off.
    #[must_use]
    pub fn keep_alive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.keep_alive_interval = interval.into();
        self
    }

    /// Sets how long the peer may take to answer a PING.
    #[must_use]
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.keep_alive_timeout = timeout;
        self
    }
}

/// Budget of `h2` for short DATA frames that the driver has not read yet: the
/// sum of the bytes by which each falls short of 256. The driver reads after
/// every turn and a turn is bounded, so this only has to exceed one turn of the
/// shortest frames. The default of `h2`, half a window, would be used up by a
/// thousand WebSockets that receive one word each.
const DATA_FRAME_BUDGET: usize = 64 << 20;

/// Size of the largest window, in bytes (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

impl Http2Config {
    /// Checks all settings.
    ///
    /// # Errors
    ///
    /// The first setting whose value is out of range.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        use crate::setting::{finite, number, some};
        number(
            "Http2Config::stream_window",
            self.stream_window,
            1..=MAX_WINDOW,
        )?;
        // The initial window, which cannot be reduced (RFC 9113 §6.9.2).
        let window = self.connection_window;
        number(
            "Http2Config::connection_window",
            window,
            65_535..=MAX_WINDOW,
        )?;
        some("Http2Config::connection_buffer", self.connection_buffer)?;
        // RFC 9113 §4.2.
        let frame = self.max_frame_size;
        number("Http2Config::max_frame_size", frame, 16_384..=(1 << 24) - 1)?;
        let streams = self.max_concurrent_streams;
        number("Http2Config::max_concurrent_streams", streams, 1..=u32::MAX)?;
        let list = self.max_header_list_size;
        number("Http2Config::max_header_list_size", list, 1..=u32::MAX)?;
        some("Http2Config::write_buffer", self.write_buffer)?;
        if let Some(interval) = self.keep_alive_interval {
            finite("Http2Config::keep_alive_interval", interval)?;
        }
        finite("Http2Config::keep_alive_timeout", self.keep_alive_timeout)
    }

    /// Returns how many received bytes are returned to the peer's window at a
    /// time: a quarter of the stream window, or less if very many streams, each
    /// withholding that much, could use up the connection's window.
    fn release_step(&self, streams: u32) -> usize {
        let share = (self.connection_window / 2) / streams.max(1);
        (self.stream_window / 4).min(share.max(1)) as usize
    }
}
