//! Forward authentication: another server decides whether a request may pass.
//!
//! **The rule.** A request passes only if the server answered 2xx for it, in time. An
//! answer with another status is the client's; without an answer there is 502, 503 or
//! 504. The fields that the server may add to the request are removed from the client's
//! request before, whatever the server answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, SEC_WEBSOCKET_PROTOCOL,
};

use super::auth_places::AuthPlaces;
use super::forwarded::{ClientView, Families};
use super::spellings::remove_spellings;
use crate::handshake::headers::is_fixed;
use crate::handshake::{Target, UrlError};

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Fields that describe the body, or that ask for a part of a response or for none.
const OF_THE_REQUEST_ALONE: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    IF_RANGE,
    RANGE,
];

/// Forward authentication: a server such as Authelia, authentik or OAuth2 Proxy decides
/// whether a request may pass, for a WebSocket or not.
///
/// The server is sent GET with the fields of the client's request, including cookies
/// and `Authorization`, and `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`,
/// which describe it, as with Traefik's `forwardAuth`, and with the offered
/// subprotocols of a WebSocket. If it answers 2xx the request is forwarded. Any other
/// answer goes to the client, such as 302 to a login page or 401 with
/// `WWW-Authenticate`. If the server cannot be reached or sends an invalid
/// answer or one with more than 64 KiB, the client gets 502; if it does not answer in
/// time, 504; if [too many](Self::max_requests) requests wait for it, 503.
///
/// The bridge's [client](crate::bridge::Bridge::client) connects to the server, and
/// connections are reused.
///
/// ```
/// use h2ws::bridge::{ForwardAuth, Route};
///
/// let auth = ForwardAuth::new("http://127.0.0.1:9091/api/authz/forward-auth")?
///     .copy_headers(["Remote-User", "Remote-Groups"])?;
/// let route = Route::builder("*", "/chat/*")?
///     .upstream("ws://127.0.0.1:9000".parse()?)
///     .forward_auth(auth)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ForwardAuth {
    url: Arc<str>,
    target: Target,
    copied: Vec<HeaderName>,
    pub(super) timeout: Duration,
    max_requests: usize,
    max_requests_per_client: Option<usize>,
    pub(super) places: Arc<AuthPlaces>,
}

/// A client's request that is to be authorized.
pub(super) struct Authorizing<'a> {
    /// GET for a WebSocket.
    pub(super) method: &'a Method,
    /// As the client sent it.
    pub(super) path_and_query: &'a str,
    pub(super) view: &'a ClientView,
    /// Those that are offered for a WebSocket; some clients put a token there.
    pub(super) subprotocols: &'a [String],
    /// The fields for the upstream.
    pub(super) fields: &'a mut HeaderMap,
}

impl ForwardAuth {
    /// Default of [`max_requests`](Self::max_requests).
    const MAX_REQUESTS: usize = 1024;

    /// Uses the server at an `http://` or `https://` URL, also on a Unix socket
    /// (`http+unix:/run/auth.sock:/verify`). It is requested as it is, with its path and
    /// query.
    ///
    /// # Errors
    ///
    /// If the URL is invalid.
    pub fn new(url: &str) -> Result<Self, InvalidForwardAuth> {
        let invalid = |error| InvalidForwardAuth::Url(url.to_owned(), error);
        let has_scheme = |scheme: &str| {
            let start = url.as_bytes().get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
        };
        if !["http:", "https:", "http+unix:", "https+unix:"]
            .into_iter()
            .any(has_scheme)
        {
            return Err(InvalidForwardAuth::Scheme(url.to_owned()));
        }
        Ok(Self {
            target: url.parse().map_err(invalid)?,
            url: url.into(),
            copied: Vec::new(),
            timeout: Duration::from_secs(5),
            max_requests: Self::MAX_REQUESTS,
            max_requests_per_client: None,
            places: AuthPlaces::new(Self::MAX_REQUESTS, None),
        })
    }

    /// Sets the fields of the server's answer that are copied to the request to the
    /// upstream, such as `Remote-User`. Those of the client are always removed. Default:
    /// none.
    ///
    /// # Errors
    ///
    /// If a name is not valid, or reserved for the connection or the WebSocket handshake.
    pub fn copy_headers<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidForwardAuth> {
        for name in names {
            let invalid = || InvalidForwardAuth::Header(name.to_owned());
            let parsed = HeaderName::try_from(name).map_err(|_| invalid())?;
            if is_fixed(&parsed) {
                return Err(invalid());
            }
            self.copied.push(parsed);
        }
        Ok(self)
    }

    /// Sets how long the server may take to answer, including the time to connect and to
    /// wait for others. Default 5 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the maximum number of concurrent requests to the server, and so of
    /// connections over HTTP/1.1. Further ones wait. Default 1,024.
    #[must_use]
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.max_requests = requests;
        self.with_places()
    }

    /// Sets the maximum number of concurrent requests for one client: an IPv4 address or an
    /// IPv6 /64 network, as reported by trusted proxies
    /// ([`trust_forwarded`](crate::bridge::RouteBuilder::trust_forwarded)). Further ones wait,
    /// so that one client cannot take all places at a slow server. Default: a tenth of
    /// [`max_requests`](Self::max_requests), at least one.
    #[must_use]
    pub fn max_requests_per_client(mut self, requests: usize) -> Self {
        self.max_requests_per_client = Some(requests);
        self.with_places()
    }

    fn with_places(mut self) -> Self {
        self.places = AuthPlaces::new(self.max_requests, self.max_requests_per_client);
        self
    }

    /// Returns the number of requests in progress, and its limit.
    #[must_use]
    pub fn requests(&self) -> (usize, usize) {
        (self.places.taken(), self.places.max())
    }

    /// Returns the number of requests in progress for the client that has most, and its limit.
    #[must_use]
    pub fn requests_of_busiest_client(&self) -> (usize, usize) {
        let places = &self.places;
        (places.of_busiest_client(), places.per_client())
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Removes the fields that only the server may add.
    pub(super) fn strip(&self, fields: &mut HeaderMap) {
        let copied: Vec<_> = self.copied.iter().collect();
        remove_spellings(fields, &copied);
    }

    /// Adds the fields of the server's answer.
    pub(super) fn grant(&self, fields: &mut HeaderMap, answer: &HeaderMap) {
        for name in &self.copied {
            for value in answer.get_all(name) {
                fields.append(name, value.clone());
            }
        }
    }

    /// The fields of the request to the server.
    pub(super) fn fields(&self, request: &Authorizing<'_>) -> HeaderMap {
        let mut fields = request.fields.clone();
        for name in OF_THE_REQUEST_ALONE {
            fields.remove(name);
        }
        // Written in any case, as they are what the server decides by.
        let families = Families {
            forwarded: false,
            x_forwarded: true,
        };
        request.view.write(&mut fields, families);
        let subprotocols = request.subprotocols.join(", ");
        for (name, value) in [
            (METHOD, request.method.as_str()),
            (URI, request.path_and_query),
            (SEC_WEBSOCKET_PROTOCOL, &subprotocols),
        ] {
            remove_spellings(&mut fields, &[&name]);
            if value.is_empty() {
                continue;
            }
            // A path may contain bytes beyond ASCII. It contains no control characters; if
            // it did, the server would get an empty field, not one less.
            let value = HeaderValue::from_bytes(value.as_bytes());
            fields.insert(name, value.unwrap_or(HeaderValue::from_static("")));
        }
        fields
    }
}

/// An invalid configuration of forward authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidForwardAuth {
    /// The URL is not `http` or `https`.
    Scheme(String),
    /// The URL is invalid.
    Url(String, UrlError),
    /// A field that cannot be copied: its name is invalid or reserved.
    Header(String),
}

impl fmt::Display for InvalidForwardAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(url) => write!(
                f,
                "invalid URL {url:?}; expected e.g. http://127.0.0.1:9091/verify"
            ),
            Self::Url(url, error) => write!(f, "invalid URL {url:?}: {error}"),
            Self::Header(name) => write!(
                f,
                "header {name:?} cannot be copied; expected e.g. Remote-User"
            ),
        }
    }
}

impl std::error::Error for InvalidForwardAuth {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_rejected() {
        for url in [
            "http://a",
            "HTTPS://a/verify?rd=b",
            "http+unix:/run/a.sock:/verify",
        ] {
            assert!(ForwardAuth::new(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "a",
            "ws://a",
            "tcp://a:1",
            "http://",
            "http://a:x",
            "http://a/#b",
            "httpé",
        ] {
            assert!(ForwardAuth::new(url).is_err(), "{url}");
        }
        let auth = ForwardAuth::new("http://a").unwrap();
        assert!(auth.clone().copy_headers(["Remote-User", "cookie"]).is_ok());
        for name in [
            "",
            "a b",
            "Host",
            "connection",
            "Sec-WebSocket-Key",
            "content-length",
        ] {
            let copied = auth.clone().copy_headers([name]);
            assert!(copied.is_err(), "{name}");
        }
    }

    #[test]
    fn only_the_server_can_add_the_copied_fields() {
        let auth = ForwardAuth::new("http://a").unwrap();
        let auth = auth.copy_headers(["Remote-User", "remote-groups"]).unwrap();
        let map = |fields: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, HeaderValue::from_static(value));
            }
            map
        };
        let mut fields = map(&[
            ("remote-user", "forged"),
            ("remote_user", "forged"),
            ("remote-groups", "forged"),
            ("remote-name", "passed"),
        ]);
        auth.strip(&mut fields);
        assert_eq!(fields, map(&[("remote-name", "passed")]));
        let answer = [
            ("remote-groups", "a"),
            ("remote-groups", "b"),
            ("x-other", "c"),
        ];
        auth.grant(&mut fields, &map(&answer));
        let expected = [
            ("remote-name", "passed"),
            ("remote-groups", "a"),
            ("remote-groups", "b"),
        ];
        assert_eq!(fields, map(&expected));
    }
}
