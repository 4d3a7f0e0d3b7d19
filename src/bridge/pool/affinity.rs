//! Which requests belong together: by a cookie, a header field, or the client.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::handshake::headers;

/// Leads requests that have something in common to the same server of a pool,
/// as long as it is there and healthy. Nothing is remembered: which server is
/// computed from what they have in common, so all replicas of a bridge agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Cookie { name: String, attributes: String },
    Header(HeaderName),
    Client,
}

impl Affinity {
    /// Attributes of cookies unless told otherwise.
    const ATTRIBUTES: &'static str = "Path=/; HttpOnly; SameSite=Lax";

    /// By the value of a cookie. A client that has none is given one, with a
    /// random value, by the answer that accepts its socket; its attributes are
    /// `Path=/; HttpOnly; SameSite=Lax`.
    ///
    /// # Errors
    ///
    /// If it is no name of a cookie (RFC 6265 §4.1.1).
    pub fn cookie(name: &str) -> Result<Self, InvalidAffinity> {
        Self::cookie_with(name, Self::ATTRIBUTES)
    }

    /// As [`cookie`](Self::cookie), with other attributes, such as
    /// `Path=/chat; Secure; HttpOnly; SameSite=None` for sockets that pages of
    /// other sites open.
    ///
    /// # Errors
    ///
    /// If the name or the attributes cannot be in `Set-Cookie`.
    pub fn cookie_with(name: &str, attributes: &str) -> Result<Self, InvalidAffinity> {
        // A cookie's name is a token, as a header field's is (RFC 6265 §4.1.1).
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

    /// By the value of a header field; requests without it go anywhere.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self(Kind::Header(name))
    }

    /// By the client's address: of the connection, or as proxies tell where the
    /// route [trusts](crate::bridge::RouteBuilder::trust_forwarded) them.
    #[must_use]
    pub fn client() -> Self {
        Self(Kind::Client)
    }

    /// What the request has in common with others.
    pub(super) fn key(&self, request: &HeaderMap, peer: IpAddr) -> Option<Vec<u8>> {
        match &self.0 {
            Kind::Cookie { name, .. } => headers::cookies(request, name)
                .find(|value| !value.is_empty())
                .map(<[u8]>::to_vec),
            Kind::Header(name) => request.get(name).map(|value| value.as_bytes().to_vec()),
            Kind::Client => Some(peer.to_canonical().to_string().into_bytes()),
        }
    }

    /// Whether a client without a key is given one.
    pub(super) fn mints(&self) -> bool {
        matches!(self.0, Kind::Cookie { .. })
    }

    /// `Set-Cookie` for a new key.
    pub(super) fn set_cookie(&self, key: &str) -> Option<Result<HeaderValue, InvalidHeaderValue>> {
        match &self.0 {
            Kind::Cookie { name, attributes } if attributes.is_empty() => {
                Some(HeaderValue::try_from(format!("{name}={key}")))
            }
            Kind::Cookie { name, attributes } => {
                Some(HeaderValue::try_from(format!("{name}={key}; {attributes}")))
            }
            Kind::Header(_) | Kind::Client => None,
        }
    }
}

/// A key for a client that has none, of random bytes.
pub(super) fn key_from(bytes: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What no affinity can go by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidAffinity {
    /// The name of a cookie.
    Cookie(String),
    /// The attributes of a cookie.
    Attributes(String),
}

impl fmt::Display for InvalidAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(name) => write!(f, "{name:?} is no name of a cookie"),
            Self::Attributes(text) => write!(f, "{text:?} are no attributes of a cookie"),
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
        let key = affinity.key(&request(fields), IpAddr::from([192, 0, 2, 1]));
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
    fn a_header_field_or_the_client_is_a_key_too() {
        let header = Affinity::header(HeaderName::from_static("x-user"));
        assert_eq!(key(&header, &[("x-user", "ann")]).as_deref(), Some("ann"));
        assert_eq!(key(&header, &[]), None);
        assert!(!header.mints() && header.set_cookie("x").is_none());
        let client = key(&Affinity::client(), &[]);
        assert_eq!(client.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_new_cookie_comes_back_as_its_key() {
        let affinity = Affinity::cookie("lb").unwrap();
        let minted = key_from([0xFE; 16]);
        let set = affinity.set_cookie(&minted).unwrap().unwrap();
        let set = set.to_str().unwrap();
        assert_eq!(set, format!("lb={minted}; Path=/; HttpOnly; SameSite=Lax"));
        let sent = HeaderValue::try_from(set.split(';').next().unwrap()).unwrap();
        let request: HeaderMap = [(COOKIE, sent)].into_iter().collect();
        let key = affinity.key(&request, IpAddr::from([0; 4])).unwrap();
        assert_eq!(key, minted.as_bytes());
    }

    #[test]
    fn nothing_is_smuggled_into_a_cookie() {
        assert!(Affinity::cookie("a b").is_err());
        assert!(Affinity::cookie("a=b").is_err());
        assert!(Affinity::cookie_with("a", "Path=/\r\nx: y").is_err());
    }
}
