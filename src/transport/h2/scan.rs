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
    pub(crate) window_updates: u64,
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
}

impl Scanner {
    /// `preface` bytes come before the first frame.
    pub(super) fn new(preface: usize) -> Self {
        Self {
            counts: FrameCounts::default(),
            header: [0; HEADER],
            have: 0,
            skip: preface,
        }
    }

    pub(super) fn counts(&self) -> FrameCounts {
        self.counts
    }

    pub(super) fn scan(&mut self, mut bytes: &[u8]) {
        self.counts.bytes += bytes.len() as u64;
        loop {
            let skip = self.skip.min(bytes.len());
            self.skip -= skip;
            bytes = &bytes[skip..];
            if bytes.is_empty() {
                return;
            }
            if self.have == 0 && bytes.len() >= HEADER {
                let (header, rest) = bytes.split_at(HEADER);
                self.frame([header[0], header[1], header[2]], header[3]);
                bytes = rest;
                continue;
            }
            let take = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == HEADER {
                self.have = 0;
                let [a, b, c, kind, ..] = self.header;
                self.frame([a, b, c], kind);
            }
        }
    }

    fn frame(&mut self, [a, b, c]: [u8; 3], kind: u8) {
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        let counts = &mut self.counts;
        match kind {
            0x0 => counts.data += 1,
            0x1 | 0x9 => counts.headers += 1,
            0x3 => counts.resets += 1,
            0x7 => counts.goaways += 1,
            0x8 => counts.window_updates += 1,
            _ => counts.idle += 1,
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
                headers: 1,
                resets: 1,
                goaways: 1,
                window_updates: 1,
                idle: 2,
            };
            assert_eq!(scanner.counts(), expected, "chunks of {size}");
        }
    }
}
