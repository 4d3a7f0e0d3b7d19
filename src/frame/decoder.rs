//! Decodes chunks of bytes into events (RFC 6455 §5 and §6.2).
//!
//! Two paths lead to the same result. [`Decoder::whole`] takes a message that lies complete and
//! valid at the front of a chunk. Anything else, errors included, is left to
//! [`Decoder::decode_any`], which decodes step by step and can stop after any byte.

use std::mem;

use bytes::{Buf, Bytes};

use super::Role;
use super::assemble::{Assembly, Piece};
use super::close::CloseFrame;
use super::deflate::{Inflater, Work};
use super::error::ProtocolError;
use super::header::{Header, OpCode, Whole};
use super::limits::Limits;
use super::mask;
use super::message::{Event, Message};
use super::text::Text;

/// Adjacent messages shorter than this, in bytes, are unmasked in one allocation.
const SHORT: usize = 1024;

/// Decodes chunks, which may be cut anywhere, into whole messages and control frames.
///
/// A decoder holds no heap memory between messages. A message that a client receives whole within
/// a chunk is a slice of that chunk, not a copy. Short messages that a server receives share one
/// copy of their chunk, or a block of 4 KiB with other messages of the same thread. A small
/// message therefore keeps more memory alive than its own length: copy it to store it for long.
///
/// ```
/// use bytes::Bytes;
/// use h2ws::frame::{Decoder, Event, Role};
/// use h2ws::{Limits, Message};
///
/// let mut decoder = Decoder::new(Role::Client, Limits::default());
/// let mut chunk = Bytes::from_static(b"\x01\x03Hel");
/// assert_eq!(decoder.decode(&mut chunk)?, None);
/// let mut chunk = Bytes::from_static(b"\x80\x02lo");
/// assert_eq!(decoder.decode(&mut chunk)?, Some(Event::Message(Message::text("Hello"))));
/// # Ok::<_, h2ws::frame::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    position: Position,
    /// The payload so far of a control frame that continues in the next chunk.
    #[allow(
        clippy::box_collection,
        reason = "one word while empty, instead of three"
    )]
    control: Option<Box<Vec<u8>>>,
    /// The message that is incomplete so far.
    message: Option<Box<Assembly>>,
    /// Present if permessage-deflate (RFC 7692) was negotiated.
    inflater: Option<Box<Inflater>>,
}

/// The position in the stream at which the last chunk ended.
#[derive(Debug, Clone, Copy)]
enum Position {
    /// Within a header, of which `len` bytes have arrived; 0 between two frames.
    Header {
        head: [u8; Header::MAX_LEN],
        len: u8,
    },
    /// Within the payload of a frame.
    Payload(Frame),
}

impl Position {
    const START: Self = Self::Header {
        head: [0; Header::MAX_LEN],
        len: 0,
    };
}

/// The part of a frame that has not been decoded yet.
#[derive(Debug, Clone, Copy)]
struct Frame {
    missing: usize,
    /// Rotated so that its first byte applies to the next byte of the payload.
    mask: Option<[u8; 4]>,
    opcode: OpCode,
    fin: bool,
    /// Whether the frame begins a compressed message.
    rsv1: bool,
}

impl Frame {
    fn advance(&mut self, count: usize) {
        self.missing -= count;
        if let Some(key) = &mut self.mask {
            *key = mask::rotate(*key, count);
        }
    }
}

impl Decoder {
    /// Creates a decoder for what the end `role` receives.
    #[must_use]
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            position: Position::START,
            control: None,
            message: None,
            inflater: None,
        }
    }

    /// Creates a decoder for a connection with permessage-deflate (RFC 7692).
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(role: Role, limits: Limits, deflate: &super::Deflate) -> Self {
        Self {
            inflater: Some(Box::new(Inflater::new(deflate))),
            ..Self::new(role, limits)
        }
    }

    /// Returns the end that this decoder receives for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns the limits that the decoder enforces.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the memory that the incomplete message takes, in bytes.
    pub(super) fn held(&self) -> usize {
        self.message
            .as_ref()
            .map_or(0, |message| message.capacity())
    }

    /// Frees the memory of the incomplete message. The decoder must not be used again.
    pub(super) fn discard(&mut self) {
        self.message = None;
    }

    /// Decodes the next event and removes its bytes from the front of `input`; returns `None` once
    /// `input` is used up.
    ///
    /// # Errors
    /// A violation of the protocol or of a limit by the peer. The decoder must not be used again:
    /// its position in the stream is lost.
    #[inline]
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        match self.whole(input) {
            Some(message) => Ok(Some(Event::Message(message))),
            None => self.decode_any(input),
        }
    }

    /// Decodes a message that lies complete at the front of `input`, if none is incomplete. Removes
    /// nothing if anything is unusual or wrong: [`decode_any`](Self::decode_any) finds out what.
    #[inline]
    pub(super) fn whole(&self, input: &mut Bytes) -> Option<Message> {
        if !matches!(self.position, Position::Header { len: 0, .. }) || self.message.is_some() {
            return None;
        }
        let masked = self.role == Role::Server;
        let mut frame = Whole::parse(input, masked)?;
        let len = frame.payload.len();
        if len > self.limits.max_frame_size || len > self.limits.max_message_size {
            return None;
        }
        let (text, header) = (frame.text, frame.header);
        let valid = |bytes: &[u8]| !text || simdutf8::basic::from_utf8(bytes).is_ok();
        if frame.is_masked() && len < SHORT && input.len() > header + len {
            unmask_run(input, header + len);
            frame = Whole::parse(input, masked)?;
        }
        let payload = match frame.mask {
            Some(key) if frame.is_masked() && !text => mask::take(input, header, len, key),
            Some(key) if frame.is_masked() => {
                let payload = mask::copy(frame.payload, key);
                if !valid(&payload) {
                    return None;
                }
                input.advance(header + len);
                payload
            }
            _ => {
                if !valid(frame.payload) {
                    return None;
                }
                input.advance(header);
                input.split_to(len)
            }
        };
        Some(if text {
            Message::Text(Text::from_checked(payload))
        } else {
            Message::Binary(payload)
        })
    }

    /// Returns whether it paused within a compressed message, although there may be input. It
    /// continues once some of its [work](Self::work) has been deducted.
    #[inline]
    pub(super) fn must_pause(&self) -> bool {
        self.inflater.as_ref().is_some_and(|i| i.must_pause())
    }

    /// Returns whether it paused after the last byte of a frame: it can continue without input.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        matches!(self.position, Position::Payload(Frame { missing: 0, .. }))
    }

    /// Returns the cost of inflating that has not been deducted yet.
    #[inline]
    pub(super) fn work(&mut self) -> Option<&mut Work> {
        Some(self.inflater.as_mut()?.work())
    }

    /// Like [`decode`](Self::decode), without looking for a complete message first.
    pub(super) fn decode_any(&mut self, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        loop {
            if let Some(work) = self.work() {
                work.deduct(usize::MAX);
            }
            let event = self.decode_some(input);
            if !matches!(event, Ok(None)) || !self.must_pause() {
                return event;
            }
        }
    }

    /// Like [`decode_any`](Self::decode_any), but returns when it [must pause](Self::must_pause).
    #[inline(never)]
    pub(super) fn decode_some(
        &mut self,
        input: &mut Bytes,
    ) -> Result<Option<Event>, ProtocolError> {
        while !self.must_pause() {
            let frame = match self.position {
                Position::Payload(frame) => frame,
                Position::Header { head, len } => match self.header(head, len, input)? {
                    Some(header) => self.check(&header)?,
                    None => return Ok(None),
                },
            };
            if input.is_empty() && frame.missing > 0 {
                self.position = Position::Payload(frame);
                return Ok(None);
            }
            self.position = Position::START;
            let event = if frame.opcode.is_control() {
                self.control(frame, input)?
            } else {
                self.data(frame, input)?
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Reads the next header, whose first `len` bytes arrived before as `head`. If it is still
    /// incomplete, stores it and returns `None`.
    #[inline]
    fn header(
        &mut self,
        head: [u8; Header::MAX_LEN],
        len: u8,
        input: &mut Bytes,
    ) -> Result<Option<Header>, ProtocolError> {
        if len == 0
            && let Some((header, size)) = Header::parse(input)?
        {
            input.advance(size);
            return Ok(Some(header));
        }
        self.cut_header(head, len.into(), input)
    }

    fn cut_header(
        &mut self,
        mut head: [u8; Header::MAX_LEN],
        known: usize,
        input: &mut Bytes,
    ) -> Result<Option<Header>, ProtocolError> {
        let len = Header::MAX_LEN.min(known + input.len());
        head[known..len].copy_from_slice(&input[..len - known]);
        if let Some((header, size)) = Header::parse(&head[..len])? {
            input.advance(size - known);
            return Ok(Some(header));
        }
        input.advance(len - known);
        let len = len as u8;
        self.position = Position::Header { head, len };
        Ok(None)
    }

    /// Checks the header against the state of the connection: masking, the order of frames, and
    /// the limits.
    #[inline]
    fn check(&mut self, header: &Header) -> Result<Frame, ProtocolError> {
        // RSV1 begins a compressed message, and has no other meaning (RFC 7692 §6).
        if header.rsv1 && (self.inflater.is_none() || !header.opcode.begins_message()) {
            return Err(ProtocolError::ReservedBit);
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(ProtocolError::UnmaskedFrame),
            (Role::Client, Some(_)) => return Err(ProtocolError::MaskedFrame),
            _ => {}
        }
        if !header.opcode.is_control() {
            let before = self.fragment(header)?;
            self.check_size(before, header.payload_len)?;
        }
        Ok(Frame {
            // No truncation: a control frame is short, and `check_size` bounds a data frame.
            missing: header.payload_len as usize,
            mask: header.mask,
            opcode: header.opcode,
            fin: header.fin,
            rsv1: header.rsv1,
        })
    }

    /// Counts a data frame. Returns the size of its message before it, in bytes, or `None` if the
    /// message is compressed: then the sizes of its frames do not add up to its own.
    #[inline]
    fn fragment(&mut self, header: &Header) -> Result<Option<usize>, ProtocolError> {
        match (&mut self.message, header.opcode) {
            (None, OpCode::Continuation) => Err(ProtocolError::UnexpectedContinuation),
            (None, _) => Ok((!header.rsv1).then_some(0)),
            (Some(message), OpCode::Continuation) => {
                if !self.limits.allows_frame(message.fragments, message.len()) {
                    let limit = self.limits.max_fragments;
                    return Err(ProtocolError::TooManyFragments { limit });
                }
                message.fragments += 1;
                Ok((!message.compressed).then(|| message.len()))
            }
            (Some(_), _) => Err(ProtocolError::InterleavedMessage),
        }
    }

    #[inline]
    fn check_size(&self, before: Option<usize>, size: u64) -> Result<(), ProtocolError> {
        let Limits {
            max_frame_size,
            max_message_size,
            ..
        } = self.limits;
        if size > max_frame_size as u64 {
            return Err(ProtocolError::FrameTooLarge {
                size,
                limit: max_frame_size,
            });
        }
        let Some(before) = before else {
            return Ok(());
        };
        // No overflow: both are below 2^63.
        let size = before as u64 + size;
        if size > max_message_size as u64 {
            return Err(ProtocolError::MessageTooLarge {
                size,
                limit: max_message_size,
            });
        }
        Ok(())
    }

    fn control(
        &mut self,
        mut frame: Frame,
        input: &mut Bytes,
    ) -> Result<Option<Event>, ProtocolError> {
        let payload = if self.control.is_none() && frame.missing <= input.len() {
            take(&frame, input)
        } else {
            let mut control = self.control.take().unwrap_or_default();
            let start = control.len();
            let count = frame.missing.min(input.len());
            control.reserve_exact(frame.missing);
            control.extend_from_slice(&input[..count]);
            if let Some(key) = frame.mask {
                mask::apply(key, 0, &mut control[start..]);
            }
            input.advance(count);
            frame.advance(count);
            if frame.missing > 0 {
                self.control = Some(control);
                self.position = Position::Payload(frame);
                return Ok(None);
            }
            Bytes::from(*control)
        };
        Ok(Some(match frame.opcode {
            OpCode::Close => Event::Close(CloseFrame::parse(payload)?),
            OpCode::Ping => Event::Ping(payload),
            _ => Event::Pong(payload),
        }))
    }

    #[inline]
    fn data(&mut self, frame: Frame, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        let whole = frame.fin && self.message.is_none() && frame.missing <= input.len();
        if !whole || frame.rsv1 {
            return self.piece(frame, input);
        }
        let payload = take(&frame, input);
        Ok(Some(Event::Message(if frame.opcode == OpCode::Text {
            Message::Text(Text::try_from(payload)?)
        } else {
            Message::Binary(payload)
        })))
    }

    fn piece(
        &mut self,
        mut frame: Frame,
        input: &mut Bytes,
    ) -> Result<Option<Event>, ProtocolError> {
        let mut message = self
            .message
            .take()
            .unwrap_or_else(|| Box::new(Assembly::new(frame.opcode, frame.rsv1)));
        let mut count = frame.missing.min(input.len());
        let piece = Piece {
            bytes: &input[..count],
            mask: frame.mask,
            missing: frame.missing,
            last: frame.fin,
        };
        match &mut self.inflater {
            Some(inflater) if message.compressed => {
                count = message.inflate(&piece, inflater, self.limits.max_message_size)?;
            }
            _ => message.push(&piece)?,
        }
        input.advance(count);
        frame.advance(count);
        let paused = self.must_pause();
        if frame.missing == 0 && frame.fin && !paused {
            return Ok(Some(Event::Message(message.finish()?)));
        }
        self.message = Some(message);
        if frame.missing > 0 || paused {
            self.position = Position::Payload(frame);
        }
        Ok(None)
    }
}

/// If a second complete frame follows the first, which has `first` bytes, replaces `input` by a
/// copy in which all complete frames are unmasked and have a masking key of zero. `input` still
/// decodes to the same messages, but they share one allocation.
#[inline(never)]
fn unmask_run(input: &mut Bytes, first: usize) {
    if Whole::masked(&input[first..]).is_none() {
        return;
    }
    let mut copy = input.to_vec();
    let mut rest = &mut copy[..];
    while let Some((header, len)) = Whole::masked(rest) {
        let (frame, after) = rest.split_at_mut(header + len);
        let (head, payload) = frame.split_at_mut(header);
        if let Some(key) = head.last_chunk_mut() {
            mask::apply(mem::take(key), 0, payload);
        }
        rest = after;
    }
    *input = copy.into();
}

/// Removes the rest of a frame from `input`, which contains all of it. Returns a slice of `input`,
/// or an unmasked copy.
#[inline]
fn take(frame: &Frame, input: &mut Bytes) -> Bytes {
    let Some(key) = frame.mask else {
        return input.split_to(frame.missing);
    };
    mask::take(input, 0, frame.missing, key)
}

#[cfg(test)]
mod tests;
