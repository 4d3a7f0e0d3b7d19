//! Where URLs lead.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::origin::Origin;
use crate::handshake::{Target, UrlError};

/// Where a URL leads.
pub(super) struct CachedTarget {
    url: String,
    pub(super) target: Target,
    /// What is known of it, from the first request on.
    pub(super) origin: OnceLock<Arc<Origin>>,
}

impl fmt::Debug for CachedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.url, f)
    }
}

/// Where the last URL led: programs open many sockets to one, and would parse it
/// and look its origin up for each.
#[derive(Default)]
pub(super) struct TargetCache(Mutex<Option<Arc<CachedTarget>>>);

impl TargetCache {
    pub(super) fn find(&self, url: &str) -> Result<Arc<CachedTarget>, UrlError> {
        let last = self.lock().clone();
        if let Some(place) = last.filter(|place| place.url == url) {
            return Ok(place);
        }
        let place = Arc::new(CachedTarget {
            url: url.to_owned(),
            target: url.parse()?,
            origin: OnceLock::new(),
        });
        *self.lock() = Some(place.clone());
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<CachedTarget>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_once_in_a_row() {
        let last = TargetCache::default();
        let first = last.find("ws://a/1").unwrap();
        assert!(Arc::ptr_eq(&first, &last.find("ws://a/1").unwrap()));
        let other = last.find("ws://a/2").unwrap();
        assert_eq!(other.target.path_and_query(), "/2");
        assert_eq!(last.find("ws://a/1").unwrap().target, first.target);
        // What is no URL leaves no trace.
        assert!(last.find("ws://").is_err());
        assert!(last.find("ws://").is_err());
        assert_eq!(last.find("ws://a/1").unwrap().target, first.target);
    }
}
