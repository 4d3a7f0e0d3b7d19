//! RFC 6455 frames, encoded and parsed without the library.

/// Opcodes (RFC 6455 §5.2).
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// The masking key of every frame. Tests do not need an unpredictable one.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The whole first byte: FIN, the reserved bits and the opcode.
    pub(crate) head: u8,
    pub(crate) masked: bool,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.head & 0x0f
    }

    /// Returns the status code of a Close frame, if it has one.
    pub(crate) fn code(&self) -> Option<u16> {
        assert_eq!(self.opcode(), CLOSE, "not a Close frame: {self:?}");
        let code = self.payload.get(..2)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }
}

/// Encodes a frame with any first byte and the shortest length encoding.
pub(crate) fn frame(head: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![head];
    match payload.len() {
        len @ 0..=125 => bytes.push(mask | len as u8),
        len @ 126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend(KEY);
        let xored = payload.iter().zip(KEY.iter().cycle());
        bytes.extend(xored.map(|(byte, key)| byte ^ key));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// Encodes an unfragmented frame as a client sends it, masked.
pub(crate) fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, true, payload)
}

/// Encodes an unfragmented frame as a server sends it, unmasked.
pub(crate) fn from_server(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, false, payload)
}

/// Encodes the payload of a Close frame.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    payload
}

/// Splits a byte stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    bytes: Vec<u8>,
}

impl Parser {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes and returns the next complete frame.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let bytes = &self.bytes;
        let (&head, &second) = (bytes.first()?, bytes.get(1)?);
        let (len, mut at) = match second & 0x7f {
            126 => (
                u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize,
                4,
            ),
            127 => (
                u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
                10,
            ),
            len => (len as usize, 2),
        };
        let masked = second & 0x80 != 0;
        let mut key = [0; 4];
        if masked {
            key.copy_from_slice(bytes.get(at..at + 4)?);
            at += 4;
        }
        let payload = bytes.get(at..at + len)?.iter().zip(key.iter().cycle());
        let payload = payload.map(|(byte, key)| byte ^ key).collect();
        self.bytes.drain(..at + len);
        Some(Frame {
            head,
            masked,
            payload,
        })
    }
}

/// Writes the answers of an echo server to `out`: messages and Close frames are
/// echoed unmasked, pings are answered with pongs. Returns whether the peer has
/// sent a Close frame.
pub(crate) fn echo(parser: &mut Parser, out: &mut Vec<u8>) -> bool {
    while let Some(got) = parser.pop() {
        assert!(got.masked, "a client must mask (RFC 6455 §5.1): {got:?}");
        match got.opcode() {
            PING => out.extend(from_server(PONG, &got.payload)),
            PONG => {}
            _ => out.extend(frame(got.head, false, &got.payload)),
        }
        if got.opcode() == CLOSE {
            return true;
        }
    }
    false
}
