//! Maps locations in responses from the upstream's names to the client's.
//!
//! A route may remove a prefix from the client's path, and an upstream's URL may
//! add one. Responses are mapped the other way: `Location` and
//! `Content-Location` that name the upstream, and the `Path` and `Domain` of
//! cookies. A path that has the client's prefix already, from an application that
//! supports `X-Forwarded-Prefix`, is left alone, and so are locations elsewhere.

use http::header::{CONTENT_LOCATION, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};

use super::forwarded::ClientView;
use super::{Route, Upstream};

/// Maps the locations in the responses of one upstream.
pub(super) struct LocationMap<'a> {
    /// The prefix that the route removes from the client's path.
    removed_prefix: &'a str,
    /// The prefix that the upstream's URL adds.
    added_prefix: &'a str,
    /// The names of the upstream: `host` and `host:port`.
    names: Vec<String>,
    view: &'a ClientView,
}

impl<'a> LocationMap<'a> {
    pub(super) fn new(
        route: &Route,
        upstream: &'a Upstream,
        removed_prefix: &'a str,
        view: &'a ClientView,
    ) -> Self {
        let (host, port) = (upstream.host(), upstream.port());
        let mut names = vec![upstream.authority()];
        if let Some(name) = route.fixed_authority() {
            names.push(name.to_string());
        }
        if matches!(port, 80 | 443) {
            names.push(host.to_owned());
        }
        Self {
            removed_prefix,
            added_prefix: upstream.path_prefix(),
            names,
            view,
        }
    }

    /// Maps the fields of a response.
    pub(super) fn apply(&self, fields: &mut HeaderMap) {
        for name in [LOCATION, CONTENT_LOCATION] {
            let sent = fields.get(&name).and_then(|value| value.to_str().ok());
            let mapped = sent.and_then(|sent| self.location(sent));
            if let Some(value) = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok()) {
                fields.insert(name, value);
            }
        }
        if !fields.contains_key(SET_COOKIE) {
            return;
        }
        let cookies: Vec<_> = fields.get_all(SET_COOKIE).iter().cloned().collect();
        fields.remove(SET_COOKIE);
        for cookie in cookies {
            let mapped = cookie.to_str().ok().and_then(|text| self.cookie(text));
            let mapped = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok());
            fields.append(SET_COOKIE, mapped.unwrap_or(cookie));
        }
    }

    /// Returns `None` for a location that is left alone.
    fn location(&self, url: &str) -> Option<String> {
        let after_scheme = ["http://", "https://", "//"]
            .iter()
            .find_map(|scheme| Some(scheme.len()).filter(|at| starts_with(url, scheme, *at)));
        let Some(at) = after_scheme else {
            return url.starts_with('/').then(|| self.path(url)).flatten();
        };
        let end = url[at..]
            .find(['/', '?', '#'])
            .map_or(url.len(), |end| at + end);
        let (authority, path) = (&url[at..end], &url[end..]);
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let mapped = self.path(&path);
        let ClientView { host, proto, .. } = self.view;
        let is_upstream = |name: &String| name.eq_ignore_ascii_case(authority);
        if authority.eq_ignore_ascii_case(host) {
            return mapped.map(|path| format!("{}{path}", &url[..end]));
        }
        let names_upstream = self.names.iter().any(is_upstream);
        names_upstream.then(|| format!("{proto}://{host}{}", mapped.unwrap_or(path)))
    }

    /// Maps a path of the upstream to the client's; `None` if it is left alone.
    fn path(&self, path: &str) -> Option<String> {
        let rest = below(path, self.added_prefix)?;
        if self.removed_prefix.is_empty() && self.added_prefix.is_empty() {
            return None;
        }
        if !self.removed_prefix.is_empty() && below(rest, self.removed_prefix).is_some() {
            return None;
        }
        let slash = if self.removed_prefix.is_empty() && !rest.starts_with('/') {
            "/"
        } else {
            ""
        };
        Some(format!("{}{slash}{rest}", self.removed_prefix))
    }

    fn cookie(&self, cookie: &str) -> Option<String> {
        // Browsers reject such a cookie if its path is not `/` (RFC 6265bis
        // §4.1.3.2).
        if starts_with(cookie, "__host-", "__host-".len()) {
            return None;
        }
        let mut has_changed = false;
        let mut parts = Vec::new();
        for part in cookie.split(';') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            let is_attribute = !parts.is_empty();
            if is_attribute && name.eq_ignore_ascii_case("path") {
                let root = value.strip_suffix('/').filter(|_| value == "/");
                if let Some(mapped) = self.path(root.map_or(value, |_| "/")) {
                    // `Path=/chat` covers `/chat` itself, which `/chat/` does not.
                    let trimmed = if value == "/" && mapped.len() > 1 {
                        mapped.trim_end_matches('/')
                    } else {
                        &mapped
                    };
                    parts.push(format!(" Path={trimmed}"));
                    has_changed = true;
                    continue;
                }
            }
            let is_domain = is_attribute && name.eq_ignore_ascii_case("domain");
            let domain = value.trim_start_matches('.');
            let names_upstream = |known: &String| {
                let host = known
                    .rsplit_once(':')
                    .map_or(known.as_str(), |(host, _)| host);
                host.eq_ignore_ascii_case(domain)
            };
            let client = &self.view.host;
            let client = client
                .rsplit_once(':')
                .map_or(client.as_str(), |(host, _)| host);
            if is_domain
                && self.names.iter().any(names_upstream)
                && !client.eq_ignore_ascii_case(domain)
            {
                has_changed = true;
                continue;
            }
            parts.push(part.to_owned());
        }
        has_changed.then(|| parts.join(";"))
    }
}

fn starts_with(text: &str, prefix: &str, length: usize) -> bool {
    let start = text.get(..length);
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns the rest of `path` after `prefix`, which must end at a segment
/// boundary.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    let ends = rest.is_empty() || rest.starts_with(['/', '?', '#']);
    (ends || prefix.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::forwarded;

    fn mapped(removed_prefix: &str, to: &str, fields: &[(&'static str, &str)]) -> Vec<String> {
        let upstream: Upstream = to.parse().unwrap();
        let route = Route::builder("*", "/*")
            .unwrap()
            .upstream(upstream.clone());
        let route = route.build().unwrap();
        let host = "site.test".parse().unwrap();
        let view = forwarded::rewrite(
            &mut HeaderMap::new(),
            forwarded::Received {
                client: [127, 0, 0, 1].into(),
                is_secure: true,
                host: &host,
                is_trusted: false,
                families: forwarded::Families::default(),
                removed_prefix,
                client_cert: Default::default(),
            },
        );
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        LocationMap::new(&route, &upstream, removed_prefix, &view).apply(&mut headers);
        let values = headers.values();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn locations_are_mapped_to_the_clients_names() {
        const TO: &str = "ws://127.0.0.1:19000";
        for (prefix, to, location, expected) in [
            (
                "",
                TO,
                "http://127.0.0.1:19000/login?a=b",
                "https://site.test/login?a=b",
            ),
            ("", TO, "http://127.0.0.1:19000", "https://site.test/"),
            ("", TO, "//127.0.0.1:19000/x", "https://site.test/x"),
            ("", TO, "http://127.0.0.1:1/x", "http://127.0.0.1:1/x"),
            ("", TO, "/x", "/x"),
            ("/chat", TO, "/login", "/chat/login"),
            ("/chat", TO, "/", "/chat/"),
            ("/chat", TO, "/chat/login", "/chat/login"),
            ("/chat", TO, "/chatter", "/chat/chatter"),
            ("/chat", TO, "room", "room"),
            (
                "/chat",
                TO,
                "http://127.0.0.1:19000/x",
                "https://site.test/chat/x",
            ),
            (
                "/chat",
                TO,
                "http://site.test/x#y",
                "http://site.test/chat/x#y",
            ),
            ("/chat", TO, "https://other.test/x", "https://other.test/x"),
            ("", "ws://a/v2", "/v2/x", "/x"),
            ("", "ws://a/v2", "/v2", "/"),
            ("", "ws://a/v2", "/v22", "/v22"),
            ("", "ws://a/v2", "http://A/v2/x", "https://site.test/x"),
            ("/chat", "ws://a/v2", "/v2?x", "/chat?x"),
        ] {
            let got = mapped(prefix, to, &[("location", location)]);
            assert_eq!(got, [expected], "{prefix} {to} {location}");
        }
    }

    #[test]
    fn cookies_are_mapped_to_the_clients_names() {
        const TO: &str = "ws://app.internal:19000";
        for (prefix, cookie, expected) in [
            (
                "/chat",
                "a=b; Path=/; HttpOnly",
                "a=b; Path=/chat; HttpOnly",
            ),
            ("/chat", "a=b; path=/x", "a=b; Path=/chat/x"),
            ("/chat", "a=b; Path=/chat/x", "a=b; Path=/chat/x"),
            ("/chat", "a=b", "a=b"),
            ("/chat", "Path=/; Secure", "Path=/; Secure"),
            (
                "/chat",
                "__Host-a=b; Path=/; Secure",
                "__Host-a=b; Path=/; Secure",
            ),
            ("", "a=b; Path=/; Domain=app.internal", "a=b; Path=/"),
            ("", "a=b; Domain=.site.test", "a=b; Domain=.site.test"),
        ] {
            assert_eq!(mapped(prefix, TO, &[("set-cookie", cookie)]), [expected]);
        }
        let two = [("set-cookie", "a=b; Path=/"), ("set-cookie", "c=d")];
        assert_eq!(mapped("/chat", TO, &two), ["a=b; Path=/chat", "c=d"]);
    }
}
