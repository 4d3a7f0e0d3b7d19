//! The state of a stream: what was received, what waits to be sent, and how the
//! stream ends.

use std::sync::Arc;
use std::task::{Context, Poll};

use h2::{Reason, RecvStream, SendStream};
use tokio::time::Instant;

use super::Shared;
use super::send_buf::SendBuf;
use super::waiters::Waiters;
use crate::clock::later;
use crate::sync::atomic::Ordering;
use crate::transport::buffer::{Incoming, Outgoing};
use crate::transport::h2::handle::ConnectionHandle;
use crate::transport::h2::recv_memory::Share;
use crate::transport::h2::send_quota::SendQuota;
use crate::transport::h2::short_frames::ShortFrameBudget;
use crate::transport::{Finish, StreamError};

/// Maximum number of bytes of one stream that `h2` holds. More would not be
/// sent sooner, and what still waits here can be packed into fewer frames.
pub(super) const QUEUED: u32 = 128 * 1024;

/// Size of one piece, in bytes: the maximum that other streams wait for, plus a
/// frame.
pub(super) const PIECE: usize = 64 * 1024;

/// Number of written bytes that are handed over without a flush.
pub(super) const EAGER: usize = 16 * 1024;

/// The handles of both directions of the stream in `h2`.
pub(in crate::transport::h2) struct Handles {
    pub(super) send: SendStream<SendBuf>,
    /// `None` until the peer has responded.
    pub(super) recv: Option<RecvStream>,
}

/// The state of a stream. It exists once per WebSocket, so what is unused for
/// most of a WebSocket's life is boxed.
pub(super) struct State {
    /// `None` once the stream is over.
    pub(super) handles: Option<Handles>,
    pub(super) incoming: Incoming,
    pub(super) share: Share,
    pub(super) outgoing: Outgoing,
    /// Present once an end is in sight.
    pub(super) ending: Option<Box<Ending>>,
    /// Bytes that the application has taken and that were not returned to the
    /// peer's window; a window at most.
    pub(super) unreleased: u32,
    pub(super) end: End,
    /// Whether the reader also waits for room to write.
    pub(super) reader_wants_room: bool,
    pub(super) waiters: Waiters,
}

/// How a stream ends, as far as it is known.
#[derive(Default)]
pub(super) struct Ending {
    /// The peer's end: orderly, or an error. Bytes received before it are read
    /// first.
    pub(super) received: Option<Result<(), StreamError>>,
    /// The peer's END_STREAM came in a frame of its own.
    pub(super) alone: bool,
    /// A reset after the peer's END_STREAM. What was received is complete, but
    /// nothing that is sent will be read.
    pub(super) broken: Option<StreamError>,
    /// Selected for closing because the connection's streams hold too much.
    pub(super) overloaded: bool,
    pub(super) finish: Option<Finish>,
    /// Whether everything that was queued when the stream was released has been
    /// sent.
    pub(super) left: bool,
    /// When a released stream must be over.
    pub(super) until: Option<Instant>,
}

/// The state of our END_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Wanted,
    Sent,
}

/// The connection-wide limits on what `h2` is given.
pub(in crate::transport::h2) struct Bounds<'a> {
    pub(in crate::transport::h2) budget: &'a mut ShortFrameBudget,
    pub(in crate::transport::h2) quota: &'a mut SendQuota,
}

/// The outcome of handing data to `h2`.
#[derive(PartialEq, Eq)]
pub(super) enum Fed {
    /// `h2` has as much as it should have now.
    Enough,
    /// The short-frame budget held something back.
    Held,
    /// The send quota held something back.
    Queues,
}

impl State {
    pub(super) fn ending(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    pub(super) fn received_end(&self) -> Option<&Result<(), StreamError>> {
        self.ending.as_ref()?.received.as_ref()
    }

    /// Records how the peer ended, unless that is known.
    pub(super) fn received(&mut self, end: Result<(), StreamError>) {
        self.ending().received.get_or_insert(end);
    }

    /// Returns why nothing that is written will arrive any more.
    pub(super) fn broken(&self) -> Option<&StreamError> {
        let ending = self.ending.as_ref()?;
        match (&ending.broken, &ending.received) {
            (Some(error), _) | (None, Some(Err(error))) => Some(error),
            _ => None,
        }
    }

    /// Returns the memory of all unsent bytes, including those that `h2` holds.
    pub(super) fn unsent(&self, stream: &Shared) -> usize {
        self.outgoing.held() + stream.queued.load(Ordering::Relaxed) as usize
    }

    /// Updates the bytes that the stream counts for.
    pub(super) fn settle(&mut self, stream: &Shared) {
        let more = self.unsent(stream) + self.incoming.spare();
        self.share
            .settle(&stream.counted, &stream.handle.held, more);
    }

    pub(super) fn is_overloaded(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.overloaded)
    }

    pub(super) fn finish(&self) -> Option<Finish> {
        self.ending.as_ref()?.finish
    }

    /// Takes what `h2` has received. Returns whether there is something new to
    /// read.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, handle: &ConnectionHandle) -> bool {
        let Some(Handles {
            send,
            recv: Some(recv),
        }) = &mut self.handles
        else {
            return false;
        };
        let ending = &mut self.ending;
        let mut news = false;
        while !has_ended(ending) {
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => {
                    // Only END_STREAM arrives in an empty frame.
                    ending.get_or_insert_default().alone = true;
                    continue;
                }
                Poll::Ready(Some(Ok(chunk)))
                    if ending.as_ref().is_some_and(|e| e.discards_input()) =>
                {
                    self.unreleased += chunk.len() as u32;
                    continue;
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    self.share.received(chunk.len());
                    self.incoming.push(chunk);
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = handle.why(error.into());
                    ending.get_or_insert_default().received = Some(Err(error));
                }
                // Trailers are not allowed in a tunnel (RFC 9113 §8.5), so they
                // do not end it in an orderly way.
                Poll::Ready(None) => {
                    let end = match recv.poll_trailers(cx) {
                        Poll::Pending | Poll::Ready(Ok(None)) => Ok(()),
                        Poll::Ready(Ok(Some(_))) => {
                            send.send_reset(Reason::PROTOCOL_ERROR);
                            Err(StreamError::Reset {
                                code: Reason::PROTOCOL_ERROR.into(),
                                by_peer: false,
                            })
                        }
                        Poll::Ready(Err(error)) => Err(handle.why(error.into())),
                    };
                    ending.get_or_insert_default().received = Some(end);
                }
                Poll::Pending => break,
            }
            news = true;
        }
        if let Some(ending) = ending
            && matches!(ending.received, Some(Ok(())))
            && ending.broken.is_none()
            && self.end != End::Sent
        {
            // Reading has ended, so only this reports a reset.
            if let Poll::Ready(reset) = send.poll_reset(cx) {
                let reset = reset.map_or_else(StreamError::from, |reason| StreamError::Reset {
                    code: reason.into(),
                    by_peer: true,
                });
                ending.broken = Some(reset);
                news = true;
            }
        }
        news
    }

    /// Discards what will not be read, and returns its window to the peer.
    pub(super) fn drop_incoming(&mut self) {
        while let Some(chunk) = self.incoming.pop() {
            self.share.taken(chunk.len());
            self.unreleased += chunk.len() as u32;
        }
    }

    pub(super) fn release(&mut self, step: usize) {
        let unreleased = self.unreleased as usize;
        if unreleased >= step
            && let Some(Handles {
                recv: Some(recv), ..
            }) = &mut self.handles
        {
            // Fails only for more than was received.
            let _ = recv.flow_control().release_capacity(unreleased);
            self.unreleased = 0;
        }
    }

    /// Sends END_STREAM if the requested finish has come to that.
    pub(super) fn decide_end(&mut self) {
        let Some(ending) = &self.ending else {
            return;
        };
        match ending.finish {
            Some(Finish::End(_)) if self.end == End::Open => self.end = End::Wanted,
            Some(Finish::Await { end: true, .. })
                if self.end == End::Open && ending.received.is_some() && ending.alone =>
            {
                self.end = End::Wanted;
            }
            _ => {}
        }
    }

    pub(super) fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty() || self.end == End::Wanted
    }

    /// Hands data to `h2` while it holds little; what waits here can be packed
    /// into fewer frames.
    ///
    /// `h2` is not asked for capacity: it holds what the peer's window does not
    /// allow yet, and the pieces report when they are released.
    pub(super) fn feed(
        &mut self,
        stream: &Arc<Shared>,
        bounds: Bounds<'_>,
        woken: &mut Waiters,
    ) -> Fed {
        let fed = self.try_feed(stream, bounds).unwrap_or_else(|error| {
            self.outgoing.clear();
            self.end = End::Sent;
            self.received(Err(error));
            Fed::Enough
        });
        if self.outgoing.len() < stream.handle.write_buffer {
            self.waiters.take_writer(woken);
            if std::mem::take(&mut self.reader_wants_room) {
                self.waiters.take_reader(woken);
            }
        }
        fed
    }

    pub(super) fn try_feed(
        &mut self,
        stream: &Arc<Shared>,
        bounds: Bounds<'_>,
    ) -> Result<Fed, StreamError> {
        let Bounds { budget, quota } = bounds;
        let Some(handles) = &mut self.handles else {
            return Ok(Fed::Enough);
        };
        stream.more.store(false, Ordering::Relaxed);
        let mut portion = quota.portion(self.outgoing.len());
        while !self.outgoing.is_empty() {
            let queued = stream.queued.load(Ordering::Acquire);
            let fits = queued == 0 || (self.outgoing.len() >= EAGER && queued < QUEUED);
            if !fits {
                if stream.list_at_release() == queued {
                    return Ok(Fed::Enough);
                }
                // Released between the two reads.
                continue;
            }
            if portion == 0 {
                return Ok(Fed::Queues);
            }
            let most = portion.min(PIECE);
            if !budget.spend(self.outgoing.next_len(most)) {
                return Ok(Fed::Held);
            }
            let payload = self.outgoing.take(most);
            portion -= payload.len();
            quota.hand(payload.len());
            stream
                .queued
                .fetch_add(payload.held() as u32, Ordering::AcqRel);
            let piece = SendBuf::new(payload, stream.clone());
            handles.send.send_data(piece, false)?;
        }
        if self.end == End::Wanted {
            handles.send.send_data(SendBuf::empty(), true)?;
            self.end = End::Sent;
        }
        Ok(Fed::Enough)
    }

    /// Returns when a released stream must be over: once when it begins to wait
    /// for its queued data to be sent, and once when it begins to wait for the
    /// peer's end.
    pub(super) fn linger(&mut self, stream: &Shared) -> Option<Instant> {
        let ending = self.ending.as_mut()?;
        let (Finish::End(linger) | Finish::Await { linger, .. } | Finish::Reset(linger)) =
            ending.finish?
        else {
            return None;
        };
        if ending.left {
            return None;
        }
        let wants_to_send = !self.outgoing.is_empty() || self.end == End::Wanted;
        ending.left = !wants_to_send && stream.has_left();
        let time = match (ending.left, ending.until) {
            (true, _) => linger.peer,
            (false, None) => linger.unsent,
            (false, Some(_)) => return None,
        };
        ending.until = Some(later(Instant::now(), time));
        ending.until
    }

    pub(super) fn is_over(&mut self, stream: &Shared) -> bool {
        if self.broken().is_some() {
            return true;
        }
        let Some(ending) = &self.ending else {
            return false;
        };
        let Some(handles) = &mut self.handles else {
            return false;
        };
        let peer_ended = ending.received.is_some();
        let cancel = match ending.finish {
            Some(Finish::Cancel) => true,
            // The last bytes, such as the reply to a Close frame, have to be
            // sent first: a reset discards what is queued.
            Some(Finish::Reset(_)) => self.outgoing.is_empty() && stream.has_left(),
            Some(Finish::Await { .. }) if peer_ended && self.end == End::Open => {
                self.outgoing.is_empty() && stream.has_left()
            }
            _ => false,
        };
        // Not before the last bytes were sent. If the peer never accepts them,
        // the stream's time runs out.
        let ended = peer_ended && self.end == End::Sent && stream.has_left();
        if cancel && !ended {
            handles.send.send_reset(Reason::CANCEL);
        }
        cancel || ended
    }
}

impl Ending {
    /// Returns whether received data is discarded.
    pub(super) fn discards_input(&self) -> bool {
        self.finish.is_some() || self.overloaded
    }
}

fn has_ended(ending: &Option<Box<Ending>>) -> bool {
    ending
        .as_ref()
        .is_some_and(|ending| ending.received.is_some())
}
