//! Messages of many sizes, which are the same in every run.

use h2ws::Message;

/// Text that repeats itself over short and long distances, so that windows of different sizes
/// compress it differently.
const WORDS: [&str; 16] = [
    "window",
    "stream",
    "frame",
    "message",
    "connection",
    "origin",
    "ü€😀",
    "0123456789",
    "takeover",
    "{\"id\":",
    "}, ",
    "\n",
    "socket",
    "                ",
    "compress",
    "zzzzzzzzzzzzzzzzzzzzzzzzzzzz",
];

/// A deterministic pseudo-random sequence (Knuth's 64-bit LCG).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// Returns a number from 0 to `end`, exclusive.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// Returns the message with this number. Most are short, some have thousands of bytes, and a few up
/// to 200,000.
pub fn numbered(number: usize) -> Message {
    let mut random = Random::new(number as u64);
    random.below(2);
    let size = match random.below(1000) {
        0 | 1 => random.below(200_000),
        2..=11 => random.below(70_000),
        12..=111 => random.below(5_000),
        112..=131 => 0,
        _ => random.below(300),
    };
    let mut text = String::with_capacity(size + 32);
    while text.len() < size {
        text.push_str(WORDS[random.below(WORDS.len())]);
    }
    if number.is_multiple_of(2) {
        return Message::text(text);
    }
    let mut bytes = text.into_bytes();
    // Incompressible bytes between compressible ones.
    for at in (0..bytes.len()).step_by(7) {
        bytes[at] = random.below(256) as u8;
    }
    Message::binary(bytes)
}
