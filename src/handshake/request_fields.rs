//! Finds the headers of a request that the handshake reads.

use http::header::HeaderMap;

use super::headers::is_forbidden_in_http2;
use super::syntax::Field;

/// The headers of a request that the handshake reads, found in one pass: looking each of them up
/// takes longer than the rest of a server's handshake.
#[derive(Default)]
pub(super) struct RequestFields<'a> {
    pub(super) host: Field<'a>,
    pub(super) origin: Field<'a>,
    pub(super) content_length: Field<'a>,
    pub(super) version: Field<'a>,
    pub(super) key: Field<'a>,
    /// Whether there is a field that HTTP/2 forbids (RFC 9113 §8.2.2).
    pub(super) connection_specific: bool,
    /// Whether there is a `sec-websocket-protocol` field.
    pub(super) has_subprotocols: bool,
    /// Whether there is a `sec-websocket-extensions` field.
    pub(super) has_extensions: bool,
}

impl<'a> RequestFields<'a> {
    pub(super) fn find(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" => found.host.add(value),
                "origin" => found.origin.add(value),
                "content-length" => found.content_length.add(value),
                "sec-websocket-version" => found.version.add(value),
                "sec-websocket-key" => found.key.add(value),
                "sec-websocket-protocol" => found.has_subprotocols = true,
                "sec-websocket-extensions" => found.has_extensions = true,
                "te" if value.as_bytes().eq_ignore_ascii_case(b"trailers") => {}
                "te" => found.connection_specific = true,
                _ => found.connection_specific |= is_forbidden_in_http2(name),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::headers::tests::map;

    #[test]
    fn rfc9113_8_2_2_connection_specific_fields() {
        for fields in [
            &[("connection", "x")][..],
            &[("upgrade", "x")],
            &[("transfer-encoding", "x")],
            &[("keep-alive", "x")],
            &[("proxy-connection", "x")],
            &[("te", "x")],
            &[("te", "trailers"), ("te", "trailers, x")],
        ] {
            let headers = map(fields);
            let found = RequestFields::find(&headers);
            assert!(found.connection_specific, "{fields:?}");
        }
        let headers = map(&[("te", "Trailers"), ("x", "y")]);
        assert!(!RequestFields::find(&headers).connection_specific);
    }

    #[test]
    fn each_field_is_found_however_often_it_comes() {
        type Of = for<'a, 'b> fn(&'b RequestFields<'a>) -> &'b Field<'a>;
        let fields: [(&str, Of); 5] = [
            ("host", |found| &found.host),
            ("origin", |found| &found.origin),
            ("content-length", |found| &found.content_length),
            ("sec-websocket-version", |found| &found.version),
            ("sec-websocket-key", |found| &found.key),
        ];
        for (name, field) in fields {
            let headers = map(&[("x", "y"), (name, "1")]);
            let found = RequestFields::find(&headers);
            assert!(
                matches!(field(&found), Field::Once(v) if *v == "1"),
                "{name}"
            );
            let others = fields.iter().filter(|(other, _)| *other != name);
            for (_, other) in others {
                assert!(matches!(other(&found), Field::Absent), "{name}");
            }
            for headers in [
                map(&[(name, "1"), ("x", "y"), (name, "1")]),
                map(&[(name, "1"), (name, "2"), (name, "3")]),
            ] {
                let found = RequestFields::find(&headers);
                assert!(matches!(field(&found), Field::Repeated), "{name}");
            }
        }
        let headers = map(&[("sec-websocket-protocol", "")]);
        let found = RequestFields::find(&headers);
        assert!(found.has_subprotocols && !found.has_extensions);
        let headers = map(&[("sec-websocket-extensions", "")]);
        let found = RequestFields::find(&headers);
        assert!(found.has_extensions && !found.has_subprotocols);
    }
}
