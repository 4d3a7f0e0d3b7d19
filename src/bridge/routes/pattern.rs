//! The host and path patterns of routes, and the interpretation of paths.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::uri::PathAndQuery;

use crate::handshake::HostPort;
use crate::percent::{self, Byte};

/// Maximum length of a host, in bytes (RFC 1035 §2.3.4). It bounds the lookups, one for
/// each dot.
const MAX_HOST: usize = 255;

/// A host pattern: a name or an address, `*.name` for all its subdomains, or `*` for any
/// host. Ports are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HostPattern {
    Exact(String),
    /// The name after `*.`.
    Below(String),
    Any,
}

impl HostPattern {
    /// Returns a host as it is looked up: without a trailing dot.
    pub(super) fn key(authority: &HostPort) -> Option<&str> {
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        (host.len() <= MAX_HOST).then_some(host)
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
        // An IPv6 address may be written without brackets.
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

/// A path pattern: `/chat`, or `/chat/*` for `/chat` and all paths below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PathPattern {
    Exact(String),
    /// Without a trailing slash; the empty prefix matches every path.
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
        let path = normalize(path).ok_or_else(invalid)?.into_owned();
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

/// Normalizes a path for comparison: decodes characters that need no percent-encoding
/// (RFC 3986 §6.2.2.2), so that `/%61dmin` does not bypass `/admin`.
///
/// Returns `None` for a path with a `.` or `..` segment: clients that follow RFC 3986
/// §5.2.4 never send one, and an upstream that resolves it would serve another path
/// than the one that was routed.
pub(super) fn normalize(path: &str) -> Option<Cow<'_, str>> {
    let path = match path.contains('%') {
        true => Cow::Owned(decode_unreserved(path)),
        false => Cow::Borrowed(path),
    };
    let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    (!dots).then_some(path)
}

/// Returns how servers may interpret a [normalized](normalize) path besides literally:
/// in no other way, for nearly all paths. Returns `None` if an interpretation has a `.`
/// or `..` segment.
///
/// Servers decode what is encoded several times or as overlong UTF-8, treat `\` as `/`,
/// ignore a segment's parameters after `;`, ignore control characters or end the path at
/// one, end it at an encoded `?` or `#`, and join `//`.
pub(super) fn interpretations(path: &str) -> Option<Vec<String>> {
    let is_special = |c: char| c.is_ascii_control() || matches!(c, '%' | ';' | '\\');
    if !path.contains("//") && !path.contains(is_special) {
        return Some(Vec::new());
    }
    let decoded = decode_repeatedly(path);
    let end = decoded.find(|c: char| c.is_ascii_control() || matches!(c, '?' | '#'));
    let cut = decoded[..end.unwrap_or(decoded.len())].to_owned();
    let visible = decoded.replace(|c: char| c.is_ascii_control(), "");
    let mut found = vec![path.to_owned(), cut, visible];
    for at in 0..found.len() {
        let bare = found[at].split('/').map(|segment| {
            let end = segment.find(';').unwrap_or(segment.len());
            &segment[..end]
        });
        found.push(bare.collect::<Vec<_>>().join("/"));
    }
    for at in 0..found.len() {
        let mut joined = found[at].clone();
        while joined.contains("//") {
            joined = joined.replace("//", "/");
        }
        found.push(joined);
    }
    let dots = |path: &String| path.split('/').any(|segment| matches!(segment, "." | ".."));
    (!found.iter().any(dots)).then_some(found)
}

/// Decodes the characters that structure a path, even if they were encoded several times or
/// as overlong UTF-8, which lenient decoders accept (RFC 3629 §10). Replaces `\` by `/`.
fn decode_repeatedly(path: &str) -> String {
    // From the end, so that one pass suffices: what an encoded `%` precedes is decoded before it.
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path.bytes().rev() {
        decoded.push(match byte {
            b'\\' => b'/',
            byte => byte,
        });
        while decoded.last() == Some(&b'%')
            && let Some((length, byte)) = encoded_at_end(&decoded)
        {
            decoded.truncate(decoded.len() - length);
            decoded.push(byte);
        }
    }
    decoded.reverse();
    // Only whole ASCII characters were replaced.
    String::from_utf8(decoded).unwrap_or_default()
}

/// Returns the character that the end of `reversed` encodes, and the length of its encoding.
/// Returns `None` if it does not structure a path.
fn encoded_at_end(reversed: &[u8]) -> Option<(usize, u8)> {
    let digit = |at: usize| {
        let digit = *reversed.get(reversed.len().checked_sub(at + 1)?)?;
        char::from(digit).to_digit(16)
    };
    let octet = |at: usize| {
        let percent = reversed.get(reversed.len().checked_sub(at + 1)?)?;
        (*percent == b'%').then_some(())?;
        Some(digit(at + 1)? << 4 | digit(at + 2)?)
    };
    let continuation =
        |at| Some(octet(at)? & 0x3f).filter(|_| octet(at).is_some_and(|octet| octet >> 6 == 2));
    let first = octet(0)?;
    let (length, value) = match first {
        ..0x80 => (3, first),
        0xc0 | 0xc1 => (6, (first & 1) << 6 | continuation(3)?),
        0xe0 => (9, continuation(3)? << 6 | continuation(6)?),
        0xf0 => (
            12,
            continuation(3)? << 12 | continuation(6)? << 6 | continuation(9)?,
        ),
        _ => return None,
    };
    let byte = u8::try_from(value).ok().filter(u8::is_ascii)?;
    let structures = byte.is_ascii_control() || is_unreserved(byte) || b"/\\;%?#".contains(&byte);
    structures.then_some((length, if byte == b'\\' { b'/' } else { byte }))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn decode_unreserved(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in percent::bytes(path) {
        match byte {
            Byte::Literal(byte) => decoded.push(byte),
            Byte::Encoded(byte) if is_unreserved(byte) => decoded.push(byte),
            // Hex digits are case-insensitive.
            Byte::Encoded(byte) => decoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    // Only ASCII characters were replaced.
    String::from_utf8(decoded).unwrap_or_default()
}

/// Returns the path after the first `segments` segments, with the query. Segments are
/// counted because an encoded segment may be longer than its normalized form.
pub(super) fn after_segments(path_and_query: &str, segments: usize) -> &str {
    let end = path_and_query.find('?').unwrap_or(path_and_query.len());
    let path = &path_and_query[..end];
    let at = path.match_indices('/').nth(segments);
    &path_and_query[at.map_or(end, |(at, _)| at)..]
}

/// An invalid host or path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPattern {
    /// An invalid host pattern.
    Host(String),
    /// An invalid path pattern.
    Path(String),
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(
                f,
                "invalid host {host:?}; expected e.g. example.com, *.example.com or *, without a port"
            ),
            Self::Path(path) => write!(
                f,
                "invalid path {path:?}; expected e.g. /chat, /chat/* (with all paths below) or /*"
            ),
        }
    }
}

impl std::error::Error for InvalidPattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_displayed_as_written() {
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
    fn invalid_patterns_are_rejected() {
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
    fn equivalent_paths_are_normalized_to_the_same() {
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
            assert_eq!(normalize(path).as_deref(), same, "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_have_several_interpretations() {
        for plain in ["/", "/a/b", "/a.b/c~", "/a:b@c,d=e"] {
            assert_eq!(
                interpretations(plain).unwrap(),
                Vec::<String>::new(),
                "{plain}"
            );
        }
        for (path, expected) in [
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
            ("/admin%00", "/admin"),
            ("/admin%00.html", "/admin"),
            ("/ad%00min/x", "/admin/x"),
            ("/admin%0a/x", "/admin/x"),
            ("/admin%1F", "/admin"),
            ("/admin%7f", "/admin"),
            ("/%09/admin", "/admin"),
            ("/admin%2500", "/admin"),
            ("/admin%3Fx", "/admin"),
            ("/admin%23x", "/admin"),
            ("/admin%253Bx", "/admin"),
            ("/%c0%afadmin", "/admin"),
            ("/%C1%9Cadmin", "/admin"),
            ("/admin%c0%80", "/admin"),
            ("/%e0%80%afadmin", "/admin"),
            ("/%f0%80%80%afadmin", "/admin"),
            ("/%25c0%25afadmin", "/admin"),
            ("/%c1%a1dmin", "/admin"),
        ] {
            let found = interpretations(&normalize(path).unwrap()).unwrap();
            assert!(
                found
                    .iter()
                    .any(|interpretation| interpretation == expected),
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
            "/x/%c0%ae%c0%ae/admin",
            "/x/.%00./admin",
            "/x/..%00/admin",
            "/x/..%3F/admin",
            "/x/..%09/admin",
        ] {
            assert_eq!(interpretations(&normalize(path).unwrap()), None, "{path}");
        }
        let long = "/%2525".repeat(10_000);
        assert!(interpretations(&long).is_some());
        let nested = format!("/%{}2Fx", "25".repeat(30_000));
        assert!(interpretations(&nested).unwrap().contains(&"/x".to_owned()));
    }

    #[test]
    fn whole_segments_are_removed() {
        for (path, segments, rest) in [
            ("/a/b?c/d", 0, "/a/b?c/d"),
            ("/a/b?c/d", 1, "/b?c/d"),
            ("/a/b?c/d", 2, "?c/d"),
            ("/%61/b", 1, "/b"),
            ("/a", 1, ""),
        ] {
            assert_eq!(after_segments(path, segments), rest);
        }
    }
}
