//! W3C Trace Context: the fields `traceparent` and `tracestate`.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Hex, only};
use crate::bridge::spellings::remove_spellings;
use crate::socket::nonce;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// The flags that are kept; others are undefined and must be sent as zero. The second
/// one marks trace IDs that are random (Trace Context Level 2).
const KNOWN_FLAGS: u8 = SAMPLED | 2;

/// What a bridge does with the trace of a request (W3C Trace Context).
///
/// A bridge that continues traces is a span in each of them, between the client's and
/// the upstream's. It reports that span only in the access log, so make spans of its
/// lines, or the trace has a gap. The flag for sampling of a trace that the bridge
/// begins is set: upstreams that follow it record all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceContext {
    /// `traceparent` and `tracestate` are forwarded as they are.
    #[default]
    Pass,
    /// The upstream gets the client's trace with the bridge as the parent. A request
    /// without a trace, or with an invalid one, begins a new one.
    Continue,
    /// Every request begins a new trace. For clients that must not decide which
    /// requests are recorded.
    Restart,
}

/// A trace that a request belongs to.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) id: [u8; 16],
    /// The bridge's span in it, which is the parent of the upstream's.
    pub(super) span: Option<[u8; 8]>,
    flags: u8,
    /// Whether the client began it.
    is_continued: bool,
}

impl Trace {
    /// Returns the trace of a request with these fields.
    pub(super) fn of(fields: &HeaderMap, handling: TraceContext) -> Option<Self> {
        let sent = only(fields, &TRACEPARENT).and_then(|value| parse(value.as_bytes()));
        let is_continued = handling != TraceContext::Restart && sent.is_some();
        let (id, flags) = match (handling, sent) {
            (TraceContext::Pass, sent) => sent?,
            (TraceContext::Continue, Some(sent)) => sent,
            (TraceContext::Continue | TraceContext::Restart, _) => (random(), SAMPLED),
        };
        let takes_part = handling != TraceContext::Pass;
        Some(Self {
            id,
            span: takes_part.then(random),
            flags: flags & KNOWN_FLAGS,
            is_continued,
        })
    }

    /// Writes the fields for the upstream. `tracestate` belongs to the trace that the
    /// client sent, and is dropped with it.
    pub(super) fn write(&self, fields: &mut HeaderMap) {
        let Some(span) = &self.span else {
            return;
        };
        remove_spellings(fields, &[&TRACEPARENT]);
        if !self.is_continued {
            remove_spellings(fields, &[&TRACESTATE]);
        }
        let value = format!("00-{}-{}-{:02x}", Hex(&self.id), Hex(span), self.flags);
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.insert(TRACEPARENT, value);
        }
    }
}

/// Returns a random ID; zero is not a valid one.
fn random<const N: usize>() -> [u8; N] {
    let nonce = nonce();
    let mut id = [0; N];
    id.copy_from_slice(&nonce[..N]);
    if id == [0; N] {
        id[0] = 1;
    }
    id
}

/// Parses `traceparent`: the trace ID and the flags. Later versions than 00 may append
/// to what is known.
fn parse(value: &[u8]) -> Option<([u8; 16], u8)> {
    const LENGTH: usize = 55;
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let [version] = hex(&known[..2])?;
    let id = hex(&known[3..35])?;
    let parent: [u8; 8] = hex(&known[36..52])?;
    let [flags] = hex(&known[53..])?;
    let has_hyphens = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let has_valid_rest = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let is_zero = id == [0; 16] || parent == [0; 8];
    (has_hyphens && has_valid_rest && !is_zero).then_some((id, flags))
}

/// Parses lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    const STATE: &str = "congo=t61rcWkgMzE";

    fn fields(traceparent: &str) -> HeaderMap {
        let value = |text| HeaderValue::try_from(text).unwrap();
        let state = (TRACESTATE, value(STATE));
        [(TRACEPARENT, value(traceparent)), state]
            .into_iter()
            .collect()
    }

    /// Returns the logged trace ID, and `traceparent` and `tracestate` for the upstream.
    fn handle(mut fields: HeaderMap, handling: TraceContext) -> (Option<String>, HeaderMap) {
        let trace = Trace::of(&fields, handling);
        if let Some(trace) = &trace {
            trace.write(&mut fields);
        }
        (trace.map(|trace| Hex(&trace.id).to_string()), fields)
    }

    #[test]
    fn a_valid_trace_is_continued_with_another_parent() {
        for (traceparent, flags) in [
            (format!("00-{ID}-{PARENT}-01"), "01"),
            (format!("00-{ID}-{PARENT}-00"), "00"),
            (format!("00-{ID}-{PARENT}-ff"), "03"),
            (format!("01-{ID}-{PARENT}-01"), "01"),
            (format!("fe-{ID}-{PARENT}-01-what-comes"), "01"),
        ] {
            let (id, fields) = handle(fields(&traceparent), TraceContext::Continue);
            assert_eq!(id.as_deref(), Some(ID), "{traceparent}");
            let written = fields[TRACEPARENT].to_str().unwrap();
            let parts: Vec<_> = written.split('-').collect();
            assert_eq!([parts[0], parts[1], parts[3]], ["00", ID, flags]);
            assert_eq!(parts[2].len(), 16);
            assert_ne!(parts[2], PARENT);
            assert_eq!(fields[TRACESTATE], STATE);
        }
    }

    #[test]
    fn an_invalid_trace_is_replaced_and_its_state_dropped() {
        let zeros = "0".repeat(32);
        let upper = ID.to_uppercase();
        let mut twice = fields(&format!("00-{ID}-{PARENT}-01"));
        twice.append(TRACEPARENT, twice[TRACEPARENT].clone());
        let invalid = [
            String::new(),
            "none".to_owned(),
            format!("ff-{ID}-{PARENT}-01"),
            format!("00-{ID}-{PARENT}-01-"),
            format!("01-{ID}-{PARENT}-01x"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{ID}-{}-01", &zeros[..16]),
            format!("00-{upper}-{PARENT}-01"),
            format!("00-{ID}-{PARENT}-0g"),
            format!("00-{ID}-{PARENT}-1"),
            format!("00_{ID}-{PARENT}-01"),
            "0".repeat(10_000),
        ];
        let invalid = invalid.iter().map(|text| fields(text));
        for fields in invalid.chain([twice, HeaderMap::new()]) {
            assert_eq!(handle(fields.clone(), TraceContext::Pass).0, None);
            let (id, fields) = handle(fields, TraceContext::Continue);
            let id = id.unwrap();
            assert_ne!(id, ID);
            let written = fields[TRACEPARENT].to_str().unwrap();
            assert!(written.starts_with(&format!("00-{id}-")), "{written}");
            assert!(written.ends_with("-01") && written.len() == 55, "{written}");
            assert_eq!(fields.len(), 1, "{fields:?}");
        }
    }

    #[test]
    fn a_restarted_trace_has_nothing_of_the_clients() {
        let sent = fields(&format!("00-{ID}-{PARENT}-00"));
        let (id, fields) = handle(sent, TraceContext::Restart);
        assert_ne!(id.as_deref(), Some(ID));
        assert!(fields[TRACEPARENT].to_str().unwrap().ends_with("-01"));
        assert_eq!(fields.len(), 1, "{fields:?}");
    }

    #[test]
    fn traces_pass_unchanged_by_default() {
        let sent = fields(&format!("00-{ID}-{PARENT}-01"));
        let (id, passed) = handle(sent.clone(), TraceContext::default());
        assert_eq!((id.as_deref(), passed), (Some(ID), sent));
        let sent = fields("none");
        assert_eq!(handle(sent.clone(), TraceContext::Pass), (None, sent));
    }
}
