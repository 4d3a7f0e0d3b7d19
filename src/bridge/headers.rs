//! What of a request and of its answer goes on to the other side.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST as HOST_FIELD, HeaderMap,
    HeaderName, HeaderValue, SET_COOKIE, VIA,
};

use http::Version;

use crate::handshake::{HostPort, headers};

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct From<'a> {
    pub(super) client: IpAddr,
    pub(super) secure: bool,
    pub(super) host: &'a HostPort,
    /// Whether to believe what the client says of those before it, because it
    /// is a proxy of the operator's.
    pub(super) trusted: bool,
}

/// The fields of a client's request that its upstream is to see.
///
/// Fields of one hop and of the handshake stay behind (RFC 9110 §7.6.1),
/// cookies become one field (RFC 9113 §8.2.3), and whom the request comes from
/// is added (RFC 7239) in place of what anybody could have written there.
pub(super) fn request(mut fields: HeaderMap, from: From<'_>) -> HeaderMap {
    headers::remove_reserved(&mut fields);
    headers::join_cookies(&mut fields);
    if !from.trusted {
        remove_forwarded(&mut fields);
    }
    add_forwarded(&mut fields, from);
    fields
}

/// The fields of an ordinary request that its upstream is to see, and whether
/// the client takes trailers. What frames the body is written anew, so that
/// nobody else can read its length otherwise (RFC 9112 §11.2).
pub(super) fn ordinary(mut fields: HeaderMap, from: From<'_>) -> (HeaderMap, bool) {
    let takes_trailers = headers::keep_end_to_end(&mut fields);
    // An expectation is met here: the server in front says 100 (Continue) once
    // the upstream takes the body.
    for name in [HOST_FIELD, CONTENT_LENGTH, EXPECT] {
        fields.remove(name);
    }
    headers::join_cookies(&mut fields);
    if !from.trusted {
        remove_forwarded(&mut fields);
    }
    add_forwarded(&mut fields, from);
    (fields, takes_trailers)
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
    remove_forwarded(&mut fields);
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

fn remove_forwarded(fields: &mut HeaderMap) {
    let named = |name: &&HeaderName| {
        name.as_str().starts_with("x-forwarded-") || **name == FORWARDED || **name == REAL_IP
    };
    let names: Vec<HeaderName> = fields.keys().filter(named).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

fn add_forwarded(fields: &mut HeaderMap, from: From<'_>) {
    // An IPv4 client of a listener on `[::]`.
    let client = from.client.to_canonical();
    let proto = if from.secure { "https" } else { "http" };
    let host = from.host.to_string();
    let node = match client {
        IpAddr::V4(client) => client.to_string(),
        IpAddr::V6(client) => format!("\"[{client}]\""),
    };
    // A host's characters need no escape between quotes (RFC 9110 §5.6.4).
    let element = format!("for={node};host=\"{host}\";proto={proto}");
    append_to_list(fields, FORWARDED, &element);
    append_to_list(fields, FOR, &client.to_string());
    // The client's own, not the one of the proxy before us.
    for (name, value) in [(PROTO, proto), (HOST, &host)] {
        if !fields.contains_key(&name)
            && let Ok(value) = HeaderValue::from_str(value)
        {
            fields.insert(name, value);
        }
    }
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
        assert_eq!(request(fields, from(&host, false)), expected);
    }

    #[test]
    fn rfc7239_what_the_client_says_of_itself_is_dropped_unless_it_is_trusted() {
        let host = "a:8443".parse().unwrap();
        let forged = map(&[
            ("forwarded", "for=10.0.0.1"),
            ("forwarded", "for=10.0.0.2"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "10.0.0.1"),
        ]);
        assert_eq!(request(forged.clone(), from(&host, false)), map(&own()));
        let fields = request(forged, from(&host, true));
        assert_eq!(fields.get_all("forwarded").iter().count(), 1);
        assert_eq!(
            fields["forwarded"],
            "for=10.0.0.1, for=10.0.0.2, for=192.0.2.7;host=\"a:8443\";proto=https"
        );
        assert_eq!(fields["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
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
            let fields = request(HeaderMap::new(), from);
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
        let (fields, takes_trailers) = ordinary(fields, from(&host, false));
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
