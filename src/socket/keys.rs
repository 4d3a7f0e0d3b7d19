//! Masking keys from the operating system's random number generator.
//!
//! A key that a page can predict lets it write bytes of its choice on the wire, which masking is
//! there to prevent (RFC 6455 §10.3). Keys are generated many at a time, because one system call
//! per frame would cost more than the frame.

use std::cell::RefCell;

const BUFFER: usize = 1024;

struct Keys {
    bytes: [u8; BUFFER],
    used: usize,
}

thread_local! {
    static KEYS: RefCell<Keys> = const {
        RefCell::new(Keys { bytes: [0; BUFFER], used: BUFFER })
    };
}

/// Returns a fresh masking key.
///
/// # Panics
///
/// If the operating system's random number generator fails: predictable keys would be a security
/// hole.
pub(crate) fn mask_key() -> [u8; 4] {
    KEYS.with_borrow_mut(|keys| {
        if keys.used == BUFFER {
            fill(&mut keys.bytes);
            keys.used = 0;
        }
        let mut key = [0; 4];
        key.copy_from_slice(&keys.bytes[keys.used..keys.used + 4]);
        keys.used += 4;
        key
    })
}

/// Returns random bytes for a `Sec-WebSocket-Key` (RFC 6455 §4.1).
pub(crate) fn nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    fill(&mut nonce);
    nonce
}

fn fill(bytes: &mut [u8]) {
    #[allow(clippy::expect_used, reason = "documented above")]
    getrandom::fill(bytes).expect("the operating system gives random numbers");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_do_not_repeat() {
        let keys: HashSet<_> = (0..10_000).map(|_| mask_key()).collect();
        // Two of ten thousand may meet by chance; a buffer reused would give
        // 256 keys.
        assert!(keys.len() > 9_990);
    }
}
