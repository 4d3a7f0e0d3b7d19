//! Finds where frames begin and end, from their headers alone.

use crate::frame::{CloseCode, Header, OpCode, Role};

/// Follows the frames of one direction.
///
/// It reads the 2 to 14 bytes of each frame's header and skips the payload:
/// nothing is unmasked, decompressed, validated or changed. It has two uses. A
/// WebSocket is over once both Close frames have been forwarded, which many peers
/// show in no other way (Hypercorn never ends its stream, and allows a hundred of
/// them). And the bridge can insert a frame of its own, a Close or a Ping, only
/// between two frames.
///
/// Bytes that are not WebSocket frames cannot be followed any further: they are
/// forwarded like others until the stream ends.
#[derive(Debug)]
pub(super) struct FrameBoundaries {
    sender: Role,
    phase: Phase,
    /// The first bytes of a header whose rest has not been received.
    head: [u8; Header::MAX_LEN],
    head_len: u8,
    /// Bytes left of the current payload.
    left: u64,
    code: Option<CloseCode>,
    messages: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Payload,
    /// Within the payload of a Close frame, masked or not.
    Close {
        mask: [u8; 4],
        seen: u8,
        first: u8,
    },
    Closed,
    Lost,
}

impl FrameBoundaries {
    pub(super) fn new(sender: Role) -> Self {
        Self {
            sender,
            phase: Phase::Head,
            head: [0; Header::MAX_LEN],
            head_len: 0,
            left: 0,
            code: None,
            messages: 0,
        }
    }

    /// Follows the next `bytes`. Returns how many of them to forward: none after
    /// the Close frame (RFC 6455 §5.5.1).
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        self.advance_until(bytes, false)
    }

    /// Like [`advance`](Self::advance), but not beyond the end of the current frame.
    pub(super) fn advance_frame(&mut self, bytes: &[u8]) -> usize {
        self.advance_until(bytes, true)
    }

    #[inline]
    fn advance_until(&mut self, bytes: &[u8], one_frame: bool) -> usize {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.phase {
                Phase::Closed => return at,
                Phase::Lost => return bytes.len(),
                _ if rest.is_empty() || (one_frame && at > 0 && self.is_between()) => return at,
                Phase::Head => match self.whole_frames(rest, one_frame) {
                    0 => at += self.header(rest),
                    whole => at += whole,
                },
                Phase::Payload => at += self.payload(rest.len()),
                Phase::Close { .. } => at += self.close(rest),
            }
        }
    }

    /// Whether the Close frame is complete.
    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the sender has sent something other than WebSocket frames, so that
    /// its Close frame would not be recognized.
    pub(super) fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.phase == Phase::Head && self.head_len == 0
    }

    /// The number of messages that have begun.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// The code of the Close frame, [`CloseCode::NO_STATUS_RECEIVED`] if it had
    /// none; `None` before the Close frame.
    pub(super) fn code(&self) -> Option<CloseCode> {
        self.is_closed()
            .then(|| self.code.unwrap_or(CloseCode::NO_STATUS_RECEIVED))
    }

    /// Steps over the frames at the start of `bytes` that are complete, shorter than 64 KiB and
    /// not control frames, as most are, and returns their length: they leave nothing to remember.
    fn whole_frames(&mut self, bytes: &[u8], one_frame: bool) -> usize {
        if self.head_len > 0 {
            return 0;
        }
        let (mask, key) = match self.sender {
            Role::Client => (0x80, 4),
            Role::Server => (0, 0),
        };
        let mut at = 0;
        while let Some(&[first, second, high, low]) = bytes[at..].first_chunk() {
            let short = usize::from(second ^ mask);
            let end = match short {
                0..126 => at + 2 + key + short,
                126 => match u16::from_be_bytes([high, low]) {
                    // Shorter lengths have a shorter form.
                    len @ 126.. => at + 4 + key + usize::from(len),
                    _ => break,
                },
                // Longer, or masked by the wrong side.
                _ => break,
            };
            // RSV2, RSV3 or an opcode other than 0 (continuation), 1 (text) and 2 (binary).
            if first & 0x3f > 2 || end > bytes.len() {
                break;
            }
            self.messages += u64::from(first & 0x3 != 0);
            at = end;
            if one_frame {
                break;
            }
        }
        at
    }

    fn header(&mut self, bytes: &[u8]) -> usize {
        let kept = usize::from(self.head_len);
        let (parsed, taken) = if kept == 0 {
            (Header::parse(bytes), bytes.len().min(Header::MAX_LEN))
        } else {
            let taken = bytes.len().min(Header::MAX_LEN - kept);
            self.head[kept..kept + taken].copy_from_slice(&bytes[..taken]);
            (Header::parse(&self.head[..kept + taken]), taken)
        };
        match parsed {
            Ok(Some((header, size))) => {
                self.head_len = 0;
                self.begin(&header);
                size - kept
            }
            Ok(None) => {
                if kept == 0 {
                    self.head[..taken].copy_from_slice(&bytes[..taken]);
                }
                self.head_len += taken as u8;
                taken
            }
            Err(_) => {
                self.phase = Phase::Lost;
                0
            }
        }
    }

    fn begin(&mut self, header: &Header) {
        self.left = header.payload_len;
        self.messages += u64::from(matches!(header.opcode, OpCode::Text | OpCode::Binary));
        self.phase = if header.mask.is_some() != (self.sender == Role::Client) {
            Phase::Lost
        } else if header.opcode == OpCode::Close {
            match self.left {
                0 => Phase::Closed,
                _ => Phase::Close {
                    mask: header.mask.unwrap_or_default(),
                    seen: 0,
                    first: 0,
                },
            }
        } else if self.left == 0 {
            Phase::Head
        } else {
            Phase::Payload
        };
    }

    fn payload(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        if self.left == 0 {
            self.phase = Phase::Head;
        }
        taken
    }

    /// Reads one byte of a Close frame's payload.
    fn close(&mut self, bytes: &[u8]) -> usize {
        if let Phase::Close { mask, seen, first } = &mut self.phase {
            let byte = bytes[0] ^ mask[usize::from(*seen % 4)];
            match *seen {
                0 => *first = byte,
                1 => self.code = Some(u16::from_be_bytes([*first, byte]).into()),
                _ => {}
            }
            *seen += 1;
            self.left -= 1;
            if self.left == 0 {
                self.phase = Phase::Closed;
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CloseFrame, Limits, Message, Protocol};
    use bytes::BytesMut;

    /// Messages and a Close frame as `role` sends them, with the positions at
    /// which frames end.
    fn sent(role: Role) -> (Vec<u8>, Vec<usize>) {
        let mut protocol = Protocol::new(role, Limits::default());
        let mut key = 0u8;
        let mut keys = || {
            key = key.wrapping_add(41);
            [key, 1, 2, 3]
        };
        let mut out = BytesMut::new();
        let mut ends = vec![0];
        for size in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let message = Message::binary(vec![0x88; size]);
            protocol.send(message, &mut keys, &mut out).unwrap();
            ends.push(out.len());
        }
        let ping = Message::Ping(bytes::Bytes::from_static(b"ping"));
        protocol.send(ping, &mut keys, &mut out).unwrap();
        ends.push(out.len());
        let close = CloseFrame::new(CloseCode::from(3001), "why");
        protocol.close(Some(close), &mut keys, &mut out).unwrap();
        (out.to_vec(), ends)
    }

    #[test]
    fn frames_are_followed_however_their_bytes_are_split() {
        for role in [Role::Client, Role::Server] {
            let (bytes, ends) = sent(role);
            for step in [1, 2, 3, 5, 7, 14, 100, 4096, bytes.len()] {
                let mut frames = FrameBoundaries::new(role);
                let mut at = 0;
                for piece in bytes.chunks(step) {
                    assert_eq!(frames.is_between(), ends.contains(&at), "at {at}");
                    assert!(!frames.is_closed());
                    assert_eq!(frames.advance(piece), piece.len());
                    at += piece.len();
                }
                assert!(frames.is_closed() && !frames.is_between());
                assert_eq!(frames.code(), Some(CloseCode::from(3001)));
                assert_eq!(frames.advance(b"after"), 0, "nothing follows a Close frame");
            }
        }
    }

    #[test]
    fn bytes_after_a_close_frame_are_not_forwarded() {
        for (close, code) in [
            (&b"\x88\x00"[..], CloseCode::NO_STATUS_RECEIVED),
            (&b"\x88\x02\x03\xe8"[..], CloseCode::NORMAL),
        ] {
            let mut frames = FrameBoundaries::new(Role::Server);
            let bytes = [b"\x82\x01x", close, b"\x82\x01y"].concat();
            assert_eq!(frames.advance(&bytes), 3 + close.len());
            assert_eq!(frames.code(), Some(code));
        }
    }

    #[test]
    fn bytes_that_are_not_frames_are_forwarded_unchanged() {
        for (sender, bytes) in [
            // A masked frame from a server, an unmasked one from a client.
            (Role::Server, &b"\x82\x81abcdx"[..]),
            (Role::Client, b"\x82\x01x"),
            (Role::Server, b"\x83\x01x"),
            (Role::Server, b"\x08\x01x"),
            (Role::Server, b"HTTP/1.1 200 OK"),
        ] {
            let mut frames = FrameBoundaries::new(sender);
            for byte in bytes {
                assert_eq!(frames.advance(&[*byte]), 1);
            }
            assert_eq!(frames.advance(b"\x88\x00 more"), 7);
            assert!(!frames.is_between() && !frames.is_closed());
            assert_eq!(frames.code(), None);
        }
    }
}
