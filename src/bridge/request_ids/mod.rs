//! The identifiers of a request, in its access line and at its upstream: a request ID,
//! and the trace that it belongs to (W3C Trace Context).
//!
//! **The rule.** An identifier that the client sent is either valid, and then used
//! everywhere, or replaced everywhere: the access line and the upstream never have
//! different ones. A request ID is believed only from the operator's own proxies
//! ([`trust_forwarded`](crate::bridge::RouteBuilder::trust_forwarded)), and if it can
//! be logged and searched for: see [`RequestId::parse`]. A trace is believed from any
//! client, as browsers begin traces, unless the route
//! [restarts](TraceContext::Restart) them.

mod trace_context;

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use self::trace_context::TraceContext;

use self::trace_context::Trace;
use super::spellings::remove_spellings;
use crate::socket::nonce;

/// The usual name of the field with the request ID.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of a request ID from a trusted proxy, in bytes. Longer ones are
/// replaced.
const MAX_REQUEST_ID: usize = 128;

/// How the requests of a route are identified.
#[derive(Clone, Debug)]
pub(super) struct Identification {
    /// The field with the request ID; `None` if there are no request IDs.
    pub(super) field: Option<HeaderName>,
    pub(super) trace_context: TraceContext,
}

impl Default for Identification {
    fn default() -> Self {
        Self {
            field: Some(X_REQUEST_ID),
            trace_context: TraceContext::Pass,
        }
    }
}

/// The identifiers of one request, kept for its access line.
#[derive(Debug, Default)]
pub(super) struct RequestIds {
    request_id: Option<RequestId>,
    /// Boxed, as most requests have none.
    trace: Option<Box<Trace>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RequestId {
    /// Made by this bridge: random.
    Own([u8; 16]),
    FromProxy(Box<str>),
}

impl RequestId {
    /// Accepts up to [`MAX_REQUEST_ID`] letters, digits and `-._~:/+=@`, which no log
    /// format has to quote.
    fn parse(value: &HeaderValue) -> Option<Self> {
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte);
        let bytes = value.as_bytes();
        let is_valid = (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(is_allowed);
        let text = value.to_str().ok().filter(|_| is_valid)?;
        Some(Self::FromProxy(text.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(bytes) => Hex(bytes).fmt(f),
            Self::FromProxy(text) => f.write_str(text),
        }
    }
}

/// Bytes in lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Identification {
    /// Returns the identifiers of a request with these fields, making what it lacks.
    pub(super) fn identify(&self, fields: &HeaderMap, is_trusted: bool) -> RequestIds {
        let made = || RequestId::Own(nonce());
        let request_id = self.field.as_ref().map(|field| {
            let sent = only(fields, field).filter(|_| is_trusted);
            sent.and_then(RequestId::parse).unwrap_or_else(made)
        });
        let trace = Trace::of(fields, self.trace_context).map(Box::new);
        RequestIds { request_id, trace }
    }

    /// Writes the identifiers into the fields for the upstream.
    pub(super) fn write(&self, ids: &RequestIds, fields: &mut HeaderMap) {
        if let (Some(field), Some(id)) = (&self.field, &ids.request_id) {
            remove_spellings(fields, &[field]);
            if let Ok(value) = HeaderValue::try_from(id.to_string()) {
                fields.insert(field, value);
            }
        }
        if let Some(trace) = &ids.trace {
            trace.write(fields);
        }
    }
}

impl RequestIds {
    pub(super) fn request_id(&self) -> Option<impl fmt::Display> {
        self.request_id.as_ref()
    }

    pub(super) fn trace_id(&self) -> Option<impl fmt::Display> {
        self.trace.as_ref().map(|trace| Hex(&trace.id))
    }

    /// The span that the bridge is in that trace, if it takes part in it.
    pub(super) fn span_id(&self) -> Option<impl fmt::Display> {
        let span = self.trace.as_ref()?.span.as_ref()?;
        Some(Hex(span))
    }
}

/// Returns the value of a field that is present exactly once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = fields.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str) -> HeaderMap {
        let value = HeaderValue::try_from(id).unwrap();
        [(X_REQUEST_ID, value)].into_iter().collect()
    }

    fn identify(fields: &HeaderMap, is_trusted: bool) -> String {
        let ids = Identification::default().identify(fields, is_trusted);
        ids.request_id().unwrap().to_string()
    }

    #[test]
    fn only_valid_request_ids_of_trusted_proxies_are_used() {
        let longest = "a".repeat(MAX_REQUEST_ID);
        for id in ["1", "5f7a-_.~:/+=@Z", &longest] {
            assert_eq!(identify(&sent(id), true), id);
            assert_ne!(identify(&sent(id), false), id);
        }
        let too_long = "a".repeat(MAX_REQUEST_ID + 1);
        for id in ["", "a b", "a\"b", "a\tb", "ü", "a;b", &too_long] {
            let made = identify(&sent(id), true);
            assert_eq!(made.len(), 32, "{id:?} {made}");
        }
        let mut twice = sent("a");
        twice.append(X_REQUEST_ID, HeaderValue::from_static("b"));
        assert_eq!(identify(&twice, true).len(), 32);
        assert_ne!(identify(&twice, true), identify(&twice, true));
    }

    #[test]
    fn the_upstream_gets_the_logged_request_id_and_no_other() {
        let identification = Identification::default();
        let mut fields = sent("forged");
        fields.append(X_REQUEST_ID, HeaderValue::from_static("forged"));
        fields.append("x_request_id", HeaderValue::from_static("forged"));
        let ids = identification.identify(&fields, false);
        identification.write(&ids, &mut fields);
        let expected = ids.request_id().unwrap().to_string();
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[X_REQUEST_ID], expected);
    }

    #[test]
    fn without_a_field_nothing_is_changed() {
        let identification = Identification {
            field: None,
            ..Identification::default()
        };
        let mut fields = sent("from the client");
        let ids = identification.identify(&fields, false);
        assert!(ids.request_id().is_none());
        identification.write(&ids, &mut fields);
        assert_eq!(fields, sent("from the client"));
    }
}
