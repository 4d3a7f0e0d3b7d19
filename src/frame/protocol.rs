//! The state of one endpoint: what it receives, what it must answer, and what it may send.

mod closing;

use bytes::Bytes;

use self::closing::Closing;
use super::Role;
use super::decoder::Decoder;
use super::deflate::{Compressor, Deflate};
use super::encoder::{Frame, Output};
use super::error::{ProtocolError, SendError};
use super::header::{MAX_CONTROL, OpCode};
use super::limits::Limits;
use super::message::{Event, Message};
use super::prepared::PreparedMessage;

/// The state of one endpoint. See the [module](super) for an example.
///
/// Pass received bytes to [`receive`](Self::receive), and call [`write`](Self::write) whenever the
/// endpoint [has a pending control frame](Self::has_pending_control) or [pending fragments](Self::has_pending). It never
/// waits. The caller decides when to write, so that the back-pressure of the transport bounds the
/// buffers.
#[derive(Debug)]
pub struct Protocol {
    decoder: Decoder,
    /// The payload of the latest unanswered ping; RFC 6455 §5.5.3 allows skipping earlier ones.
    /// Boxed to take one word while no pong is due.
    pong: Option<Box<Bytes>>,
    pending: Option<Box<Pending>>,
    /// Present if permessage-deflate (RFC 7692) was negotiated.
    compressor: Option<Box<Compressor>>,
    closing: Option<Box<Closing>>,
}

/// The part of a message that has not been sent yet.
#[derive(Debug)]
struct Pending {
    opcode: OpCode,
    rest: Bytes,
    /// Whether the memory of `rest` is not shared. A message sent on many connections is in memory
    /// once, so none of them accounts for it.
    own: bool,
    /// Whether each frame has yet to be compressed.
    compressed: bool,
}

impl Pending {
    /// Removes and returns the next frame.
    fn next(&mut self, size: usize, compressor: Option<&mut Compressor>) -> Frame {
        let piece = cut(&mut self.rest, size);
        let opcode = std::mem::replace(&mut self.opcode, OpCode::Continuation);
        let fin = self.rest.is_empty();
        let payload = match compressor {
            Some(compressor) if self.compressed => compressor.compress_next(&piece, fin),
            _ => piece,
        };
        Frame {
            fin,
            rsv1: false,
            opcode,
            payload,
        }
    }
}

/// Removes the next `size` bytes, or all if there are fewer; a size of zero counts as one, so that
/// sending comes to an end.
fn cut(rest: &mut Bytes, size: usize) -> Bytes {
    rest.split_to(size.max(1).min(rest.len()))
}

impl Protocol {
    /// Creates the state of a connection that has just been opened.
    #[must_use]
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(role, limits),
            pong: None,
            pending: None,
            compressor: None,
            closing: None,
        }
    }

    /// Creates the state of a connection that has just been opened with permessage-deflate
    /// (RFC 7692).
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use h2ws::frame::{Deflate, Event, Protocol, Role};
    /// use h2ws::{Limits, Message};
    ///
    /// let deflate = Deflate::default();
    /// let mut server = Protocol::with_deflate(Role::Server, Limits::default(), deflate);
    /// let mut client = Protocol::with_deflate(Role::Client, Limits::default(), deflate);
    /// let mut wire = BytesMut::new();
    /// let message = Message::text("row, row, row your boat, ".repeat(100));
    /// server.send(message.clone(), || unreachable!("a server does not mask"), &mut wire)?;
    /// assert!(wire.len() < 100);
    /// assert_eq!(client.receive(&mut wire.freeze())?, Some(Event::Message(message)));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(role: Role, limits: Limits, deflate: Deflate) -> Self {
        Self {
            decoder: Decoder::with_deflate(role, limits, &deflate),
            compressor: Some(Box::new(Compressor::new(deflate))),
            ..Self::new(role, limits)
        }
    }

    /// Returns which end of the connection this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.decoder.role()
    }

    /// Returns the limits that it was created with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        self.decoder.limits()
    }

    /// Returns the parameters of permessage-deflate, if it was negotiated.
    #[must_use]
    pub fn deflate(&self) -> Option<&Deflate> {
        Some(self.compressor.as_ref()?.settings())
    }

    /// Frees the memory that the compressor keeps from message to message (RFC 7692 §7.1.1). The
    /// next message is compressed without references to earlier ones. Does nothing while a message
    /// [is pending](Self::has_pending).
    pub fn free_compressor(&mut self) {
        if self.pending.is_none()
            && let Some(compressor) = &mut self.compressor
        {
            compressor.release();
        }
    }

    /// Returns whether messages can be sent: neither side has begun to close, and the peer has not
    /// violated the protocol.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// Returns whether fragments of a message wait for [`write`](Self::write).
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns whether a pong or a Close frame waits for [`write`](Self::write).
    #[must_use]
    pub fn has_pending_control(&self) -> bool {
        self.pong.is_some() || self.closing.as_ref().is_some_and(|closing| !closing.sent)
    }

    /// Decodes the next event and removes its bytes from the front of `input`; returns `None` once
    /// `input` is used up.
    ///
    /// A ping makes a pong due, in place of one that is due already. A Close frame makes a Close
    /// frame with the same code due, unless one was sent, and drops pending fragments. Bytes after
    /// the peer's Close frame are ignored (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// A violation of the protocol or of a limit by the peer. A Close frame with the matching code
    /// is due then, and all further calls return the same error.
    #[inline]
    pub fn receive(&mut self, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        match self.receive_whole(input) {
            Some(message) => Ok(Some(Event::Message(message))),
            None => self.receive_with(input, Decoder::decode_any),
        }
    }

    /// Decodes a message that lies complete at the front of `input`, and otherwise removes nothing.
    /// Cheaper than [`receive`](Self::receive), which handles everything else.
    #[inline]
    pub(crate) fn receive_whole(&self, input: &mut Bytes) -> Option<Message> {
        match self.closing {
            None => self.decoder.whole(input),
            Some(_) => None,
        }
    }

    /// Like [`receive`](Self::receive), but it may pause before `input` is used up; it continues
    /// once work has been [deducted](Self::deduct_work).
    #[inline(never)]
    pub(crate) fn receive_some(
        &mut self,
        input: &mut Bytes,
    ) -> Result<Option<Event>, ProtocolError> {
        self.receive_with(input, Decoder::decode_some)
    }

    #[inline]
    fn receive_with(
        &mut self,
        input: &mut Bytes,
        decode: impl FnOnce(&mut Decoder, &mut Bytes) -> Result<Option<Event>, ProtocolError>,
    ) -> Result<Option<Event>, ProtocolError> {
        if let Some(closing) = &self.closing {
            if let Some(error) = &closing.error {
                return Err(error.clone());
            }
            if closing.theirs.is_some() {
                input.clear();
                return Ok(None);
            }
        }
        let event = decode(&mut self.decoder, input);
        match &event {
            Ok(Some(Event::Ping(payload))) => self.received_ping(payload),
            Ok(Some(Event::Close(frame))) => self.received_close_frame(frame),
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        event
    }

    /// Sends a message; a Close frame as [`close`](Self::close) does.
    ///
    /// Of a message longer than [`Limits::fragment_size`], only the first frame is written;
    /// [`write`](Self::write) writes the others. Pings and pongs may be sent in between.
    ///
    /// `key` returns a fresh, unpredictable masking key for each frame (RFC 6455 §5.3). It is not
    /// called for a server.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Busy`] while an earlier message
    /// [is pending](Self::has_pending), [`SendError::ControlTooLong`] or
    /// [`SendError::InvalidCloseFrame`]. Nothing is written then.
    #[inline]
    pub fn send(
        &mut self,
        message: Message,
        mut key: impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) -> Result<(), SendError> {
        if self.closing.is_some() {
            return Err(SendError::Closed);
        }
        let opcode = message.opcode();
        if opcode.is_control() {
            return self.send_control(message, &mut key, out);
        }
        let payload = message.into_data();
        if self.pending.is_some() {
            return Err(SendError::Busy);
        } else if self.compressor.is_some() {
            self.send_deflated(opcode, payload, &mut key, out);
            return Ok(());
        }
        self.send_plain(opcode, payload, &mut key, out);
        Ok(())
    }

    #[inline(never)]
    fn send_control(
        &mut self,
        message: Message,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) -> Result<(), SendError> {
        let opcode = message.opcode();
        let payload = match message {
            Message::Close(frame) => return self.close(frame, key, out),
            message => message.into_data(),
        };
        if payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong);
        }
        Frame::whole(opcode, payload).write(self.role(), key, out);
        Ok(())
    }

    /// Sends a [prepared message](PreparedMessage), as [`send`](Self::send) does, but in one frame
    /// regardless of [`Limits::fragment_size`]: its memory is shared, so fragments would save none.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_prepared(
        &mut self,
        message: &PreparedMessage,
        mut key: impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) -> Result<(), SendError> {
        let opcode = message.opcode();
        if self.closing.is_some() {
            return Err(SendError::Closed);
        }
        if !opcode.is_control() && self.pending.is_some() {
            return Err(SendError::Busy);
        }
        let form = message.form(self.compressor.as_deref_mut());
        form.write(self.role(), &mut key, out);
        Ok(())
    }

    /// Drops the fragments that [are pending](Self::has_pending). The message stays incomplete, so
    /// only a Close frame may follow, which is allowed between fragments (RFC 6455 §5.4).
    pub(crate) fn abandon(&mut self) {
        self.pending = None;
    }

    /// Returns whether [`receive_some`](Self::receive_some) paused after the last byte of a frame:
    /// it can continue without input.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.decoder.has_more()
    }

    /// Returns the cost of compressing and inflating that has not been
    /// [deducted](Self::deduct_work) yet, as an equivalent number of bytes.
    #[inline]
    pub(crate) fn work(&mut self) -> usize {
        let inflating = self.decoder.work().map_or(0, |work| work.get());
        let compressing = self.compressor.as_mut().map_or(0, |c| c.work().get());
        inflating + compressing
    }

    /// Deducts from the [work](Self::work) done so far.
    pub(crate) fn deduct_work(&mut self, mut work: usize) {
        if let Some(inflating) = self.decoder.work() {
            work -= inflating.deduct(work);
        }
        if let Some(compressor) = &mut self.compressor {
            compressor.work().deduct(work);
        }
    }

    /// Returns the memory that incomplete messages take, in bytes: of the one being received, and
    /// of the rest of the one being sent, unless that is shared.
    pub(crate) fn held(&self) -> usize {
        let own = self.pending.as_ref().filter(|pending| pending.own);
        self.decoder.held() + own.map_or(0, |pending| pending.rest.len())
    }

    /// Frees the memory of the incomplete message being received. Nothing may be received after.
    pub(crate) fn discard_received(&mut self) {
        self.decoder.discard();
    }

    /// Sends a message uncompressed.
    #[inline]
    fn send_plain(
        &mut self,
        opcode: OpCode,
        payload: Bytes,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) {
        if payload.len() > self.limits().fragment_size {
            self.pending = Some(Box::new(Pending {
                opcode,
                own: payload.is_unique(),
                rest: payload,
                compressed: false,
            }));
            self.write_fragment(key, out);
            return;
        }
        Frame::whole(opcode, payload).write(self.role(), key, out);
    }

    /// Sends a message compressed, or uncompressed if that is better.
    // Not inlined, and by value: otherwise it slows down `send` without compression.
    #[inline(never)]
    fn send_deflated(
        &mut self,
        opcode: OpCode,
        payload: Bytes,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) {
        if !self.send_compressed(opcode, &payload, key, out) {
            self.send_plain(opcode, payload, key, out);
        }
    }

    /// Writes the first frame of a compressed message. Returns false, having done nothing, if the
    /// message is better sent uncompressed. Each frame is compressed only when it is written, so
    /// that a long message neither blocks the thread nor takes memory all at once.
    fn send_compressed(
        &mut self,
        opcode: OpCode,
        payload: &Bytes,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) -> bool {
        let (role, size) = (self.role(), self.limits().fragment_size);
        let own = payload.is_unique();
        let Some(compressor) = &mut self.compressor else {
            return false;
        };
        if !compressor.wants(payload.len()) {
            return false;
        }
        let mut rest = payload.clone();
        let piece = cut(&mut rest, size);
        let Some(compressed) = compressor.compress_first(&piece, payload.len()) else {
            return false;
        };
        let frame = Frame {
            fin: rest.is_empty(),
            rsv1: true,
            opcode,
            payload: compressed,
        };
        if !frame.fin {
            self.pending = Some(Box::new(Pending {
                opcode: OpCode::Continuation,
                rest,
                own,
                compressed: true,
            }));
        }
        frame.write(role, key, out);
        true
    }

    /// Writes the control frames that are due and at most one pending fragment. Returns whether
    /// there was anything to write: call it until it returns false, as the transport accepts bytes.
    ///
    /// `key` is as for [`send`](Self::send).
    pub fn write(&mut self, mut key: impl FnMut() -> [u8; 4], out: &mut impl Output) -> bool {
        let mut wrote = false;
        if let Some(payload) = self.pong.take() {
            Frame::whole(OpCode::Pong, *payload).write(self.role(), &mut key, out);
            wrote = true;
        }
        wrote |= self.write_fragment(&mut key, out);
        if self.pending.is_none() {
            wrote |= self.write_close(&mut key, out);
        }
        wrote
    }

    #[inline(never)]
    fn write_fragment(&mut self, key: &mut impl FnMut() -> [u8; 4], out: &mut impl Output) -> bool {
        let (role, size) = (self.role(), self.limits().fragment_size);
        let Some(pending) = &mut self.pending else {
            return false;
        };
        let frame = pending.next(size, self.compressor.as_deref_mut());
        if frame.fin {
            self.pending = None;
        }
        frame.write(role, key, out);
        true
    }

    fn received_ping(&mut self, payload: &Bytes) {
        // Nothing may follow our Close frame (RFC 6455 §1.4).
        if !self.close_sent() {
            self.pong = Some(Box::new(payload.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
