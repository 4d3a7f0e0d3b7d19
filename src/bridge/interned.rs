//! Strings that many sockets have in common, each kept once.
//!
//! What a line will say at a socket's end is held for as long as the socket
//! lives. Most of it (a host, a route, a page's origin, a browser's name) is the
//! same for thousands of sockets.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Bytes that are kept of what a client says of itself.
const LONGEST: usize = 256;

/// Names that are kept before a look at which are in use.
const FEW: usize = 256;

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// Unused ones are dropped when there are so many.
    full: usize,
}

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        if self.known.len() >= self.full {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.full = (2 * self.known.len()).max(FEW);
        }
        let name: Arc<str> = name.into();
        self.known.insert(name.clone());
        name
    }
}

/// The one copy of `name`.
pub(super) fn shared(name: &str) -> Arc<str> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.get(name)
}

/// The one copy of what a field says, as text and not at any length.
pub(super) fn of_field(value: &http::HeaderValue) -> Arc<str> {
    let bytes = value.as_bytes();
    if bytes.len() <= LONGEST {
        return shared(&String::from_utf8_lossy(bytes));
    }
    let text = String::from_utf8_lossy(&bytes[..LONGEST]);
    shared(&format!("{text}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_while_it_is_used() {
        let mut names = Names::default();
        let kept = names.get("kept");
        assert!(Arc::ptr_eq(&kept, &names.get("kept")));
        for n in 0..100_000 {
            names.get(&n.to_string());
        }
        assert!(names.known.len() <= FEW, "{}", names.known.len());
        assert!(Arc::ptr_eq(&kept, &names.get("kept")));
    }

    #[test]
    fn what_a_client_says_is_bounded() {
        let value = http::HeaderValue::from_bytes(&[b'a'; 10_000]).unwrap();
        assert_eq!(of_field(&value).len(), LONGEST + "…".len());
        let value = http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(&*of_field(&value), "caf\u{fffd}");
    }
}
