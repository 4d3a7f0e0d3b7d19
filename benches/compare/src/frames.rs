//! RFC 6455 frames: a client's writer, and a counter of the echoes.

use bytes::{BufMut, Bytes, BytesMut};

/// Writes masked binary frames of one size.
#[derive(Debug)]
pub struct Writer {
    payload: Bytes,
    key: u64,
}

impl Writer {
    /// Creates a writer. `seed` determines the mask keys, which may be predictable in a benchmark.
    #[must_use]
    pub fn new(payload: Bytes, seed: u64) -> Self {
        Self {
            payload,
            key: seed | 1,
        }
    }

    /// Appends `count` frames.
    pub fn write(&mut self, count: usize, out: &mut BytesMut) {
        out.reserve(count * (self.payload.len() + 14));
        for _ in 0..count {
            // xorshift64 is cheap, and the key differs for each frame as RFC 6455 §5.3 requires.
            self.key ^= self.key << 13;
            self.key ^= self.key >> 7;
            self.key ^= self.key << 17;
            let key = (self.key as u32).to_ne_bytes();
            header(self.payload.len(), out);
            out.put_slice(&key);
            let start = out.len();
            out.put_slice(&self.payload);
            mask(&mut out[start..], key);
        }
    }
}

/// Writes a header with FIN, the opcode for binary, and the mask bit (RFC 6455 §5.2).
fn header(length: usize, out: &mut BytesMut) {
    out.put_u8(0x82);
    if length < 126 {
        out.put_u8(0x80 | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.put_u8(0x80 | 126);
        out.put_u16(length);
    } else {
        out.put_u8(0x80 | 127);
        out.put_u64(length as u64);
    }
}

fn mask(data: &mut [u8], key: [u8; 4]) {
    let wide = [key, key, key, key].concat();
    let mut blocks = data.chunks_exact_mut(16);
    for block in &mut blocks {
        for (byte, key) in block.iter_mut().zip(&wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in blocks.into_remainder().iter_mut().zip(&wide) {
        *byte ^= key;
    }
}

/// Counts messages in a stream of frames that may be split anywhere.
#[derive(Debug, Default)]
pub struct Counter {
    /// Bytes of the current header, until it is complete.
    header: [u8; 14],
    filled: usize,
    /// Payload bytes of the current frame that have not arrived.
    remaining: usize,
    /// Whether the current frame ends a message.
    ends: bool,
    in_payload: bool,
}

/// The first byte of a frame without data, which the benchmark's peers never send before the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected(pub u8);

impl Counter {
    /// Returns how many messages end in `data`.
    ///
    /// # Errors
    ///
    /// On a control frame or reserved bits, after which the load must end.
    pub fn count(&mut self, mut data: &[u8]) -> Result<usize, Unexpected> {
        let mut messages = 0;
        while self.in_payload || !data.is_empty() {
            if !self.in_payload {
                data = self.take_header(data)?;
                continue;
            }
            let take = self.remaining.min(data.len());
            self.remaining -= take;
            data = &data[take..];
            if self.remaining > 0 {
                break;
            }
            self.in_payload = false;
            messages += usize::from(self.ends);
        }
        Ok(messages)
    }

    fn take_header<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], Unexpected> {
        let want = if self.filled < 2 {
            2
        } else {
            header_length(self.header[1])
        };
        let take = (want - self.filled).min(data.len());
        self.header[self.filled..self.filled + take].copy_from_slice(&data[..take]);
        self.filled += take;
        if self.filled >= 2 && self.filled == header_length(self.header[1]) {
            if !matches!(self.header[0] & 0x7f, 0..=2) {
                return Err(Unexpected(self.header[0]));
            }
            self.ends = self.header[0] & 0x80 != 0;
            self.remaining = payload_length(&self.header);
            self.in_payload = true;
            self.filled = 0;
        }
        Ok(&data[take..])
    }
}

fn header_length(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    // Raw peers echo the client's own masked frames.
    length + if second & 0x80 == 0 { 0 } else { 4 }
}

fn payload_length(header: &[u8; 14]) -> usize {
    let big_endian = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    match header[1] & 0x7f {
        126 => big_endian(&header[2..4]),
        127 => big_endian(&header[2..10]),
        short => usize::from(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_messages_are_counted_however_they_are_split() {
        for size in [0, 1, 64, 125, 126, 65_535, 65_536] {
            let mut out = BytesMut::new();
            Writer::new(vec![7; size].into(), 3).write(3, &mut out);
            for cut in [1, 2, 3, 7, 4_096, usize::MAX] {
                let mut counter = Counter::default();
                let mut messages = 0;
                for piece in out.chunks(cut.min(out.len())) {
                    messages += counter.count(piece).unwrap();
                }
                assert_eq!(messages, 3, "size {size}, cut {cut}");
            }
        }
    }

    #[test]
    fn rfc6455_5_7_the_example_is_masked() {
        // "Hello" with the key 37 fa 21 3d.
        let mut data = *b"Hello";
        mask(&mut data, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(data, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn a_close_frame_is_an_error() {
        assert_eq!(Counter::default().count(&[0x88, 0]), Err(Unexpected(0x88)));
    }

    #[test]
    fn a_fragmented_message_is_counted_once() {
        let frames = [0x02, 1, b'a', 0x00, 1, b'b', 0x80, 0];
        assert_eq!(Counter::default().count(&frames), Ok(1));
    }
}
