//! Which requests a route is for: by host and by path, and which of two
//! patterns says more.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::uri::PathAndQuery;

use crate::handshake::HostPort;

/// Bytes of a host. No name is longer (RFC 1035 §2.3.4), and
/// what is looked up for each dot has to end.
const LONGEST_HOST: usize = 255;

/// Which hosts: a name or an address alone, `*.name` for all names below it,
/// or `*` for any. Ports are not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HostPattern {
    Exact(String),
    /// What follows `*.`.
    Below(String),
    Any,
}

impl HostPattern {
    /// A host as it is looked up: without the dot at its end.
    pub(super) fn key(authority: &HostPort) -> Option<&str> {
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        (host.len() <= LONGEST_HOST).then_some(host)
    }
}

impl FromStr for HostPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (wild, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let invalid = || InvalidPattern::Host(text.to_owned());
        // An IPv6 address may come without the brackets that a URL needs.
        let bracketed;
        let name = match name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => {
                bracketed = format!("[{address}]");
                &bracketed
            }
            Err(_) => name,
        };
        let parsed: HostPort = name.parse().map_err(|_| invalid())?;
        if parsed.port().is_some() || (wild && name.starts_with('[')) {
            return Err(invalid());
        }
        let key = Self::key(&parsed).ok_or_else(invalid)?.to_owned();
        Ok(if wild {
            Self::Below(key)
        } else {
            Self::Exact(key)
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Which paths: `/chat` alone, or `/chat/*` for `/chat` and all below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PathPattern {
    Exact(String),
    /// Without the slash at its end; the empty one matches everything.
    Prefix(String),
}

impl FromStr for PathPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern::Path(text.to_owned());
        let (prefix, path) = match text.strip_suffix("/*") {
            Some(path) => (true, path),
            None => (false, text),
        };
        let rooted = path.starts_with('/') || (prefix && path.is_empty());
        let plain = !path.contains(['*', '?', '#', ' ']) && path.is_ascii();
        if !rooted || !plain || PathAndQuery::try_from(text).is_err() {
            return Err(invalid());
        }
        let path = normal(path).ok_or_else(invalid)?.into_owned();
        Ok(if prefix {
            Self::Prefix(path)
        } else {
            Self::Exact(path)
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}/*"),
        }
    }
}

/// A path as it is compared: characters that need no percent-encoding without
/// it (RFC 3986 §6.2.2.2), so that `/%61dmin` is not a way around `/admin`.
///
/// `None` for a path with `.` or `..` for a segment: no client that follows
/// RFC 3986 §5.2.4 sends one, and an upstream that resolves it would end up
/// elsewhere than the route that was looked for.
pub(super) fn normal(path: &str) -> Option<Cow<'_, str>> {
    let path = match path.contains('%') {
        true => Cow::Owned(decode_unreserved(path)),
        false => Cow::Borrowed(path),
    };
    let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    (!dots).then_some(path)
}

/// How servers may read a path beside as it is [normal]: none for one
/// that leaves no doubt, which nearly all do. `None` if a reading has `.` or `..`
/// for a segment.
pub(super) fn readings(path: &str) -> Option<Vec<String>> {
    if !path.contains("//") && !path.contains(['%', ';', '\\']) {
        return Some(Vec::new());
    }
    let mut readings = vec![path.to_owned(), unescaped(path)];
    for at in 0..readings.len() {
        let bare = readings[at].split('/').map(|segment| {
            let end = segment.find(';').unwrap_or(segment.len());
            &segment[..end]
        });
        readings.push(bare.collect::<Vec<_>>().join("/"));
    }
    for at in 0..readings.len() {
        let mut joined = readings[at].clone();
        while joined.contains("//") {
            joined = joined.replace("//", "/");
        }
        readings.push(joined);
    }
    let dots = |path: &String| path.split('/').any(|segment| matches!(segment, "." | ".."));
    (!readings.iter().any(dots)).then_some(readings)
}

/// Without the encoding of what may part segments, however often it was encoded.
fn unescaped(path: &str) -> String {
    let mut path = path.replace('\\', "/");
    loop {
        let decoded = decode_unreserved(&path)
            .replace("%2F", "/")
            .replace("%5C", "/")
            .replace("%3B", ";")
            .replace("%25", "%");
        // It grows shorter, or is the same.
        if decoded.len() >= path.len() {
            return decoded;
        }
        path = decoded;
    }
}

fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3);
        let byte = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        match byte {
            Some(byte) if unreserved(&byte) => {
                decoded.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            // What has to stay encoded is the same in either case of digits.
            Some(byte) => {
                decoded.push_str(&format!("%{byte:02X}"));
                rest = &rest[at + 3..];
            }
            None => {
                decoded.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The path behind the first `segments` segments, and the query. Counted, not
/// cut by length: a segment may be longer than its normal form.
pub(super) fn behind(path_and_query: &str, segments: usize) -> &str {
    let end = path_and_query.find('?').unwrap_or(path_and_query.len());
    let path = &path_and_query[..end];
    let at = path.match_indices('/').nth(segments);
    &path_and_query[at.map_or(end, |(at, _)| at)..]
}

/// A pattern that no request could match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPattern {
    /// It is for hosts.
    Host(String),
    /// It is for paths.
    Path(String),
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(
                f,
                "{host:?} is no host such as example.com, *.example.com or * (without a port)"
            ),
            Self::Path(path) => write!(
                f,
                "{path:?} is no path such as /chat (alone), /chat/* (with all below it) or /*"
            ),
        }
    }
}

impl std::error::Error for InvalidPattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_shown_as_they_are_written() {
        for host in ["*", "example.com", "*.example.com", "127.0.0.1", "::1"] {
            assert_eq!(host.parse::<HostPattern>().unwrap().to_string(), host);
        }
        for path in ["/", "/*", "/chat", "/chat/*", "/a/b/", "/%2F"] {
            assert_eq!(path.parse::<PathPattern>().unwrap().to_string(), path);
        }
        let host: HostPattern = "EXAMPLE.com.".parse().unwrap();
        assert_eq!(host, HostPattern::Exact("example.com".into()));
    }

    #[test]
    fn what_matches_nothing_is_refused() {
        for host in ["", "a:1", "*a", "a.*", "*.", "*.[::1]", "a b", "*.*.a"] {
            assert!(host.parse::<HostPattern>().is_err(), "{host}");
        }
        for path in [
            "", "*", "chat", "/a*", "/*/a", "/a?b", "/a#b", "/../a", "/a/%2e", "/ä",
        ] {
            assert!(path.parse::<PathPattern>().is_err(), "{path}");
        }
    }

    #[test]
    fn paths_that_mean_the_same_are_compared_as_the_same() {
        for (path, same) in [
            ("/a", Some("/a")),
            ("/%61%2d%7E", Some("/a-~")),
            ("/a%2fb", Some("/a%2Fb")),
            ("/%zz%4", Some("/%zz%4")),
            ("/%", Some("/%")),
            ("/a..b/.c", Some("/a..b/.c")),
            ("/a/../b", None),
            ("/a/%2E./b", None),
            ("/a/.", None),
        ] {
            assert_eq!(normal(path).as_deref(), same, "{path}");
        }
    }

    #[test]
    fn a_path_has_as_many_readings_as_servers() {
        for plain in ["/", "/a/b", "/a.b/c~", "/a:b@c,d=e"] {
            assert_eq!(readings(plain).unwrap(), Vec::<String>::new(), "{plain}");
        }
        for (path, read) in [
            ("//admin", "/admin"),
            ("/x//admin", "/x/admin"),
            ("/%2Fadmin", "/admin"),
            ("/%5Cadmin", "/admin"),
            ("/\\admin", "/admin"),
            ("/admin;x/y", "/admin/y"),
            ("/admin%3Bx/y", "/admin/y"),
            ("/%252Fadmin", "/admin"),
            ("/%25252Fadmin", "/admin"),
            ("/;x/admin", "/admin"),
            ("/;%2F;/admin", "/admin"),
            ("/%25%32%46admin", "/admin"),
        ] {
            let found = readings(&normal(path).unwrap()).unwrap();
            assert!(
                found.iter().any(|reading| reading == read),
                "{path} {found:?}"
            );
        }
        for path in [
            "/x/..;/admin",
            "/x/..%2Fadmin",
            "/x/..%5Cadmin",
            "/x/..\\admin",
            "/x/%252e%252e/admin",
            "/x/.;a/y",
            "/x;/..;y/z",
        ] {
            assert_eq!(readings(&normal(path).unwrap()), None, "{path}");
        }
        let long = "/%2525".repeat(10_000);
        assert!(readings(&long).is_some());
    }

    #[test]
    fn segments_are_cut_off_whole() {
        for (path, segments, rest) in [
            ("/a/b?c/d", 0, "/a/b?c/d"),
            ("/a/b?c/d", 1, "/b?c/d"),
            ("/a/b?c/d", 2, "?c/d"),
            ("/%61/b", 1, "/b"),
            ("/a", 1, ""),
        ] {
            assert_eq!(behind(path, segments), rest);
        }
    }
}
