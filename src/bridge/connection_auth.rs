//! Requests that authenticate a connection instead of themselves.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// Whether a request with these fields authenticates its connection, by NTLM or
/// Negotiate (RFC 4559).
///
/// Later requests on that connection act as the same user, so it must never
/// carry a request of another client.
pub(super) fn authenticates_connection(fields: &HeaderMap) -> bool {
    let is_connection_scheme = |value: &HeaderValue| {
        let scheme = value.as_bytes().trim_ascii_start();
        let end = scheme.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let scheme = &scheme[..end.unwrap_or(scheme.len())];
        [&b"ntlm"[..], b"negotiate"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    };
    let mut values = fields.get_all(AUTHORIZATION).iter();
    values.any(is_connection_scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4559_ntlm_and_negotiate_authenticate_the_connection() {
        let fields = |values: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            fields
        };
        for (value, expected) in [
            ("NTLM TlRMTVNTUAAB", true),
            ("ntlm\tx", true),
            ("Negotiate YII", true),
            ("NEGOTIATE", true),
            (" NTLM x", true),
            ("Basic NTLM", false),
            ("NTLMv2 x", false),
            ("Bearer x", false),
        ] {
            let found = authenticates_connection(&fields(&[value]));
            assert_eq!(found, expected, "{value}");
        }
        let second = fields(&["Basic x", "NTLM y"]);
        assert!(authenticates_connection(&second));
        assert!(!authenticates_connection(&HeaderMap::new()));
    }
}
