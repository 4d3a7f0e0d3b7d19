//! Which of the tricks a raw h2 peer uses, and its HTTP/2 settings.

use std::str::FromStr;

/// Who talks to h2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A task per socket calls h2 itself.
    Tasks,
    /// The connection's task alone calls h2; socket tasks see buffers (see [`crate::owned`]).
    Owned,
    /// As `Tasks`, but the sockets' futures are polled by the connection's task.
    Inline,
}

/// The tricks of one peer.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// All that is there leaves as one DATA frame, instead of one per message.
    pub pack: bool,
    /// The connection's task goes to the back of the run queue once per wake-up.
    pub yields: bool,
    /// Writes below h2 are gathered.
    pub gather: bool,
    /// Bytes that are read at a time, where writes are gathered.
    pub portion: u64,
    /// Who talks to h2.
    pub shape: Shape,
    /// Settings chosen for throughput instead of h2's defaults.
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
                    "{other} is none of naive packed yielding gathered tuned driver inline"
                ));
            }
        })
    }
}

/// As wide as RFC 9113 §6.9.1 allows: stream windows bound each socket.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// One socket's share of unread bytes.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// 1 MiB frames were slower.
pub const MAX_FRAME: u32 = 64 << 10;
/// h2 ends connections whose peer sends many small frames; the load here is nothing but.
const DATA_FRAME_BUDGET: usize = 1 << 30;

impl Mode {
    /// The server's HTTP/2 settings.
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

    /// The client's HTTP/2 settings.
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
