//! Header fields that are forwarded, in either direction.

use bytes::Bytes;
use http::Version;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SET_COOKIE, VIA,
};
use http_body::Frame;

use super::client_cert::{self, Presented};
use super::forwarded::{self, ClientView, Families, Received};
use crate::handshake::headers;

/// Converts the fields of a client's WebSocket request into those for its
/// upstream.
///
/// Hop-by-hop fields and those of the handshake are removed (RFC 9110 §7.6.1),
/// cookies are joined into one field (RFC 9113 §8.2.3), and the fields that
/// describe the client (RFC 7239) are replaced.
pub(super) fn request(mut fields: HeaderMap, received: Received<'_>) -> (HeaderMap, ClientView) {
    headers::remove_reserved(&mut fields);
    headers::join_cookies(&mut fields);
    client_cert::rewrite(&mut fields, received.client_cert);
    let view = forwarded::rewrite(&mut fields, received);
    (fields, view)
}

/// Converts the fields of a plain HTTP request into those for its upstream, and
/// returns whether the client accepts trailers. Fields that frame the body are
/// removed and written anew, which prevents request smuggling (RFC 9112 §11.2).
pub(super) fn plain_http(
    mut fields: HeaderMap,
    received: Received<'_>,
) -> (HeaderMap, ClientView, bool) {
    let accepts_trailers = headers::keep_end_to_end(&mut fields);
    // The server in front answers the expectation: it sends 100 (Continue) once
    // the upstream reads the body.
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        fields.remove(name);
    }
    headers::join_cookies(&mut fields);
    client_cert::rewrite(&mut fields, received.client_cert);
    let view = forwarded::rewrite(&mut fields, received);
    (fields, view, accepts_trailers)
}

/// Converts the fields of a response to a plain HTTP request into those for its
/// client, without `Content-Length`.
pub(super) fn response(mut fields: HeaderMap) -> HeaderMap {
    headers::keep_end_to_end(&mut fields);
    fields.remove(CONTENT_LENGTH);
    fields
}

/// Removes trailers that must not be forwarded from a frame of a body.
pub(super) fn clean_frame(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(fields) => Frame::trailers(trailers(fields)),
        Err(data) => data,
    }
}

/// Removes trailers that affect framing, routing or authentication (RFC 9110
/// §6.5.1), or that describe the client.
fn trailers(mut fields: HeaderMap) -> HeaderMap {
    headers::remove_reserved(&mut fields);
    forwarded::remove(&mut fields, false, Families::default());
    client_cert::rewrite(&mut fields, Presented::default());
    for name in [AUTHORIZATION, COOKIE, SET_COOKIE] {
        fields.remove(name);
    }
    fields
}

/// Adds this hop to `Via`, with the HTTP version in which the message was
/// received (RFC 9110 §7.6.3).
pub(super) fn add_via(fields: &mut HeaderMap, version: Version, name: Option<&str>) {
    let Some(name) = name else {
        return;
    };
    let protocol = match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    append_to_list(fields, VIA, &format!("{protocol} {name}"));
}

/// Appends to a comma-separated list, and joins it into one field.
fn append_to_list(fields: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in fields.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        fields.insert(name, list);
    }
}

/// Converts the fields of an upstream's response that accepts a WebSocket.
pub(super) fn acceptance(mut fields: HeaderMap) -> HeaderMap {
    headers::remove_reserved(&mut fields);
    fields
}

/// Converts the fields of an upstream's rejection. `Content-Length` is removed
/// because the body may have been truncated.
pub(super) fn rejection(mut fields: HeaderMap) -> HeaderMap {
    headers::remove_hop_by_hop(&mut fields);
    fields.remove(CONTENT_LENGTH);
    fields.remove(SEC_WEBSOCKET_ACCEPT);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::HostPort;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn received(host: &HostPort, is_trusted: bool) -> Received<'_> {
        Received {
            client: "192.0.2.7".parse().unwrap(),
            is_secure: true,
            host,
            is_trusted,
            families: Families::default(),
            removed_prefix: "",
            client_cert: Presented::default(),
        }
    }

    fn own() -> Vec<(&'static str, &'static str)> {
        vec![
            ("forwarded", "for=192.0.2.7;host=\"a:8443\";proto=https"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a:8443"),
        ]
    }

    #[test]
    fn only_end_to_end_fields_are_forwarded() {
        let host = "a:8443".parse().unwrap();
        let passed = [
            ("origin", "https://a"),
            ("authorization", "Bearer x"),
            ("user-agent", "x"),
        ];
        let stays = [
            ("connection", "upgrade, x-hop"),
            ("x-hop", "1"),
            ("upgrade", "websocket"),
            ("host", "a:8443"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-authorization", "Basic eDp5"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("content-length", "0"),
        ];
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2")];
        let fields = map(&[&passed[..], &stays, &crumbs].concat());
        let joined = [("cookie", "a=1; b=2")];
        let expected = map(&[&passed[..], &joined, &own()].concat());
        assert_eq!(request(fields, received(&host, false)).0, expected);
    }

    #[test]
    fn rfc7239_forwarding_fields_are_dropped_unless_the_client_is_trusted() {
        let host = "a:8443".parse().unwrap();
        let forged = map(&[
            ("forwarded", "for=10.0.0.0"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.0, 10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "10.0.0.1"),
        ]);
        assert_eq!(
            request(forged.clone(), received(&host, false)).0,
            map(&own())
        );
        let fields = request(forged, received(&host, true)).0;
        assert_eq!(fields.get_all("forwarded").iter().count(), 1);
        assert_eq!(
            fields["forwarded"],
            "for=10.0.0.0;host=\"evil\";proto=http, for=10.0.0.1;host=\"evil\";proto=http, \
             for=192.0.2.7;host=\"evil\";proto=http"
        );
        assert_eq!(fields["x-forwarded-for"], "10.0.0.0, 10.0.0.1, 192.0.2.7");
        assert_eq!(fields["x-forwarded-proto"], "http");
        assert_eq!(fields["x-forwarded-host"], "evil");
        assert_eq!(fields["x-real-ip"], "10.0.0.1");
    }

    #[test]
    fn rfc7239_6_ipv6_addresses_are_quoted() {
        let host = "[::1]:1".parse().unwrap();
        for (client, node, bare) in [
            ("2001:db8::7", "\"[2001:db8::7]\"", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ] {
            let received = Received {
                client: client.parse().unwrap(),
                is_secure: false,
                ..received(&host, false)
            };
            let fields = request(HeaderMap::new(), received).0;
            assert_eq!(
                fields["forwarded"],
                format!("for={node};host=\"[::1]:1\";proto=http")
            );
            assert_eq!(fields["x-forwarded-for"], bare);
        }
    }

    #[test]
    fn rfc9110_7_6_1_plain_http_keeps_only_end_to_end_fields() {
        let host = "a:8443".parse().unwrap();
        let passed = [("origin", "https://a"), ("trailer", "x-sum")];
        let stays = [
            ("connection", "te, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("expect", "100-continue"),
            ("host", "b"),
            ("x-forwarded-for", "10.0.0.1"),
        ];
        let fields = map(&[&passed[..], &stays].concat());
        let (fields, _, accepts_trailers) = plain_http(fields, received(&host, false));
        assert!(accepts_trailers);
        assert_eq!(fields, map(&[&passed[..], &own()].concat()));
        assert_eq!(
            response(map(&[&passed[..], &stays[..5]].concat())),
            map(&passed)
        );
    }

    #[test]
    fn rfc9110_6_5_1_only_harmless_trailers_are_forwarded() {
        let harmless = [("x-sum", "1"), ("grpc-status", "0")];
        let harmful = [
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("host", "b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
        ];
        let fields = map(&[&harmless[..], &harmful].concat());
        assert_eq!(trailers(fields), map(&harmless));
    }

    #[test]
    fn responses_lose_hop_by_hop_fields() {
        let fields = map(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("sec-websocket-accept", "x"),
            ("sec-websocket-version", "13, 8"),
            ("set-cookie", "a=1"),
            ("location", "/login"),
        ]);
        let kept = [("set-cookie", "a=1"), ("location", "/login")];
        assert_eq!(acceptance(fields.clone()), map(&kept));
        let version = [("sec-websocket-version", "13, 8")];
        assert_eq!(rejection(fields), map(&[&version[..], &kept].concat()));
    }
}
