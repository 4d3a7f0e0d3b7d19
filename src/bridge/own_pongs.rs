//! Removes the answers to the bridge's own Pings from what a peer sends.
//!
//! **The rule.** A Pong is an answer to the bridge if its payload is the random
//! payload of the bridge's Pings on this side of this WebSocket. Every other Pong is
//! the peer's own, or an answer to the other side or to another bridge, and passes.
//!
//! The bytes of a frame that may still turn out to be such an answer are held back
//! until that is decided: at most [`OwnPongs::MAX_HELD`], and none of a frame of
//! another type or length.

use bytes::{Buf, Bytes};

use super::frame_boundaries::FrameBoundaries;
use crate::frame::Role;

/// Length of the payload of the bridge's Pings, in bytes.
pub(super) const PAYLOAD: usize = 12;

/// The first byte of a Pong: FIN and the opcode.
const PONG: u8 = 0x8a;

/// The bit in the second byte of a frame that a client sends.
const MASK: u8 = 0x80;

/// Recognizes the answers of one peer.
#[derive(Debug)]
pub(super) struct OwnPongs {
    sender: Role,
    payload: [u8; PAYLOAD],
    /// The first bytes of a frame that may be an answer.
    held: [u8; Self::MAX_HELD],
    held_len: u8,
    /// Whether an answer, or a part of it, was received.
    has_answered: bool,
}

/// What the next bytes are.
enum Found {
    /// An answer, which takes this many of them.
    Answer(usize),
    /// All of them are the beginning of a frame that may be an answer.
    Undecided,
    /// The beginning of another frame.
    Other,
}

impl OwnPongs {
    const MAX_HELD: usize = 2 + 4 + PAYLOAD;

    pub(super) fn new(sender: Role, payload: [u8; PAYLOAD]) -> Self {
        Self {
            sender,
            payload,
            held: [0; Self::MAX_HELD],
            held_len: 0,
            has_answered: false,
        }
    }

    pub(super) fn payload(&self) -> &[u8; PAYLOAD] {
        &self.payload
    }

    /// Whether an answer was received since the last call.
    pub(super) fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.has_answered)
    }

    /// Follows the next bytes like [`FrameBoundaries::advance`], and passes on what
    /// is to be forwarded. For `frames`, the answers do not exist.
    pub(super) fn remove(
        &mut self,
        frames: &mut FrameBoundaries,
        mut chunk: Bytes,
        mut forward: impl FnMut(Bytes),
    ) {
        let mut kept = 0;
        while kept < chunk.len() && !frames.is_closed() {
            if frames.is_between() {
                match self.find(&chunk[kept..]) {
                    Found::Answer(taken) => {
                        pass(chunk.split_to(kept), &mut forward);
                        chunk.advance(taken);
                        kept = 0;
                        self.held_len = 0;
                        self.has_answered = true;
                        continue;
                    }
                    Found::Undecided => {
                        pass(chunk.split_to(kept), &mut forward);
                        self.hold(&chunk);
                        return;
                    }
                    Found::Other => {
                        // Only the first frame of a chunk can have begun before it.
                        let held = self.release();
                        frames.advance(&held);
                        pass(held, &mut forward);
                    }
                }
            }
            kept += frames.advance_frame(&chunk[kept..]);
        }
        pass(chunk.split_to(kept), &mut forward);
    }

    /// Returns what is held back, because the sender has ended.
    pub(super) fn release(&mut self) -> Bytes {
        let held = usize::from(std::mem::take(&mut self.held_len));
        Bytes::copy_from_slice(&self.held[..held])
    }

    fn hold(&mut self, bytes: &[u8]) {
        let held = usize::from(self.held_len);
        self.held[held..held + bytes.len()].copy_from_slice(bytes);
        self.held_len += bytes.len() as u8;
        self.has_answered = true;
    }

    /// Examines the beginning of a frame: what is held back, then `next`.
    fn find(&self, next: &[u8]) -> Found {
        let masked = self.sender == Role::Client;
        let header = if masked { 2 + 4 } else { 2 };
        let all = header + PAYLOAD;
        let held = usize::from(self.held_len);
        let taken = next.len().min(all - held);
        let mut frame = self.held;
        frame[held..held + taken].copy_from_slice(&next[..taken]);
        let frame = &frame[..held + taken];
        let second = (u8::from(masked) * MASK) | PAYLOAD as u8;
        let is_pong = [PONG, second]
            .iter()
            .zip(frame)
            .all(|(is, seen)| is == seen);
        let payload = frame.get(header..).unwrap_or_default();
        let key = if masked {
            frame.get(2..header).unwrap_or_default()
        } else {
            &[0; 4]
        };
        let is_ours = (payload.iter().zip(key.iter().cycle()).zip(&self.payload))
            .all(|((byte, key), ours)| byte ^ key == *ours);
        match (is_pong && is_ours, frame.len() == all) {
            (false, _) => Found::Other,
            (true, false) => Found::Undecided,
            (true, true) => Found::Answer(taken),
        }
    }
}

fn pass(bytes: Bytes, forward: &mut impl FnMut(Bytes)) {
    if !bytes.is_empty() {
        forward(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; PAYLOAD] = *b"random bytes";

    fn frame(sender: Role, first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, payload.len() as u8];
        if sender == Role::Client {
            let key = [7, 0, 0x8a, 0xff];
            frame[1] |= MASK;
            frame.extend(key);
            frame.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
        } else {
            frame.extend(payload);
        }
        frame
    }

    /// Forwards `sent` in chunks that end at `cuts`.
    fn forwarded(sender: Role, sent: &[u8], cuts: &[usize]) -> (Vec<u8>, OwnPongs) {
        let mut pongs = OwnPongs::new(sender, OURS);
        let mut frames = FrameBoundaries::new(sender);
        let mut out = Vec::new();
        let mut at = 0;
        for end in cuts.iter().copied().chain([sent.len()]) {
            let chunk = Bytes::copy_from_slice(&sent[at..end]);
            pongs.remove(&mut frames, chunk, |bytes| out.extend_from_slice(&bytes));
            at = end;
        }
        (out, pongs)
    }

    #[test]
    fn only_own_answers_are_removed_however_the_bytes_are_cut() {
        let mut other = OURS;
        other[11] ^= 1;
        for sender in [Role::Client, Role::Server] {
            let kept = [
                frame(sender, 0x01, b"first fragment"),
                frame(sender, 0x8a, &other),
                frame(sender, 0x8a, b""),
                frame(sender, 0x8a, &[OURS.as_slice(), b"!"].concat()),
                frame(sender, 0x89, &OURS),
                frame(sender, 0x80, &OURS),
                // A message that contains an answer.
                frame(sender, 0x82, &frame(sender, 0x8a, &OURS)),
                frame(sender, 0x88, b"\x03\xe8"),
            ];
            let ours = frame(sender, 0x8a, &OURS);
            let sent = kept.iter().fold(Vec::new(), |mut sent, frame| {
                sent.extend_from_slice(&ours);
                sent.extend_from_slice(frame);
                sent
            });
            let expected = kept.concat();
            for first in 0..=sent.len() {
                for second in [first, (first + 1).min(sent.len()), sent.len()] {
                    let (out, _) = forwarded(sender, &sent, &[first, second]);
                    assert_eq!(out, expected, "{sender:?}, cut at {first} and {second}");
                }
            }
            let every: Vec<_> = (0..sent.len()).collect();
            assert_eq!(forwarded(sender, &sent, &every).0, expected);
            // Nothing follows the Close frame.
            let after = [sent.as_slice(), &ours, b"x"].concat();
            assert_eq!(forwarded(sender, &after, &[]).0, expected);
        }
    }

    #[test]
    fn an_unfinished_answer_is_held_back_until_the_end() {
        let ours = frame(Role::Client, 0x8a, &OURS);
        let (out, mut pongs) = forwarded(Role::Client, &ours[..10], &[3]);
        assert!(out.is_empty());
        assert!(pongs.take_answered() && !pongs.take_answered());
        assert_eq!(pongs.release(), ours[..10]);
    }

    #[test]
    fn what_is_not_a_websocket_passes_unchanged() {
        let sent = b"\xff\xff not a WebSocket \x8a\x0crandom bytes";
        assert_eq!(forwarded(Role::Server, sent, &[5]).0, sent);
    }
}
