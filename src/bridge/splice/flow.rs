//! One direction of a splice.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::bridge::access::Traffic;
use crate::bridge::frame_boundaries::FrameBoundaries;
use crate::bridge::idle::IdleTimer;
use crate::bridge::own_pongs::OwnPongs;
use crate::frame::Role;
use crate::transport::{Stream, StreamError};

/// Chunks shorter than this, in bytes, are copied into one buffer: memory held
/// for a slow reader stays close to the number of bytes, and many chunks are
/// written at once.
const MAX_COPIED: usize = 8 * 1024;

/// Moves bytes from one stream, the sender's, to the other, the receiver's.
pub(super) struct Flow {
    pub(super) frames: FrameBoundaries,
    pub(super) state: FlowState,
    pub(super) bytes: u64,
    /// Whether bytes have been written and not flushed.
    pub(super) needs_flush: bool,
    /// The receiver's stream broke. The sender is still read, but only for its
    /// Close frame.
    pub(super) receiver_gone: bool,
    pub(super) after_close: AfterClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowState {
    Open,
    /// The sender ended without a Close frame; the receiver's stream is still to
    /// be ended.
    Ending,
    Ended,
    /// The Close frame has been forwarded.
    Closed,
}

/// How the sender's stream ended after its Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterClose {
    NotYet,
    Ended,
    Broken,
}

/// Why a flow stopped moving bytes for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The sender has nothing to read.
    All,
    /// The receiver has no room.
    WaitsForRoom,
}

/// A stream that broke.
pub(super) enum Broken {
    Sender(StreamError),
    Receiver(StreamError),
}

impl Flow {
    pub(super) fn new(sender: Role) -> Self {
        Self {
            frames: FrameBoundaries::new(sender),
            state: FlowState::Open,
            bytes: 0,
            needs_flush: false,
            receiver_gone: false,
            after_close: AfterClose::NotYet,
        }
    }

    /// What was moved so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            messages: self.frames.messages(),
            bytes: self.bytes,
        }
    }

    /// Whether the sender's end has been passed on to the receiver.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, FlowState::Ended | FlowState::Closed)
    }

    /// Moves the bytes that can be read, as far as the receiver has room, except for
    /// `pongs`.
    pub(super) fn poll_move(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        mut pongs: Option<&mut OwnPongs>,
        idle: &mut IdleTimer,
        cx: &mut Context<'_>,
    ) -> Result<Moved, Broken> {
        while self.state == FlowState::Open {
            if !self.receiver_gone {
                match to.poll_room(cx) {
                    Poll::Ready(room) => room.map_err(Broken::Receiver)?,
                    Poll::Pending => return Ok(Moved::WaitsForRoom),
                }
            }
            // One unit of the task's budget per chunk: a busy WebSocket must not
            // starve others.
            let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) else {
                break;
            };
            let Poll::Ready(chunk) = from.poll_chunk(cx) else {
                break;
            };
            budget.made_progress();
            match chunk.map_err(Broken::Sender)? {
                Some(chunk) => {
                    let before = self.bytes;
                    match &mut pongs {
                        None => self.forward(chunk, to),
                        Some(pongs) => self.forward_without(pongs, chunk, to),
                    }
                    // Bytes without a receiver do not keep the WebSocket open.
                    if !self.receiver_gone && self.bytes != before {
                        idle.note_progress();
                    }
                }
                None => {
                    if let Some(pongs) = &mut pongs {
                        self.write(pongs.release(), to);
                    }
                    self.state = FlowState::Ending;
                }
            }
        }
        Ok(Moved::All)
    }

    /// Reads and discards what follows the sender's Close frame, to find the end
    /// of its stream. A peer may stop reading while its own writes are not read.
    /// Returns whether the end was found just now.
    pub(super) fn poll_after_close(&mut self, from: &mut Stream, cx: &mut Context<'_>) -> bool {
        while self.state == FlowState::Closed && self.after_close == AfterClose::NotYet {
            let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) else {
                return false;
            };
            let Poll::Ready(chunk) = from.poll_chunk(cx) else {
                return false;
            };
            budget.made_progress();
            self.after_close = match chunk {
                Ok(Some(_)) => continue,
                Ok(None) => AfterClose::Ended,
                Err(_) => AfterClose::Broken,
            };
            return true;
        }
        false
    }

    fn forward(&mut self, mut chunk: Bytes, to: &mut Stream) {
        chunk.truncate(self.frames.advance(&chunk));
        self.write(chunk, to);
        if self.frames.is_closed() {
            self.state = FlowState::Closed;
        }
    }

    /// Forwards what is not an answer to the bridge's own Pings.
    fn forward_without(&mut self, pongs: &mut OwnPongs, chunk: Bytes, to: &mut Stream) {
        let mut frames = std::mem::replace(&mut self.frames, FrameBoundaries::new(Role::Client));
        pongs.remove(&mut frames, chunk, |bytes| self.write(bytes, to));
        self.frames = frames;
        if self.frames.is_closed() {
            self.state = FlowState::Closed;
        }
    }

    fn write(&mut self, chunk: Bytes, to: &mut Stream) {
        self.bytes += chunk.len() as u64;
        if self.receiver_gone || chunk.is_empty() {
            return;
        }
        self.needs_flush = true;
        to.write(|out| {
            if chunk.len() < MAX_COPIED {
                out.expect(chunk.len());
                out.buffer().extend_from_slice(&chunk);
            } else {
                out.append(chunk);
            }
        });
    }

    /// Flushes what was moved, and then the sender's end.
    pub(super) fn poll_out(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.receiver_gone {
            if self.state == FlowState::Ending {
                self.state = FlowState::Ended;
            }
            return Ok(());
        }
        if self.state == FlowState::Ending {
            if let Poll::Ready(ended) = to.poll_end(cx) {
                ended.map_err(Broken::Receiver)?;
                self.state = FlowState::Ended;
            }
        } else if self.needs_flush
            && let Poll::Ready(flushed) = to.poll_flush(cx)
        {
            flushed.map_err(Broken::Receiver)?;
            self.needs_flush = false;
        }
        Ok(())
    }
}
