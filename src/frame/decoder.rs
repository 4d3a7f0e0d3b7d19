//! From chunks of bytes to events (RFC 6455 §5 and §6.2).

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

/// Messages shorter than this, in bytes, that came together are unmasked in one allocation.
const SHORT: usize = 1024;

/// Takes chunks as they arrive, cut anywhere, and gives whole messages and control frames.
///
/// Between messages it holds no heap memory. What a client receives whole within a chunk is a
/// slice of that chunk, not a copy; a server's short messages share one copy of the chunk that
/// they came in, or a block of 4 KiB with others of their thread. So keeping a small message for
/// long keeps that memory: copy what is to stay.
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
    place: Place,
    /// The payload of a control frame that a chunk's end cut.
    #[allow(
        clippy::box_collection,
        reason = "a pointer while there is none, not three words"
    )]
    control: Option<Box<Vec<u8>>>,
    /// The message that the last chunks left unfinished.
    message: Option<Box<Assembly>>,
    /// Present where permessage-deflate is in use (RFC 7692).
    inflater: Option<Box<Inflater>>,
}

/// Where in the stream the last chunk ended.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Between two frames, but for the first `len` bytes of a header.
    Header {
        head: [u8; Header::MAX_LEN],
        len: u8,
    },
    /// Within the payload of a frame.
    Payload(Frame),
}

impl Place {
    const START: Self = Self::Header {
        head: [0; Header::MAX_LEN],
        len: 0,
    };
}

/// What is left of a frame.
#[derive(Debug, Clone, Copy)]
struct Frame {
    missing: usize,
    /// Turned so that its first byte is the one for the next byte of the payload.
    mask: Option<[u8; 4]>,
    opcode: OpCode,
    fin: bool,
    /// Whether it begins a compressed message.
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
    /// A decoder for what arrives at the end `role`.
    #[must_use]
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            place: Place::START,
            control: None,
            message: None,
            inflater: None,
        }
    }

    /// A decoder for messages some of which are compressed (RFC 7692).
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(role: Role, limits: Limits, deflate: &super::Deflate) -> Self {
        Self {
            inflater: Some(Box::new(Inflater::new(deflate))),
            ..Self::new(role, limits)
        }
    }

    /// The end that this decoder receives for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The limits it was made with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How much memory an unfinished message takes, in bytes.
    #[cfg(any(feature = "net", all(test, feature = "deflate")))]
    pub(super) fn held(&self) -> usize {
        self.message
            .as_ref()
            .map_or(0, |message| message.capacity())
    }

    /// Gives the memory of an unfinished message back. Do not decode any more.
    #[cfg(feature = "net")]
    pub(super) fn forget(&mut self) {
        self.message = None;
    }

    /// Takes from the front of `input` up to the end of the next event; `None` when `input` is
    /// used up.
    ///
    /// # Errors
    /// Whatever the peer did wrong. The decoder has then lost its place in the stream: do not use
    /// it again.
    #[inline]
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        match self.whole(input) {
            Some(message) => Ok(Some(Event::Message(message))),
            None => self.decode_any(input),
        }
    }

    /// Takes a message that lies whole at the front of `input`, with none under way; takes nothing
    /// if anything is unusual or wrong: [`decode_any`](Self::decode_any) will find what.
    #[inline]
    pub(super) fn whole(&self, input: &mut Bytes) -> Option<Message> {
        if !matches!(self.place, Place::Header { len: 0, .. }) || self.message.is_some() {
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

    /// Whether it stopped within a compressed message, although there may be input: it goes on
    /// once some of its [work](Self::work) was paid for.
    #[inline]
    pub(super) fn is_tired(&self) -> bool {
        self.inflater.as_ref().is_some_and(|i| i.is_tired())
    }

    /// Whether it stopped behind the last bytes of a frame: there is something to do without input.
    #[cfg(feature = "net")]
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        matches!(self.place, Place::Payload(Frame { missing: 0, .. }))
    }

    /// What inflating has cost, as far as it was not paid for.
    #[inline]
    pub(super) fn work(&mut self) -> Option<&mut Work> {
        Some(self.inflater.as_mut()?.work())
    }

    /// As [`decode`](Self::decode), without the hope for a whole message.
    pub(super) fn decode_any(&mut self, input: &mut Bytes) -> Result<Option<Event>, ProtocolError> {
        loop {
            if let Some(work) = self.work() {
                work.pay(usize::MAX);
            }
            let event = self.decode_some(input);
            if !matches!(event, Ok(None)) || !self.is_tired() {
                return event;
            }
        }
    }

    /// As [`decode_any`](Self::decode_any), until it [tires](Self::is_tired).
    #[inline(never)]
    pub(super) fn decode_some(
        &mut self,
        input: &mut Bytes,
    ) -> Result<Option<Event>, ProtocolError> {
        while !self.is_tired() {
            let frame = match self.place {
                Place::Payload(frame) => frame,
                Place::Header { head, len } => match self.header(head, len, input)? {
                    Some(header) => self.admit(&header)?,
                    None => return Ok(None),
                },
            };
            if input.is_empty() && frame.missing > 0 {
                self.place = Place::Payload(frame);
                return Ok(None);
            }
            self.place = Place::START;
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

    /// Takes the next header, of which the `len` first bytes of `head` came before, or keeps what
    /// there is of it.
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
        self.place = Place::Header { head, len };
        Ok(None)
    }

    /// Holds the header against the connection: who may mask, which frame may follow which, and
    /// how much is too much.
    #[inline]
    fn admit(&mut self, header: &Header) -> Result<Frame, ProtocolError> {
        // It begins a compressed message, and means nothing elsewhere (RFC 7692 §6).
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
            // Fits: a control frame is short, and data is within a limit of this type.
            missing: header.payload_len as usize,
            mask: header.mask,
            opcode: header.opcode,
            fin: header.fin,
            rsv1: header.rsv1,
        })
    }

    /// Counts a data frame; returns the size of its message before it, in bytes, or `None` if
    /// the message is compressed and the sizes of its frames say little about its own.
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
        // No overflow: below 2^63 each.
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
                self.place = Place::Payload(frame);
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
        let tired = self.is_tired();
        if frame.missing == 0 && frame.fin && !tired {
            return Ok(Some(Event::Message(message.finish()?)));
        }
        self.message = Some(message);
        if frame.missing > 0 || tired {
            self.place = Place::Payload(frame);
        }
        Ok(None)
    }
}

/// Where a second frame lies whole behind the first, which has `first` bytes: replaces `input` by
/// a copy in which all whole frames are unmasked, and masked with zero. So messages that came
/// together take one allocation, not one each, and `input` means what it meant before.
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

/// The rest of a frame that lies whole in `input`: a slice of it, or an unmasked copy.
#[inline]
fn take(frame: &Frame, input: &mut Bytes) -> Bytes {
    let Some(key) = frame.mask else {
        return input.split_to(frame.missing);
    };
    let payload = mask::copy(&input[..frame.missing], key);
    input.advance(frame.missing);
    payload
}

#[cfg(test)]
mod tests;
