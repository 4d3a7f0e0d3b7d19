//! Remembers the target that was used last.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::origin::Origin;
use super::target::IntoTarget;
use crate::handshake::{Target, UrlError};

/// A parsed URL, with what the client knows of its origin.
pub(super) struct CachedTarget {
    /// The URL as it was given; `None` if it was given as a [`Target`].
    url: Option<String>,
    pub(super) target: Target,
    /// Set by the first request.
    pub(super) origin: OnceLock<Arc<Origin>>,
}

impl CachedTarget {
    fn is_for(&self, text: Option<&str>) -> bool {
        text.is_some() && self.url.as_deref() == text
    }
}

impl fmt::Debug for CachedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.target, f)
    }
}

/// The last target. Programs open many sockets to one URL, and would otherwise parse
/// it and look its origin up for each.
#[derive(Default)]
pub(super) struct TargetCache(Mutex<Option<Arc<CachedTarget>>>);

impl TargetCache {
    pub(super) fn find(&self, url: impl IntoTarget) -> Result<Arc<CachedTarget>, UrlError> {
        let last = self.lock().clone();
        let text = url.text();
        if let Some(last) = last.as_ref().filter(|last| last.is_for(text)) {
            return Ok(last.clone());
        }
        let text = text.map(str::to_owned);
        let target = url.target()?;
        if let Some(last) = last.filter(|last| last.target == target) {
            return Ok(last);
        }
        let cached = Arc::new(CachedTarget {
            url: text,
            target,
            origin: OnceLock::new(),
        });
        *self.lock() = Some(cached.clone());
        Ok(cached)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<CachedTarget>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_url_is_parsed_once() {
        let last = TargetCache::default();
        let first = last.find("ws://a/1").unwrap();
        assert!(Arc::ptr_eq(&first, &last.find("ws://a/1").unwrap()));
        let other = last.find("ws://a/2").unwrap();
        assert_eq!(other.target.path_and_query(), "/2");
        assert_eq!(last.find("ws://a/1").unwrap().target, first.target);
        // An invalid URL does not replace the cached one.
        assert!(last.find("ws://").is_err());
        assert!(last.find("ws://").is_err());
        let again = last.find("ws://a/1").unwrap();
        assert_eq!(again.target, first.target);
        assert!(Arc::ptr_eq(&again, &last.find(&first.target).unwrap()));
        let uri: http::Uri = "ws://b/".parse().unwrap();
        let other = last.find(&uri).unwrap();
        assert!(Arc::ptr_eq(&other, &last.find(uri).unwrap()));
        assert_eq!(last.find("ws://a/1").unwrap().target, first.target);
    }
}
