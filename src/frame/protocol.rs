//! One endpoint of a connection: what arrives, what is owed for it, and what may be sent.

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
/// Feed it with [`receive`](Self::receive) whatever arrives, and call [`write`](Self::write)
/// whenever it [`owes`](Self::owes) an answer or [has](Self::has_pending) fragments to send. It
/// never waits: when to write is the caller's choice, so that the transport's back-pressure
/// bounds the buffers.
#[derive(Debug)]
pub struct Protocol {
    decoder: Decoder,
    /// The payload of the latest ping, not answered yet (RFC 6455 §5.5.3 lets the others go).
    // A pointer while nothing is owed.
    pong: Option<Box<Bytes>>,
    pending: Option<Box<Pending>>,
    /// Present where permessage-deflate is in use (RFC 7692).
    compressor: Option<Box<Compressor>>,
    closing: Option<Box<Closing>>,
}

/// What is left to send of a message.
#[derive(Debug)]
struct Pending {
    opcode: OpCode,
    rest: Bytes,
    /// Whether nobody else holds it: a message to many sockets is in memory once.
    #[cfg_attr(
        not(feature = "net"),
        expect(dead_code, reason = "asked for by sockets")
    )]
    own: bool,
    /// Whether each frame is still to be compressed.
    compressed: bool,
}

impl Pending {
    /// Cuts off the next frame.
    fn next(&mut self, size: usize, compressor: Option<&mut Compressor>) -> Frame {
        let piece = cut(&mut self.rest, size);
        let opcode = std::mem::replace(&mut self.opcode, OpCode::Continuation);
        let fin = self.rest.is_empty();
        let payload = match compressor {
            Some(compressor) if self.compressed => compressor.go_on(&piece, fin),
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

/// The next `size` bytes, or what is left; at least one, so that it comes to an end.
fn cut(rest: &mut Bytes, size: usize) -> Bytes {
    rest.split_to(size.max(1).min(rest.len()))
}

impl Protocol {
    /// A connection that has just been opened.
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

    /// A connection that has just been opened with permessage-deflate (RFC 7692).
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

    /// Which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.decoder.role()
    }

    /// The limits it was made with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        self.decoder.limits()
    }

    /// How messages are compressed, where they are.
    #[must_use]
    pub fn deflate(&self) -> Option<&Deflate> {
        Some(self.compressor.as_ref()?.settings())
    }

    /// Gives back the memory of a compressor that is kept for the next message (RFC 7692 §7.1.1),
    /// which is then compressed without regard to earlier ones. Does nothing while a message
    /// [is pending](Self::has_pending).
    pub fn free_compressor(&mut self) {
        if self.pending.is_none()
            && let Some(compressor) = &mut self.compressor
        {
            compressor.forget();
        }
    }

    /// Whether messages can be sent: nobody has begun to close, and the peer kept to the protocol.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// Whether fragments of a message wait for [`write`](Self::write).
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether a pong or a Close frame waits for [`write`](Self::write).
    #[must_use]
    pub fn owes(&self) -> bool {
        self.pong.is_some() || self.closing.as_ref().is_some_and(|closing| !closing.sent)
    }

    /// Takes from the front of `input` up to the end of the next event; `None` when `input` is
    /// used up.
    ///
    /// For a ping it comes to owe a pong, in place of one that is owed already; for a Close frame
    /// it owes one with the same code, if none was sent, and what was pending is dropped. What
    /// comes after the peer's Close frame is ignored (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// What the peer did wrong. A Close frame that says so is owed then, and all further calls
    /// return the same error.
    #[inline]
    pub fn receive(&mut self, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        match self.receive_whole(input) {
            Some(message) => Ok(Some(Event::Message(message))),
            None => self.receive_with(input, Decoder::decode_any),
        }
    }

    /// Takes a message that lies whole at the front of `input`, where nothing else is to be done;
    /// takes nothing otherwise.
    #[inline]
    pub(crate) fn receive_whole(&self, input: &mut Bytes) -> Option<Message> {
        match self.closing {
            None => self.decoder.whole(input),
            Some(_) => None,
        }
    }

    /// As [`receive`](Self::receive), but it may stop before `input` is used up, and does nothing
    /// more until it was [paid](Self::pay) for.
    #[cfg(feature = "net")]
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

    /// Sends a message: a short one whole; of one longer than [`Limits::fragment_size`] the first
    /// frame, the others being left to [`write`](Self::write). Pings and pongs may come between.
    ///
    /// `key` gives a fresh, unpredictable masking key per frame (RFC 6455 §5.3); a server does not
    /// call it.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Busy`] while an earlier message
    /// [is pending](Self::has_pending), [`SendError::ControlTooLong`]. Nothing is written then.
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
        let payload = message.into_data();
        if opcode.is_control() {
            if payload.len() > MAX_CONTROL {
                return Err(SendError::ControlTooLong);
            }
        } else if self.pending.is_some() {
            return Err(SendError::Busy);
        } else if self.compressor.is_some() {
            self.send_deflated(opcode, payload, &mut key, out);
            return Ok(());
        }
        self.send_plain(opcode, payload, &mut key, out);
        Ok(())
    }

    /// Sends a message that was [prepared](PreparedMessage); as [`send`](Self::send), but whole, whatever [`Limits::fragment_size`]: nothing is won by holding back what is shared.
    ///
    /// # Errors
    /// As [`send`](Self::send).
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

    /// Forgets the fragments that [are pending](Self::has_pending). The message stays cut, so all
    /// that may follow is a Close frame, which may stand there (RFC 6455 §5.4).
    #[cfg(any(feature = "net", test))]
    pub(crate) fn abandon(&mut self) {
        self.pending = None;
    }

    /// Whether [`receive_some`](Self::receive_some) stopped behind the last bytes of a frame, which
    /// it goes on with although nothing more has come.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.decoder.has_more()
    }

    /// What compressing and inflating have cost since it was [paid](Self::pay) for, as the number
    /// of bytes that would cost as much.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn work(&mut self) -> usize {
        let inflating = self.decoder.work().map_or(0, |work| work.get());
        let compressing = self.compressor.as_mut().map_or(0, |c| c.work().get());
        inflating + compressing
    }

    /// Takes some of the [work](Self::work) off.
    #[cfg(feature = "net")]
    pub(crate) fn pay(&mut self, mut work: usize) {
        if let Some(inflating) = self.decoder.work() {
            work -= inflating.pay(work);
        }
        if let Some(compressor) = &mut self.compressor {
            compressor.work().pay(work);
        }
    }

    /// How much memory messages take that are not complete yet, in bytes: one that arrives, and
    /// what is left of one that leaves, unless others hold it as well.
    #[cfg(feature = "net")]
    pub(crate) fn held(&self) -> usize {
        let own = self.pending.as_ref().filter(|pending| pending.own);
        self.decoder.held() + own.map_or(0, |pending| pending.rest.len())
    }

    /// Gives back the memory of a message that is not complete, of which no more is read.
    #[cfg(feature = "net")]
    pub(crate) fn forget_received(&mut self) {
        self.decoder.forget();
    }

    /// Sends a message as it is.
    #[inline]
    fn send_plain(
        &mut self,
        opcode: OpCode,
        payload: Bytes,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) {
        if !opcode.is_control() && payload.len() > self.limits().fragment_size {
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

    /// Sends a message compressed, unless it had better go as it is.
    // Not inlined, and by value: sockets without compression would pay for it.
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

    /// The first frame of a compressed message; false, and nothing is done, if it had better go as
    /// it is. Each frame is compressed when it is its turn: a long message takes neither the
    /// thread nor memory all at once.
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
        let Some(compressed) = compressor.begin(&piece, payload.len()) else {
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

    /// Writes the control frames that are owed, and at most one pending fragment; tells whether
    /// there was anything to write. Call it until it returns false, as the transport takes bytes.
    ///
    /// `key` is as in [`send`](Self::send).
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
        // After our Close frame nothing may follow it (RFC 6455 §1.4).
        if !self.close_sent() {
            self.pong = Some(Box::new(payload.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
