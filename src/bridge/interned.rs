//! Strings that many WebSockets have in common, each stored once.
//!
//! The fields of an access line are kept for the lifetime of the WebSocket. Most
//! of them (host, route, origin, user agent) are the same for thousands of
//! sockets.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Maximum length of an interned header field, in bytes.
const MAX_FIELD: usize = 256;

/// Number of strings that are kept without checking whether they are in use.
const MIN_CAPACITY: usize = 256;

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// Number of strings at which unused ones are dropped.
    capacity: usize,
}

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        if self.known.len() >= self.capacity {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.capacity = (2 * self.known.len()).max(MIN_CAPACITY);
        }
        let name: Arc<str> = name.into();
        self.known.insert(name.clone());
        name
    }
}

/// Returns the shared copy of `name`.
pub(super) fn intern(name: &str) -> Arc<str> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.get(name)
}

/// Returns the shared copy of a field's value, as text, truncated to 256 bytes.
pub(super) fn intern_field(value: &http::HeaderValue) -> Arc<str> {
    let bytes = value.as_bytes();
    if bytes.len() <= MAX_FIELD {
        return intern(&String::from_utf8_lossy(bytes));
    }
    let text = String::from_utf8_lossy(&bytes[..MAX_FIELD]);
    intern(&format!("{text}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stored_once_and_while_it_is_used() {
        let mut names = Names::default();
        let kept = names.get("kept");
        assert!(Arc::ptr_eq(&kept, &names.get("kept")));
        for n in 0..100_000 {
            names.get(&n.to_string());
        }
        assert!(names.known.len() <= MIN_CAPACITY, "{}", names.known.len());
        assert!(Arc::ptr_eq(&kept, &names.get("kept")));
    }

    #[test]
    fn fields_of_clients_are_truncated() {
        let value = http::HeaderValue::from_bytes(&[b'a'; 10_000]).unwrap();
        assert_eq!(intern_field(&value).len(), MAX_FIELD + "…".len());
        let value = http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(&*intern_field(&value), "caf\u{fffd}");
    }
}
