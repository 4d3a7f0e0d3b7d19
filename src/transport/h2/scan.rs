//! Counts HTTP/2 frames as their bytes pass by.
//!
//! The `h2` crate does not tell how many frames a connection carried. Reading
//! the nine header bytes of each (RFC 9113 §4.1) does, at the cost of one
//! small step per frame, and the figures are those of the wire.

/// Length of a frame header, in bytes (RFC 9113 §4.1).
const HEADER: usize = 9;

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameCounts {
    pub(crate) bytes: u64,
    pub(crate) data: u64,
    pub(crate) headers: u64,
    pub(crate) resets: u64,
    pub(crate) goaways: u64,
    /// Payload of DATA frames, in bytes.
    pub(crate) data_bytes: u64,
    pub(crate) window_updates: u64,
    /// What WINDOW_UPDATE frames added to the connection's window, in bytes.
    pub(crate) window: u64,
    /// PING, SETTINGS, PRIORITY and unknown frames: nothing that moves a
    /// message, so a flood of them is never useful.
    pub(crate) idle: u64,
}

/// Follows frame boundaries through a byte stream that is cut anywhere.
#[derive(Debug)]
pub(super) struct Scanner {
    counts: FrameCounts,
    header: [u8; HEADER],
    have: usize,
    skip: usize,
    /// Bytes left of the increment of a WINDOW_UPDATE that is being read.
    increment_left: usize,
    increment: u32,
}

impl Scanner {
    /// `preface` bytes come before the first frame.
    pub(super) fn new(preface: usize) -> Self {
        Self {
            counts: FrameCounts::default(),
            header: [0; HEADER],
            have: 0,
            skip: preface,
            increment_left: 0,
            increment: 0,
        }
    }

    pub(super) fn counts(&self) -> FrameCounts {
        self.counts
    }

    pub(super) fn scan(&mut self, mut bytes: &[u8]) {
        self.counts.bytes += bytes.len() as u64;
        loop {
            let skip = self.skip.min(bytes.len());
            if self.increment_left > 0 {
                self.read_increment(&bytes[..skip]);
            }
            self.skip -= skip;
            bytes = &bytes[skip..];
            if bytes.is_empty() {
                return;
            }
            if self.have == 0 && bytes.len() >= HEADER {
                let (header, rest) = bytes.split_at(HEADER);
                self.header.copy_from_slice(header);
                self.frame();
                bytes = rest;
                continue;
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

    fn frame(&mut self) {
        let [a, b, c, kind, _, stream @ ..] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        let counts = &mut self.counts;
        match kind {
            0x0 => {
                counts.data += 1;
                counts.data_bytes += self.skip as u64;
            }
            0x1 | 0x9 => counts.headers += 1,
            0x3 => counts.resets += 1,
            0x7 => counts.goaways += 1,
            0x8 => {
                counts.window_updates += 1;
                if stream == [0; 4] {
                    (self.increment_left, self.increment) = (4, 0);
                }
            }
            _ => counts.idle += 1,
        }
    }

    /// RFC 9113 §6.9: four bytes, of which the first bit is reserved.
    fn read_increment(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(self.increment_left) {
            self.increment = self.increment << 8 | u32::from(*byte);
            self.increment_left -= 1;
        }
        if self.increment_left == 0 {
            self.counts.window += u64::from(self.increment & 0x7fff_ffff);
        }
    }
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
    fn counts_do_not_depend_on_where_bytes_are_cut() {
        let mut bytes = vec![b'P'; 24];
        bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x81, 2, 3, 4]);
        for (kind, len) in [
            (4, 12),
            (1, 40),
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
            let mut scanner = Scanner::new(24);
            for chunk in bytes.chunks(size) {
                scanner.scan(chunk);
            }
            let expected = FrameCounts {
                bytes: bytes.len() as u64,
                data: 2,
                data_bytes: 300,
                window: 0x0102_0304,
                headers: 1,
                resets: 1,
                goaways: 1,
                window_updates: 2,
                idle: 2,
            };
            assert_eq!(scanner.counts(), expected, "chunks of {size}");
        }
    }
}
