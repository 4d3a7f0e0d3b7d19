//! Session affinity: requests with the same cookie, header field, query parameter, path
//! segment or client go to the same server.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::handshake::headers;
use crate::percent::{self, Byte};
use crate::server::query;

/// Sends requests with the same key to the same server of a pool, as long as that
/// is present and healthy.
///
/// The server is computed from the key and not stored, so all replicas of a bridge
/// agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Cookie { name: String, attributes: String },
    Header(HeaderName),
    Query(String),
    PathSegment(NonZeroUsize),
    Client,
}

/// What decides about the affinity of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::bridge) struct KeySource<'a> {
    /// As the client sent it.
    pub(in crate::bridge) path_and_query: &'a str,
    pub(in crate::bridge) fields: &'a HeaderMap,
    pub(in crate::bridge) client: IpAddr,
}

impl Affinity {
    /// Default attributes of the cookie.
    const ATTRIBUTES: &'static str = "Path=/; HttpOnly; SameSite=Lax";

    /// Uses the value of a cookie as the key. A client without the cookie gets one
    /// with a random value and the attributes `Path=/; HttpOnly; SameSite=Lax` in
    /// the response.
    ///
    /// # Errors
    ///
    /// If `name` is not a valid cookie name (RFC 6265 §4.1.1).
    pub fn cookie(name: &str) -> Result<Self, InvalidAffinity> {
        Self::cookie_with(name, Self::ATTRIBUTES)
    }

    /// Like [`cookie`](Self::cookie), with other attributes, such as
    /// `Path=/chat; Secure; HttpOnly; SameSite=None` for WebSockets that pages of
    /// other sites open.
    ///
    /// # Errors
    ///
    /// If the name or the attributes are not valid in `Set-Cookie`.
    pub fn cookie_with(name: &str, attributes: &str) -> Result<Self, InvalidAffinity> {
        // A cookie's name is a token, like that of a header field (RFC 6265
        // §4.1.1).
        if HeaderName::try_from(name).is_err() {
            return Err(InvalidAffinity::Cookie(name.to_owned()));
        }
        if HeaderValue::try_from(attributes).is_err() || !attributes.is_ascii() {
            return Err(InvalidAffinity::Attributes(attributes.to_owned()));
        }
        Ok(Self(Kind::Cookie {
            name: name.to_owned(),
            attributes: attributes.to_owned(),
        }))
    }

    /// Uses the value of a header field as the key. Requests without the field have
    /// no affinity.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self(Kind::Header(name))
    }

    /// Uses the first query parameter with this name as the key, such as `room` in
    /// `/chat?room=7`: pages cannot set header fields of WebSockets. Requests without it,
    /// or with an empty value, have no affinity.
    ///
    /// # Errors
    ///
    /// If `name` is empty.
    pub fn query(name: &str) -> Result<Self, InvalidAffinity> {
        if name.is_empty() {
            return Err(InvalidAffinity::Query);
        }
        Ok(Self(Kind::Query(name.to_owned())))
    }

    /// Uses a segment of the path as the key, counted from 1: the second one of
    /// `/chat/room-7/socket` is `room-7`. Requests without it, or with an empty one, have
    /// no affinity. A [prefix](crate::bridge::RouteBuilder::strip_prefix) that the route
    /// removes counts.
    #[must_use]
    pub fn path_segment(number: NonZeroUsize) -> Self {
        Self(Kind::PathSegment(number))
    }

    /// Uses the client's address as the key: that of the connection, or the one
    /// reported by a proxy that the route
    /// [trusts](crate::bridge::RouteBuilder::trust_forwarded).
    #[must_use]
    pub fn client() -> Self {
        Self(Kind::Client)
    }

    /// Returns the key of a request; `None` without affinity.
    pub(super) fn key(&self, request: KeySource<'_>) -> Option<Vec<u8>> {
        let fields = request.fields;
        let (path, query) = match request.path_and_query.split_once('?') {
            Some((path, query)) => (path, query),
            None => (request.path_and_query, ""),
        };
        let present = |value: Vec<u8>| (!value.is_empty()).then_some(value);
        match &self.0 {
            Kind::Cookie { name, .. } => headers::cookies(fields, name)
                .find(|value| !value.is_empty())
                .map(<[u8]>::to_vec),
            Kind::Header(name) => fields.get(name).map(|value| value.as_bytes().to_vec()),
            Kind::Query(name) => {
                let value = query::value(query, name)?;
                present(value.into_owned().into_bytes())
            }
            // The path begins with a slash, so what precedes it is number 0.
            Kind::PathSegment(number) => {
                let segment = path.split('/').nth(number.get())?;
                // Unlike in a query, a `+` is not a space.
                present(percent::bytes(segment).map(Byte::value).collect())
            }
            Kind::Client => Some(request.client.to_canonical().to_string().into_bytes()),
        }
    }

    /// Whether a client without a key gets one.
    pub(super) fn assigns_keys(&self) -> bool {
        matches!(self.0, Kind::Cookie { .. })
    }

    /// Returns the `Set-Cookie` field that assigns a key.
    pub(super) fn set_cookie(&self, key: &str) -> Option<Result<HeaderValue, InvalidHeaderValue>> {
        match &self.0 {
            Kind::Cookie { name, attributes } if attributes.is_empty() => {
                Some(HeaderValue::try_from(format!("{name}={key}")))
            }
            Kind::Cookie { name, attributes } => {
                Some(HeaderValue::try_from(format!("{name}={key}; {attributes}")))
            }
            Kind::Header(_) | Kind::Query(_) | Kind::PathSegment(_) | Kind::Client => None,
        }
    }
}

/// Encodes random bytes as a key.
pub(super) fn key_from(bytes: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An invalid key for session affinity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidAffinity {
    /// The cookie's name is invalid.
    Cookie(String),
    /// The cookie's attributes are invalid.
    Attributes(String),
    /// The name of the query parameter is empty.
    Query,
}

impl fmt::Display for InvalidAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(name) => write!(
                f,
                "invalid cookie name {name:?}; expected a token such as lb"
            ),
            Self::Query => f.write_str("empty query parameter; expected a name such as room"),
            Self::Attributes(text) => write!(
                f,
                "invalid cookie attributes {text:?}; expected e.g. Path=/; Secure"
            ),
        }
    }
}

impl std::error::Error for InvalidAffinity {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;

    fn request(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn key(affinity: &Affinity, fields: &[(&'static str, &'static str)]) -> Option<String> {
        key_at(affinity, "/", fields)
    }

    fn key_at(
        affinity: &Affinity,
        path_and_query: &str,
        fields: &[(&'static str, &'static str)],
    ) -> Option<String> {
        let key = affinity.key(KeySource {
            path_and_query,
            fields: &request(fields),
            client: IpAddr::from([192, 0, 2, 1]),
        });
        key.map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_cookie_is_found_among_others_and_in_split_fields() {
        let affinity = Affinity::cookie("lb").unwrap();
        for (fields, found) in [
            (&[("cookie", "lb=x")][..], Some("x")),
            (&[("cookie", "a=b; lb=x;c=d")], Some("x")),
            (&[("cookie", "a=b"), ("cookie", "lb=x=y")], Some("x=y")),
            (&[("cookie", "lb=; lb=y")], Some("y")),
            (&[("cookie", "lb=\"x\"")], Some("x")),
            (&[("cookie", "xlb=x; lb; LB=z")], None),
            (&[("lb", "x")], None),
            (&[], None),
        ] {
            assert_eq!(key(&affinity, fields).as_deref(), found, "{fields:?}");
        }
    }

    #[test]
    fn a_header_field_or_the_client_can_be_the_key() {
        let header = Affinity::header(HeaderName::from_static("x-user"));
        assert_eq!(key(&header, &[("x-user", "ann")]).as_deref(), Some("ann"));
        assert_eq!(key(&header, &[]), None);
        assert!(!header.assigns_keys() && header.set_cookie("x").is_none());
        let client = key(&Affinity::client(), &[]);
        assert_eq!(client.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_query_parameter_or_a_path_segment_can_be_the_key() {
        let query = Affinity::query("room").unwrap();
        assert_eq!(Affinity::query(""), Err(InvalidAffinity::Query));
        for (path, found) in [
            ("/chat?room=7", Some("7")),
            ("/chat?a=b&room=r%37+x&room=8", Some("r7 x")),
            ("/chat?room=&room=7", None),
            ("/chat?bedroom=7", None),
            ("/room=7", None),
            ("/", None),
        ] {
            assert_eq!(key_at(&query, path, &[]).as_deref(), found, "{path}");
        }
        let segment = |number| Affinity::path_segment(NonZeroUsize::new(number).unwrap());
        for (path, number, found) in [
            ("/chat/room?x", 1, Some("chat")),
            ("/chat/room?x", 2, Some("room")),
            ("/chat/r%6Fom/", 2, Some("room")),
            ("/chat/r+m%20", 2, Some("r+m ")),
            ("/chat/?room", 2, None),
            ("/chat?/room", 2, None),
            ("/chat//room", 2, None),
            ("/chat", 3, None),
        ] {
            let key = key_at(&segment(number), path, &[]);
            assert_eq!(key.as_deref(), found, "{path} {number}");
        }
        assert!(!query.assigns_keys() && query.set_cookie("x").is_none());
    }

    #[test]
    fn an_assigned_cookie_is_read_back_as_the_key() {
        let affinity = Affinity::cookie("lb").unwrap();
        let assigned = key_from([0xFE; 16]);
        let set = affinity.set_cookie(&assigned).unwrap().unwrap();
        let set = set.to_str().unwrap();
        assert_eq!(
            set,
            format!("lb={assigned}; Path=/; HttpOnly; SameSite=Lax")
        );
        let sent = HeaderValue::try_from(set.split(';').next().unwrap()).unwrap();
        let request: HeaderMap = [(COOKIE, sent)].into_iter().collect();
        let source = KeySource {
            path_and_query: "/",
            fields: &request,
            client: IpAddr::from([0; 4]),
        };
        let key = affinity.key(source).unwrap();
        assert_eq!(key, assigned.as_bytes());
    }

    #[test]
    fn invalid_cookies_are_rejected() {
        assert!(Affinity::cookie("a b").is_err());
        assert!(Affinity::cookie("a=b").is_err());
        assert!(Affinity::cookie_with("a", "Path=/\r\nx: y").is_err());
    }
}
