//! Counts HTTP/2 frames in a byte stream, and reads the few payloads that the
//! `h2` crate does not expose.
//!
//! `h2` does not report how many frames a connection carried, nor the
//! header-list size that the peer accepts. Parsing the nine header bytes of
//! each frame (RFC 9113 §4.1) and the payloads of a few short frames provides
//! both, at the cost of one small step per frame.

use h2::Reason;

/// Length of a frame header, in bytes (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Counts of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameCounts {
    pub(crate) bytes: u64,
    pub(crate) data: u64,
    pub(crate) headers: u64,
    pub(crate) continuations: u64,
    pub(crate) resets: u64,
    /// RST_STREAM with an error code that blames the other side.
    pub(crate) blames: u64,
    /// SETTINGS without ACK.
    pub(crate) settings: u64,
    pub(crate) goaways: u64,
    /// Payload of DATA frames, in bytes.
    pub(crate) data_bytes: u64,
    pub(crate) window_updates: u64,
    /// What WINDOW_UPDATE frames added to the connection's window, in bytes.
    pub(crate) window: u64,
    /// PING, PRIORITY, unknown frames and acknowledgements of SETTINGS. These
    /// never carry a message, so a flood of them is never useful.
    pub(crate) idle: u64,
    /// The last announced SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
    pub(crate) header_list: Option<u32>,
    /// The last announced SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2).
    pub(crate) max_streams: Option<u32>,
    /// The number of the header block that has begun but not ended.
    pub(crate) open_block: Option<u64>,
}

/// Frame types (RFC 9113 §6).
mod kind {
    pub(super) const DATA: u8 = 0x0;
    pub(super) const HEADERS: u8 = 0x1;
    pub(super) const RST_STREAM: u8 = 0x3;
    pub(super) const SETTINGS: u8 = 0x4;
    pub(super) const PUSH_PROMISE: u8 = 0x5;
    pub(super) const GOAWAY: u8 = 0x7;
    pub(super) const WINDOW_UPDATE: u8 = 0x8;
    pub(super) const CONTINUATION: u8 = 0x9;
}

const ACK: u8 = 0x1;

const END_HEADERS: u8 = 0x4;

/// Length of one entry of SETTINGS, in bytes (RFC 9113 §6.5.1).
const SETTING: usize = 6;

/// The identifier of SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// The identifier of SETTINGS_MAX_HEADER_LIST_SIZE.
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// Tracks frame boundaries in a byte stream that may be split anywhere.
#[derive(Debug)]
pub(super) struct FrameCounter {
    counts: FrameCounts,
    header: [u8; HEADER],
    have: usize,
    skip: usize,
    /// Payload bytes that are still to be parsed, value by value.
    look: usize,
    value: [u8; SETTING],
    value_len: usize,
    /// The header block continues in another frame.
    block_goes_on: bool,
}

impl FrameCounter {
    /// Creates a counter that skips `preface` bytes before the first frame.
    pub(super) fn new(preface: usize) -> Self {
        Self {
            counts: FrameCounts::default(),
            header: [0; HEADER],
            have: 0,
            skip: preface,
            look: 0,
            value: [0; SETTING],
            value_len: 0,
            block_goes_on: false,
        }
    }

    pub(super) fn counts(&self) -> FrameCounts {
        let within = self.skip > 0
            && self.counts.headers > 0
            && matches!(
                self.header[3],
                kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION
            );
        // An incomplete frame does not count yet.
        let is_half_settings =
            self.skip > 0 && self.header[3] == kind::SETTINGS && self.header[4] & ACK == 0;
        FrameCounts {
            open_block: (self.block_goes_on || within).then_some(self.counts.headers),
            settings: self.counts.settings - u64::from(is_half_settings),
            ..self.counts
        }
    }

    /// Returns whether the peer has begun an HTTP/1.x response. As a frame header it announces
    /// 4.7 MB, which no peer may send (RFC 9113 §4.2), so that `h2` fails after three bytes.
    pub(super) fn is_http1(&self) -> bool {
        self.header.starts_with(b"HTT")
    }

    /// Returns whether the position is a frame boundary, where another frame
    /// could be inserted.
    pub(super) fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }

    pub(super) fn scan(&mut self, mut bytes: &[u8]) {
        self.counts.bytes += bytes.len() as u64;
        loop {
            let skip = self.skip.min(bytes.len());
            if self.look > 0 {
                self.read_values(&bytes[..skip]);
            }
            self.skip -= skip;
            bytes = &bytes[skip..];
            if bytes.is_empty() {
                return;
            }
            if self.have == 0 {
                bytes = self.skip_data(bytes);
                if let Some((header, rest)) = bytes.split_first_chunk() {
                    self.header = *header;
                    self.frame();
                    bytes = rest;
                    continue;
                }
            }
            let take = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == HEADER {
                self.have = 0;
                self.frame();
            }
        }
    }

    /// Counts the DATA frames that are complete in `bytes`, which begin a frame.
    /// Returns the rest. They are most of all frames.
    #[inline]
    fn skip_data<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some(([a, b, c, kind::DATA, ..], rest)) = bytes.split_first_chunk::<HEADER>() {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(next) = rest.get(len..) else { break };
            self.counts.data += 1;
            self.counts.data_bytes += len as u64;
            bytes = next;
        }
        bytes
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        let counts = &mut self.counts;
        match kind {
            kind::DATA => {
                counts.data += 1;
                counts.data_bytes += self.skip as u64;
            }
            kind::HEADERS => {
                counts.headers += 1;
                self.block_goes_on = flags & END_HEADERS == 0;
            }
            kind::CONTINUATION => {
                counts.continuations += 1;
                self.block_goes_on = flags & END_HEADERS == 0;
            }
            kind::RST_STREAM => {
                counts.resets += 1;
                self.look_at(4);
            }
            kind::SETTINGS if flags & ACK == 0 => {
                counts.settings += 1;
                self.look_at(self.skip - self.skip % SETTING);
            }
            kind::GOAWAY => counts.goaways += 1,
            kind::WINDOW_UPDATE => {
                counts.window_updates += 1;
                if stream == [0; 4] {
                    self.look_at(4);
                }
            }
            _ => counts.idle += 1,
        }
    }

    /// Parses the first bytes of the payload that follows.
    fn look_at(&mut self, bytes: usize) {
        (self.look, self.value_len) = (bytes.min(self.skip), 0);
    }

    fn read_values(&mut self, bytes: &[u8]) {
        let kind = self.header[3];
        let whole = if kind == kind::SETTINGS { SETTING } else { 4 };
        for byte in bytes.iter().take(self.look) {
            self.value[self.value_len] = *byte;
            self.value_len += 1;
            self.look -= 1;
            if self.value_len == whole {
                self.value_len = 0;
                self.read_value(kind);
            }
        }
    }

    fn read_value(&mut self, kind: u8) {
        let [a, b, c, d, e, f] = self.value;
        let number = u32::from_be_bytes([a, b, c, d]);
        let counts = &mut self.counts;
        match kind {
            // Four bytes, the first bit of which is reserved (RFC 9113 §6.9).
            kind::WINDOW_UPDATE => counts.window += u64::from(number & 0x7fff_ffff),
            kind::RST_STREAM => counts.blames += u64::from(blames(number.into())),
            _ => {
                let value = Some(u32::from_be_bytes([c, d, e, f]));
                match u16::from_be_bytes([a, b]) {
                    MAX_CONCURRENT_STREAMS => counts.max_streams = value,
                    MAX_HEADER_LIST_SIZE => counts.header_list = value,
                    _ => {}
                }
            }
        }
    }
}

/// Whether an error code says that the other side broke a rule or went beyond
/// a limit (RFC 9113 §7).
fn blames(code: Reason) -> bool {
    matches!(
        code,
        Reason::PROTOCOL_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::STREAM_CLOSED
            | Reason::FRAME_SIZE_ERROR
            | Reason::REFUSED_STREAM
            | Reason::COMPRESSION_ERROR
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0, (len >> 8) as u8, len as u8, kind, 0, 0, 0, 0, 1];
        bytes.resize(HEADER + len, 0);
        bytes
    }

    #[test]
    fn counts_do_not_depend_on_where_the_bytes_are_split() {
        let mut bytes = vec![b'P'; 24];
        bytes.extend([0, 0, 12, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 6, 0, 0, 0x40, 1, 0, 3, 0, 0, 0, 9]);
        bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x81, 2, 3, 4]);
        bytes.extend([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        for (kind, len) in [
            (4, 12),
            (1, 40),
            (9, 3),
            (0, 300),
            (0, 0),
            (8, 4),
            (6, 8),
            (3, 4),
            (7, 8),
        ] {
            bytes.extend(frame(kind, len));
        }
        for size in 1..bytes.len() {
            let mut scanner = FrameCounter::new(24);
            for chunk in bytes.chunks(size) {
                scanner.scan(chunk);
            }
            let expected = FrameCounts {
                bytes: bytes.len() as u64,
                data: 2,
                data_bytes: 300,
                window: 0x0102_0304,
                headers: 1,
                continuations: 1,
                resets: 2,
                blames: 1,
                settings: 2,
                goaways: 1,
                window_updates: 2,
                idle: 1,
                header_list: Some(0x4001),
                max_streams: Some(9),
                open_block: Some(1),
            };
            assert_eq!(scanner.counts(), expected, "chunks of {size}");
        }
    }

    #[test]
    fn settings_count_once_they_are_complete() {
        let mut scanner = FrameCounter::new(0);
        let settings = frame(4, 12);
        for (at, byte) in settings.iter().enumerate() {
            scanner.scan(&[*byte]);
            let whole = at + 1 == settings.len();
            assert_eq!(scanner.counts().settings, u64::from(whole), "byte {at}");
        }
        scanner.scan(&frame(0, 20)[..15]);
        assert_eq!(scanner.counts().settings, 1);
    }

    #[test]
    fn a_header_block_is_open_from_its_first_byte_to_its_last() {
        let mut scanner = FrameCounter::new(0);
        let mut block = frame(1, 20);
        block.extend(frame(9, 5));
        block[HEADER + 20 + 4] = END_HEADERS;
        for (at, byte) in block.iter().enumerate() {
            scanner.scan(&[*byte]);
            let open = scanner.counts().open_block;
            let within = at + 1 >= HEADER && at + 1 < block.len();
            assert_eq!(open, within.then_some(1), "byte {at}");
        }
        let mut whole = frame(1, 20);
        whole[4] = END_HEADERS;
        scanner.scan(&whole);
        scanner.scan(&frame(0, 20)[..15]);
        assert_eq!(scanner.counts().open_block, None);
        assert!(!scanner.is_between_frames());
    }
}
