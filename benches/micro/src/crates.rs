//! The measured work, implemented with each crate.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use h2ws::Limits;
use h2ws::frame::{self, Event, Output, Protocol};

use crate::wire::{Batch, CHUNK, Drain, Kind, Memory};

/// Processes one batch, and returns a number of bytes, which is checked.
pub(crate) type Work = Box<dyn FnMut() -> usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crate {
    H2ws,
    Fastwebsockets,
    Tungstenite,
    TokioWebsockets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Receive as a server: parse, unmask, validate UTF-8.
    DecodeMasked,
    /// Receive as a client.
    DecodeBare,
    /// Send as a client: generate a key, mask.
    EncodeMasked,
    /// Send as a server.
    EncodeBare,
}

impl Task {
    pub(crate) const ALL: [Self; 4] = [
        Self::DecodeMasked,
        Self::DecodeBare,
        Self::EncodeMasked,
        Self::EncodeBare,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DecodeMasked => "decode+unmask",
            Self::DecodeBare => "decode",
            Self::EncodeMasked => "encode+mask",
            Self::EncodeBare => "encode",
        }
    }

    pub(crate) const fn masked(self) -> bool {
        matches!(self, Self::DecodeMasked | Self::EncodeMasked)
    }

    pub(crate) const fn decodes(self) -> bool {
        matches!(self, Self::DecodeMasked | Self::DecodeBare)
    }

    /// Whether this end is the client.
    const fn client(self) -> bool {
        matches!(self, Self::DecodeBare | Self::EncodeMasked)
    }
}

impl Crate {
    pub(crate) const ALL: [Self; 4] = [
        Self::H2ws,
        Self::Fastwebsockets,
        Self::Tungstenite,
        Self::TokioWebsockets,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::H2ws => "h2ws",
            Self::Fastwebsockets => "fastwebsockets",
            Self::Tungstenite => "tungstenite",
            Self::TokioWebsockets => "tokio-websockets",
        }
    }

    pub(crate) fn work(self, task: Task, batch: &Batch) -> Work {
        let batch = batch.clone();
        match self {
            Self::H2ws => h2ws(task, batch),
            Self::Fastwebsockets => fastwebsockets(task, &batch),
            Self::Tungstenite => tungstenite(task, batch),
            Self::TokioWebsockets => tokio_websockets(task, batch),
        }
    }
}

/// Writes as the socket does: large payloads are passed on without a copy.
struct Sink {
    buffer: BytesMut,
    drain: Drain,
}

impl Sink {
    fn flush(&mut self) {
        self.drain.copy(&self.buffer);
        self.buffer.clear();
    }
}

impl Output for Sink {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn append(&mut self, payload: Bytes) {
        // Keeps the order: what was buffered before the payload is written first.
        self.flush();
        self.drain.copy(&payload);
    }
}

fn h2ws(task: Task, batch: Batch) -> Work {
    let role = if task.client() {
        frame::Role::Client
    } else {
        frame::Role::Server
    };
    // The peers send each message as one frame.
    let limits = Limits::default().fragment_size(usize::MAX);
    let mut protocol = Protocol::new(role, limits);
    if task.decodes() {
        let frames = batch.frames(task.masked());
        let mut reader = BytesMut::new();
        return Box::new(move || {
            let mut total = 0;
            if batch.idles {
                reader = BytesMut::new();
            }
            for chunk in frames.chunks(CHUNK) {
                // The peers also copy what they read.
                reader.reserve(chunk.len());
                reader.extend_from_slice(chunk);
                let mut chunk = reader.split().freeze();
                while let Some(event) = protocol.receive(&mut chunk).expect("valid") {
                    let Event::Message(message) = event else {
                        panic!("not a message");
                    };
                    total += message.len();
                }
            }
            total
        });
    }
    let message = if batch.kind == Kind::Binary {
        h2ws::Message::binary(batch.payload)
    } else {
        h2ws::Message::text(h2ws::Text::try_from(batch.payload).expect("text"))
    };
    let mut sink = Sink {
        buffer: BytesMut::new(),
        drain: Drain::new(),
    };
    Box::new(move || {
        sink.drain.written = 0;
        for _ in 0..batch.count {
            // The random generator that two of the peers use. The socket uses the system's,
            // buffered.
            protocol
                .send(message.clone(), rand::random, &mut sink)
                .expect("open");
            if sink.buffer.len() >= CHUNK {
                sink.flush();
            }
        }
        sink.flush();
        if batch.idles {
            sink.buffer = BytesMut::new();
        }
        sink.drain.written
    })
}

/// Polls a future whose I/O is always ready.
fn poll_once<T>(future: impl Future<Output = T>) -> T {
    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("memory is always ready"),
    }
}

fn fastwebsockets(task: Task, batch: &Batch) -> Work {
    use fastwebsockets::{Frame, Payload, Role, WebSocket};
    let role = if task.client() {
        Role::Client
    } else {
        Role::Server
    };
    let (kind, count) = (batch.kind, batch.count);
    let memory = Memory::new(batch.frames(task.masked()));
    if task.decodes() {
        let mut socket = WebSocket::after_handshake(memory, role);
        return Box::new(move || {
            poll_once(async {
                let mut total = 0;
                for _ in 0..count {
                    total += socket.read_frame().await.expect("valid").payload.len();
                }
                total
            })
        });
    }
    // A frame borrows its payload for as long as the socket lives, so the payload is leaked, once.
    let payload: &'static [u8] = batch.payload.to_vec().leak();
    // The socket does not expose how much it wrote.
    let len = frame_len(batch, task.masked());
    let mut socket = WebSocket::after_handshake(memory, role);
    Box::new(move || {
        poll_once(async {
            for _ in 0..count {
                let payload = Payload::Borrowed(payload);
                let frame = if kind == Kind::Binary {
                    Frame::binary(payload)
                } else {
                    Frame::text(payload)
                };
                socket.write_frame(frame).await.expect("open");
            }
        });
        count * len
    })
}

/// Returns the length of one frame of the batch in bytes, including its header.
pub(crate) fn frame_len(batch: &Batch, masked: bool) -> usize {
    batch.frames(masked).len() / batch.count
}

fn tungstenite(task: Task, batch: Batch) -> Work {
    use tungstenite::protocol::{Message, Role, WebSocket};
    let role = if task.client() {
        Role::Client
    } else {
        Role::Server
    };
    let memory = Memory::new(batch.frames(task.masked()));
    let mut socket = WebSocket::from_raw_socket(memory, role, None);
    if task.decodes() {
        return Box::new(move || {
            (0..batch.count)
                .map(|_| socket.read().expect("valid").len())
                .sum()
        });
    }
    let message = if batch.kind == Kind::Binary {
        Message::Binary(batch.payload)
    } else {
        Message::Text(batch.payload.try_into().expect("text"))
    };
    Box::new(move || {
        socket.get_mut().drain.written = 0;
        for _ in 0..batch.count {
            socket.write(message.clone()).expect("open");
        }
        socket.flush().expect("open");
        socket.get_ref().drain.written
    })
}

fn tokio_websockets(task: Task, batch: Batch) -> Work {
    use tokio_websockets::{ClientBuilder, Config, Limits, Message, ServerBuilder};
    let memory = Memory::new(batch.frames(task.masked()));
    let config = Config::default().frame_size(usize::MAX);
    let limits = Limits::unlimited();
    let mut socket = if task.client() {
        let builder = ClientBuilder::new().config(config).limits(limits);
        builder.take_over(memory)
    } else {
        let builder = ServerBuilder::new().config(config).limits(limits);
        builder.serve(memory)
    };
    if task.decodes() {
        return Box::new(move || {
            poll_once(async {
                let mut total = 0;
                for _ in 0..batch.count {
                    let message = socket.next().await.expect("endless").expect("valid");
                    total += message.as_payload().len();
                }
                total
            })
        });
    }
    let message = if batch.kind == Kind::Binary {
        Message::binary(batch.payload)
    } else {
        Message::text(batch.payload)
    };
    Box::new(move || {
        socket.get_mut().drain.written = 0;
        poll_once(async {
            for _ in 0..batch.count {
                socket.feed(message.clone()).await.expect("open");
            }
            socket.flush().await.expect("open");
        });
        socket.get_ref().drain.written
    })
}
