//! The optimizations that a raw h2 peer uses, and its HTTP/2 settings.

use std::str::FromStr;

/// Which tasks call h2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each socket's task calls h2.
    Tasks,
    /// Only the connection's task calls h2; socket tasks use buffers (see [`crate::owned`]).
    Owned,
    /// Like `Tasks`, but the connection's task polls the sockets' futures.
    Inline,
}

/// The optimizations of one peer.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// Whether all available messages are sent as one DATA frame, instead of one each.
    pub pack: bool,
    /// Whether the connection's task yields once per wake-up.
    pub yields: bool,
    /// Whether writes are gathered below h2.
    pub gather: bool,
    /// Bytes that are read at a time, if writes are gathered.
    pub portion: u64,
    /// Which tasks call h2.
    pub shape: Shape,
    /// Whether the settings are chosen for throughput, instead of h2's defaults.
    pub wide: bool,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let tuned = Self {
            pack: true,
            yields: true,
            gather: true,
            portion: u64::MAX,
            shape: Shape::Tasks,
            wide: true,
        };
        Ok(match word {
            "naive" => Self {
                pack: false,
                yields: false,
                gather: false,
                wide: false,
                ..tuned
            },
            "packed" => Self {
                yields: false,
                gather: false,
                ..tuned
            },
            "yielding" => Self {
                gather: false,
                ..tuned
            },
            "gathered" => Self {
                yields: false,
                ..tuned
            },
            "tuned" => tuned,
            "driver" => Self {
                shape: Shape::Owned,
                ..tuned
            },
            "inline" => Self {
                shape: Shape::Inline,
                ..tuned
            },
            other => {
                return Err(format!(
                    "unknown mode {other}; known: naive packed yielding gathered tuned driver inline"
                ));
            }
        })
    }
}

/// The connection's window: the maximum of RFC 9113 §6.9.1, so that only stream windows limit
/// sockets.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// The window of a stream.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// The maximum frame size. Frames of 1 MiB were slower.
pub const MAX_FRAME: u32 = 64 << 10;
/// h2's limit of small DATA frames. It is raised, because this load consists only of small frames.
const DATA_FRAME_BUDGET: usize = 1 << 30;

impl Mode {
    /// Returns the server's HTTP/2 settings.
    #[must_use]
    pub fn server(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        builder.initial_connection_window_size(CONNECTION_WINDOW);
        builder.data_frame_budget(DATA_FRAME_BUDGET);
        if self.wide {
            builder
                .initial_window_size(STREAM_WINDOW)
                .max_frame_size(MAX_FRAME);
        }
        builder
    }

    /// Returns the client's HTTP/2 settings.
    #[must_use]
    pub fn client(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false);
        builder.initial_connection_window_size(CONNECTION_WINDOW);
        builder.data_frame_budget(DATA_FRAME_BUDGET);
        if self.wide {
            builder
                .initial_window_size(STREAM_WINDOW)
                .max_frame_size(MAX_FRAME);
        }
        builder
    }
}
