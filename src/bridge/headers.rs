//! What of a request and of its answer goes on to the other side.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    SET_COOKIE, VIA,
};

use http::Version;

use super::forwarded::{self, Families, From, View};
use crate::handshake::headers;

/// The fields of a client's request that its upstream is to see.
///
/// Fields of one hop and of the handshake stay behind (RFC 9110 §7.6.1),
/// cookies become one field (RFC 9113 §8.2.3), and whom the request comes from
/// is added (RFC 7239) in place of what anybody could have written there.
pub(super) fn request(mut fields: HeaderMap, from: From<'_>) -> (HeaderMap, View) {
    headers::remove_reserved(&mut fields);
    headers::join_cookies(&mut fields);
    let view = forwarded::rewrite(&mut fields, from);
    (fields, view)
}

/// The fields of a plain HTTP request that its upstream is to see, and whether
/// the client takes trailers. What frames the body is written anew, so that
/// nobody else can read its length otherwise (RFC 9112 §11.2).
pub(super) fn plain_http(mut fields: HeaderMap, from: From<'_>) -> (HeaderMap, View, bool) {
    let takes_trailers = headers::keep_end_to_end(&mut fields);
    // An expectation is met here: the server in front says 100 (Continue) once
    // the upstream takes the body.
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        fields.remove(name);
    }
    headers::join_cookies(&mut fields);
    let view = forwarded::rewrite(&mut fields, from);
    (fields, view, takes_trailers)
}

/// The fields of the answer to an ordinary request that its client is to see,
/// without its length.
pub(super) fn answer(mut fields: HeaderMap) -> HeaderMap {
    headers::keep_end_to_end(&mut fields);
    fields.remove(CONTENT_LENGTH);
    fields
}

/// Of fields behind a body, those that mean no harm there: none of framing, of
/// routing (RFC 9110 §6.5.1), or of where the request comes from.
pub(super) fn trailers(mut fields: HeaderMap) -> HeaderMap {
    headers::remove_reserved(&mut fields);
    forwarded::remove(&mut fields, false, Families::default());
    for name in [AUTHORIZATION, COOKIE, SET_COOKIE] {
        fields.remove(name);
    }
    fields
}

/// Adds this hop to those that a message has come by, under the version of HTTP
/// of the last (RFC 9110 §7.6.3).
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

/// Adds to the end of a comma list, in one field.
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

/// The fields of an upstream's acceptance that its client is to see.
pub(super) fn acceptance(mut fields: HeaderMap) -> HeaderMap {
    headers::remove_reserved(&mut fields);
    fields
}

/// The fields of an upstream's refusal that its client is to see. The body
/// was taken apart from its framing, and may have been cut.
pub(super) fn refusal(mut fields: HeaderMap) -> HeaderMap {
    headers::remove_hop_by_hop(&mut fields);
    fields.remove(http::header::CONTENT_LENGTH);
    fields.remove(http::header::SEC_WEBSOCKET_ACCEPT);
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

    fn from(host: &HostPort, trusted: bool) -> From<'_> {
        From {
            client: "192.0.2.7".parse().unwrap(),
            secure: true,
            host,
            trusted,
            families: Families::default(),
            prefix: "",
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
    fn what_is_end_to_end_passes_and_nothing_else() {
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
        assert_eq!(request(fields, from(&host, false)).0, expected);
    }

    #[test]
    fn rfc7239_what_the_client_says_of_itself_is_dropped_unless_it_is_trusted() {
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
        assert_eq!(request(forged.clone(), from(&host, false)).0, map(&own()));
        let fields = request(forged, from(&host, true)).0;
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
    fn rfc7239_6_addresses_of_version_6_are_quoted() {
        let host = "[::1]:1".parse().unwrap();
        for (client, node, bare) in [
            ("2001:db8::7", "\"[2001:db8::7]\"", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ] {
            let from = From {
                client: client.parse().unwrap(),
                secure: false,
                ..from(&host, false)
            };
            let fields = request(HeaderMap::new(), from).0;
            assert_eq!(
                fields["forwarded"],
                format!("for={node};host=\"[::1]:1\";proto=http")
            );
            assert_eq!(fields["x-forwarded-for"], bare);
        }
    }

    #[test]
    fn rfc9110_7_6_1_ordinary_messages_keep_what_is_end_to_end() {
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
        let (fields, _, takes_trailers) = plain_http(fields, from(&host, false));
        assert!(takes_trailers);
        assert_eq!(fields, map(&[&passed[..], &own()].concat()));
        assert_eq!(
            answer(map(&[&passed[..], &stays[..5]].concat())),
            map(&passed)
        );
    }

    #[test]
    fn rfc9110_6_5_1_trailers_frame_route_and_claim_nothing() {
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
    fn answers_lose_what_is_of_one_hop() {
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
        assert_eq!(refusal(fields), map(&[&version[..], &kept].concat()));
    }
}
