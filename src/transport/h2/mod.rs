//! WebSocket streams on HTTP/2 connections, on the `h2` crate.
//!
//! One task, the [driver], owns the connection and is the only one to
//! use the lock inside `h2`. Each [stream] has a small buffer each way that
//! the application and the driver share; the [handle] lists those that have
//! something to do. Beneath `h2` the [coalescing I/O](coalescing_io) gathers writes.

use std::time::Duration;

use crate::setting::InvalidSetting;
mod abandoned;
mod body;
mod client;
mod coalescing_io;
mod driver;
mod fields;
mod flood;
mod frame_counter;
mod handle;
pub(crate) mod header_list;
pub(crate) mod inspected_io;
mod keep_alive;
mod meter;
mod peer_deadlines;
mod ping;
mod read_quota;
mod recv_memory;
mod send_buf;
mod send_quota;
mod server;
mod short_frames;
mod stream;

pub(crate) use self::body::H2Body;
pub(crate) use self::client::{H2Client, MAX_STREAMS, OpenError, Opened, Slot};
pub(crate) use self::fields::are_padded;
pub(crate) use self::handle::ConnectionHandle;
pub(crate) use self::keep_alive::later;
pub use self::recv_memory::ProcessBuffer;
pub(crate) use self::send_buf::SendBuf;
pub(crate) use self::server::{H2Incoming, H2Responder, H2Server, send_head};
pub(crate) use self::stream::H2Stream;

/// The `:protocol` of RFC 8441 §5.
pub(crate) const WEBSOCKET: &str = "websocket";

/// Flow control and limits of an HTTP/2 connection. What is out of range is
/// refused where a client or a server is made of it.
///
/// Memory is bounded by it: a peer can make us hold at most
/// [`stream_window`](Self::stream_window) unread bytes a stream,
/// [`max_concurrent_streams`](Self::max_concurrent_streams) streams, and
/// [`connection_buffer`](Self::connection_buffer) in all, half messages and
/// what it does not take included; all peers together,
/// [`process_buffer`](Self::process_buffer).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http2Config {
    /// Bytes that the peer may send on one stream before the application
    /// reads (RFC 9113 §6.9.2), 1 to 2^31-1. Default 256 KiB.
    pub stream_window: u32,
    /// Bytes that the peer may send on all streams together, 65,535 to 2^31-1.
    /// Default 2^31-1, which leaves it to the streams: with less, one socket that nobody
    /// reads stalls its siblings.
    pub connection_window: u32,
    /// Bytes that all streams together may hold, in both directions: unread, in
    /// messages that are not complete, and written but not taken by the peer;
    /// counted to within 16 KiB a stream. Beyond it the socket that holds most
    /// is closed with [`Error::Overloaded`](crate::Error::Overloaded) and code
    /// 1013, or reset with ENHANCE_YOUR_CALM (RFC 9113 §7) where nobody reads
    /// it on this side or the other; the others go on. `usize::MAX` is
    /// unlimited. Default 256 MiB: the unread bytes of a thousand streams, or
    /// sixteen messages of the largest size.
    pub connection_buffer: usize,
    /// Bytes that all connections that share it may hold together, of the kinds
    /// that count for [`connection_buffer`](Self::connection_buffer). Beyond it
    /// the connection that holds most gives up sockets as if it were beyond its
    /// own. Default: one [`ProcessBuffer`] of 2 GiB for all connections of the
    /// process, of clients and servers alike.
    pub process_buffer: ProcessBuffer,
    /// Largest frame accepted, in bytes, 16,384 to 16,777,215 (RFC 9113 §4.2).
    /// Default 64 KiB.
    pub max_frame_size: u32,
    /// Streams that a client may have open at a time (RFC 9113 §5.1.2).
    /// Default 1,000. For servers.
    pub max_concurrent_streams: u32,
    /// Bytes of a request's or response's header fields, each counted with 32
    /// more (RFC 9113 §6.5.2). A server answers larger requests with 431, over
    /// HTTP/1.1 too; a client fails the one socket. Default 64 KiB.
    pub max_header_list_size: u32,
    /// Bytes that a socket may have waiting to be sent before writers wait.
    /// Default 128 KiB.
    pub write_buffer: usize,
    /// After how long a silence of the peer it is asked for a sign of life by
    /// PING (RFC 9113 §6.7), while the connection carries streams. Any byte
    /// from the peer counts, so a connection that is in use sends none. It
    /// finds peers that are gone without a word, and keeps the paths of
    /// address translators open, which forget a silent connection after a
    /// minute or more. The silence may be noticed up to one interval late.
    /// `None` is off. Default 30 s.
    pub keep_alive_interval: Option<Duration>,
    /// How long the peer may take for that sign. After it the connection is
    /// given up, and its sockets fail with
    /// [`Timeout::KeepAlive`](crate::Timeout::KeepAlive). Default 20 s.
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

setters!(Http2Config {
    stream_window: u32,
    connection_window: u32,
    connection_buffer: usize,
    process_buffer: ProcessBuffer,
    max_frame_size: u32,
    max_concurrent_streams: u32,
    max_header_list_size: u32,
    write_buffer: usize,
    keep_alive_interval: impl Into<Option<Duration>>,
    keep_alive_timeout: Duration,
});

/// Short DATA frames that may sit in `h2` before the driver reads them, in
/// bytes by which they fall short of 256. The driver reads after every turn
/// and a turn is bounded, so this only has to exceed one turn's worth of the
/// shortest frames; `h2`'s default of half a window is spent by a thousand
/// sockets that say one word each.
const DATA_FRAME_BUDGET: usize = 64 << 20;

/// Bytes of the largest window (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

impl Http2Config {
    /// # Errors
    ///
    /// The first setting whose value `h2` or the driver cannot live with.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        use crate::setting::{finite, number, some};
        number(
            "Http2Config::stream_window",
            self.stream_window,
            1..=MAX_WINDOW,
        )?;
        // It begins with so much, and nothing takes it back (RFC 9113 §6.9.2).
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

    /// Received bytes that are handed back to the peer's window at a time: a
    /// quarter of the stream window, and less where very many streams, each
    /// holding that much back, could use up the connection's window.
    fn release_step(&self, streams: u32) -> usize {
        let share = (self.connection_window / 2) / streams.max(1);
        (self.stream_window / 4).min(share.max(1)) as usize
    }
}
