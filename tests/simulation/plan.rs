//! The plan of a run: everything that will be attempted, derived from its seed.
//!
//! A plan is data, so that [`shrink`](crate::shrink) can leave parts of it out.

use h2ws::{HttpVersion, Message};

use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) world: WorldPlan,
    pub(crate) sockets: Vec<SocketPlan>,
    pub(crate) events: Vec<Event>,
}

/// Who there is, and how they are configured.
#[derive(Clone, Debug)]
pub(crate) struct WorldPlan {
    pub(crate) version: HttpVersion,
    /// With a bridge, the version between it and the server.
    pub(crate) bridge: Option<HttpVersion>,
    pub(crate) deflate: bool,
    pub(crate) pace: Pace,
    /// Windows and buffers of client and server.
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) write_buffer: usize,
    pub(crate) fragment: usize,
    /// Sockets that may be open on an HTTP/2 connection.
    pub(crate) max_streams: u32,
    /// Connections that the client may have, and the server accept.
    pub(crate) max_connections: usize,
    pub(crate) max_accepted: usize,
    /// Sockets that the bridge forwards at a time.
    pub(crate) max_bridged: usize,
    pub(crate) control_messages: bool,
}

/// How a connection delivers bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Longest delay in milliseconds.
    pub(crate) delay: usize,
    /// Most bytes taken at once.
    pub(crate) piece: usize,
    /// Most bytes on their way.
    pub(crate) capacity: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct SocketPlan {
    pub(crate) id: usize,
    /// When the client opens it, in milliseconds.
    pub(crate) start: u64,
    pub(crate) up: Vec<Item>,
    pub(crate) down: Vec<Item>,
    pub(crate) end: Ending,
    /// How the client and the server use it.
    pub(crate) ways: [Way; 2],
    pub(crate) answer: Answer,
    /// When the client gives up opening it, in milliseconds after it began.
    pub(crate) gives_up: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message { text: bool, len: usize },
    Ping,
}

/// What a server's handler does with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Accepts it after so many milliseconds.
    Accept(u64),
    Reject,
    Drop,
}

/// Which end ends the socket, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// One end closes after it has sent and received everything.
    Closes {
        server: bool,
    },
    /// One end closes after it has sent everything, whatever it has received.
    ClosesEarly {
        server: bool,
    },
    Both,
    /// One end drops the socket after it has received this much.
    Drops {
        server: bool,
        after: usize,
    },
    /// Neither end does anything, so that only a drain ends the socket.
    Waits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each message is sent when the other's previous one has come.
    Turns,
    /// Each half runs in a task of its own.
    Split,
    /// One task that polls both directions.
    Polls,
    /// Futures are sometimes dropped before they are ready.
    Cancels,
    /// A byte stream in binary messages.
    Bytes,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Something happens to a connection, counted from the first of the run.
    Cut { link: usize, cut: Cut },
    /// A connection is refused.
    Refuse { link: usize },
    /// A connection is made after a long time.
    Hang { link: usize, milliseconds: u64 },
    /// The server, or the bridge, shuts down.
    Drain { bridge: bool, at: u64 },
    /// The bridge gets other routes.
    Reload { at: u64 },
    /// The clock jumps, as after a laptop's sleep.
    Jump { at: u64, seconds: u64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// In the direction from the end that opened the connection.
    pub(crate) up: bool,
    /// After so many bytes.
    pub(crate) at: usize,
    pub(crate) harm: Harm,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    Reset,
    /// Nothing arrives any more, in either direction.
    Vanish,
    /// Nothing arrives for so many milliseconds.
    Stall(u64),
}

impl Event {
    pub(crate) fn is_of_bridge(&self) -> bool {
        matches!(self, Self::Drain { bridge: true, .. } | Self::Reload { .. })
    }
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let world = WorldPlan::new(random);
        let narrow = world.stream_window < 1_000;
        let count = random.one_of(&[1, 2, 3, 5]);
        let control = world.control_messages;
        let sockets = (0..count).map(|id| SocketPlan::new(id, random, narrow, control));
        let sockets: Vec<_> = sockets.collect();
        let mut events = Vec::new();
        if !random.once_in(3) {
            for _ in 0..random.one_of(&[1, 1, 2, 3]) {
                let event = Event::new(random, world.bridge.is_some());
                events.push(event);
            }
        }
        let mut plan = Self {
            seed,
            world,
            sockets,
            events,
        };
        if plan.drains() {
            for socket in &mut plan.sockets {
                if random.once_in(2) {
                    socket.end = Ending::Waits;
                }
            }
        }
        plan
    }

    /// Whether some event may end sockets otherwise than planned.
    pub(crate) fn is_disturbed(&self) -> bool {
        let harmless = |event: &Event| match event {
            Event::Reload { .. } => true,
            Event::Cut { cut, .. } => matches!(cut.harm, Harm::Stall(_)),
            _ => false,
        };
        !self.events.iter().all(harmless)
    }

    pub(crate) fn drains(&self) -> bool {
        let drains = |event: &Event| matches!(event, Event::Drain { .. });
        self.events.iter().any(drains)
    }

    /// Whether anything but a drain ends sockets otherwise than planned.
    pub(crate) fn is_harmed(&self) -> bool {
        let mut others = self.clone();
        let drains = |event: &Event| matches!(event, Event::Drain { .. });
        others.events.retain(|event| !drains(event));
        others.is_disturbed()
    }
}

impl WorldPlan {
    fn new(random: &mut Random) -> Self {
        let version = [HttpVersion::Http1, HttpVersion::Http2, HttpVersion::Http2];
        let narrow = random.once_in(5);
        let windows: &[u32] = match narrow {
            true => &[1, 7, 100],
            false => &[1_000, 65_535, 256 * 1024],
        };
        // A byte that fills the connection, or a window, takes a round trip.
        let capacity = match narrow {
            true => 64 * 1024,
            false => random.one_of(&[300, 4_000, 64 * 1024]),
        };
        let delays: &[usize] = match (narrow, capacity) {
            (true, _) | (_, 300) => &[0, 1],
            _ => &[0, 1, 5, 20],
        };
        Self {
            version: random.one_of(&version),
            bridge: random.once_in(3).then(|| random.one_of(&version)),
            deflate: random.once_in(3),
            pace: Pace {
                delay: random.one_of(delays),
                piece: random.one_of(&[30, 1_000, 64 * 1024]),
                capacity,
            },
            stream_window: random.one_of(windows),
            connection_window: random.one_of(&[65_535, 100_000, (1 << 31) - 1]),
            write_buffer: random.one_of(&[1, 200, 10_000, 128 * 1024]),
            fragment: random.one_of(&[10, 1_000, 1 << 20]),
            max_streams: random.one_of(&[1, 2, 100]),
            max_connections: random.one_of(&[1, 2, 1_024]),
            max_accepted: random.one_of(&[1, 2, 1_000]),
            max_bridged: random.one_of(&[1, 2, 1_000]),
            control_messages: random.once_in(3),
        }
    }
}

impl SocketPlan {
    fn new(id: usize, random: &mut Random, narrow: bool, control: bool) -> Self {
        let ways = [Way::Turns, Way::Split, Way::Polls, Way::Cancels, Way::Bytes];
        let ways = [random.one_of(&ways), random.one_of(&ways)];
        let bytes = ways.contains(&Way::Bytes);
        let server = random.once_in(2);
        let mut items = || Item::some(random, narrow, bytes, control);
        let (up, down) = (items(), items());
        let end = match random.below(8) {
            0..3 => Ending::Closes { server },
            3 => Ending::Both,
            4 => Ending::ClosesEarly { server },
            _ => {
                let most = if server { up.len() } else { down.len() };
                let after = random.below(most + 1);
                Ending::Drops { server, after }
            }
        };
        let answer = match random.below(16) {
            0 => Answer::Reject,
            1 => Answer::Drop,
            2..5 => Answer::Accept(random.below(60) as u64),
            _ => Answer::Accept(0),
        };
        Self {
            id,
            start: random.one_of(&[0, 0, 1, 10, 100]),
            up,
            down,
            end,
            ways,
            answer,
            gives_up: random.once_in(8).then(|| random.below(80) as u64),
        }
    }

    pub(crate) fn items(&self, of_server: bool) -> &[Item] {
        if of_server { &self.down } else { &self.up }
    }

    /// Returns the `n`th message that the server, or the client, sends.
    pub(crate) fn message(&self, server: bool, n: usize) -> Message {
        let first = self.id * 31 + n * 7 + usize::from(server);
        match self.items(server)[n] {
            Item::Ping => Message::ping(vec![n as u8, u8::from(server)]),
            Item::Message { text: true, len } => {
                let text: String = (0..len)
                    .map(|at| char::from(b'a' + ((first + at / 3) % 26) as u8))
                    .collect();
                Message::text(text)
            }
            Item::Message { text: false, len } => {
                let bytes: Vec<u8> = (0..len).map(|at| (first + at / 3) as u8).collect();
                Message::binary(bytes)
            }
        }
    }

    /// Returns after how much that was received this end drops the socket, if it does.
    pub(crate) fn drops(&self, server: bool) -> Option<usize> {
        match self.end {
            Ending::Drops { server: by, after } if by == server => {
                Some(after.min(self.items(!server).len()))
            }
            _ => None,
        }
    }

    pub(crate) fn closes(&self, server: bool) -> bool {
        match self.end {
            Ending::Both => true,
            Ending::Closes { server: by } | Ending::ClosesEarly { server: by } => by == server,
            Ending::Drops { .. } | Ending::Waits => false,
        }
    }
}

impl Item {
    fn some(random: &mut Random, narrow: bool, bytes: bool, control: bool) -> Vec<Self> {
        let count = random.one_of(&[0, 1, 2, 5]);
        let kinds = if narrow { 4 } else { 12 };
        let short = if narrow { 20 } else { 130 };
        (0..count)
            .map(|_| {
                if control && !bytes && random.once_in(3) {
                    return Self::Ping;
                }
                let len = match random.below(kinds) {
                    0 => 0,
                    1..9 => random.below(short),
                    9 | 10 => random.below(1_000),
                    _ => random.below(8_000),
                };
                // A byte stream has no empty messages.
                let len = len.max(usize::from(bytes));
                let text = !bytes && random.once_in(2);
                Self::Message { text, len }
            })
            .collect()
    }
}

impl Event {
    fn new(random: &mut Random, bridge: bool) -> Self {
        let link = random.below(3);
        let at = random.one_of(&[0, 1, 10, 50, 120]);
        let most = random.one_of(&[50, 300, 1_000, 5_000]);
        match random.below(16) {
            0..8 => {
                let harm = match random.below(4) {
                    0 => Harm::Vanish,
                    1 => Harm::Stall(random.one_of(&[10, 1_000])),
                    _ => Harm::Reset,
                };
                let up = random.once_in(2);
                let at = random.below(most) + 1;
                let cut = Cut { up, at, harm };
                Self::Cut { link, cut }
            }
            8 => Self::Refuse { link },
            9 => Self::Hang {
                link,
                milliseconds: random.one_of(&[100, 60_000]),
            },
            10..13 => Self::Drain {
                bridge: bridge && random.once_in(2),
                at,
            },
            13 | 14 if bridge => Self::Reload { at },
            _ => Self::Jump {
                at,
                seconds: random.one_of(&[1, 15, 40, 600]),
            },
        }
    }
}
