//! Access control by the `Origin` header (RFC 6455 §10.2).
//!
//! Browsers let any page open a WebSocket to any server, with the server's cookies, and leave it to
//! the server to check `origin`. Other programs can send any origin or leave it out, so this check
//! protects users of browsers and does not authenticate clients.
//!
//! | pattern | allows |
//! |---|---|
//! | `*` | every origin |
//! | `null` | the origin of sandboxed pages and, in most browsers, of local files |
//! | `scheme://host`, optionally with `*.` before the host, and `:port` or `:*` after it | those hosts and ports |
//! | a scheme other than `http` and `https` before anything else: `file://`, `app://.` | that origin, compared literally |
//!
//! The last row is for pages that do not come from a web server (Electron, Cordova, browser
//! extensions), whose scheme need not be followed by a host. An `http` or `https` pattern without a
//! valid host is an error.

use std::fmt;

use http::HeaderValue;

use super::Rejection;
use super::authority::{HostPort, Pattern, PortPattern, default_port_of};
use super::syntax;

/// The origins that may open a WebSocket. Requests without `origin` do not come from browsers, and
/// are always allowed.
///
/// ```
/// use h2ws::handshake::AllowedOrigins;
/// use http::HeaderValue;
///
/// let allowed = AllowedOrigins::parse(["https://example.com", "https://*.example.org:*"])?;
/// let check = |origin| allowed.check(Some(&HeaderValue::from_static(origin)));
/// assert!(check("https://example.com").is_ok());
/// assert!(check("https://chat.example.org:8443").is_ok());
/// assert!(check("http://example.com").is_err());
/// assert!(allowed.check(None).is_ok());
/// # Ok::<(), h2ws::handshake::origin::InvalidOrigin>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    same_host: bool,
    null: bool,
    listed: Vec<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    scheme: String,
    host: Hosts,
}

/// The part of a pattern after the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Matching(Pattern),
    /// Exactly this text.
    Literally(String),
}

impl AllowedOrigins {
    /// Allows every origin: for public services, or services that do not rely on cookies.
    #[must_use]
    pub fn any() -> Self {
        Self {
            any: true,
            ..Self::none()
        }
    }

    /// Allows no origin, so no browser can open a WebSocket.
    #[must_use]
    pub fn none() -> Self {
        Self {
            any: false,
            same_host: false,
            null: false,
            listed: Vec::new(),
        }
    }

    /// Allows only pages of the host and port that the request is for.
    ///
    /// This does not protect against DNS rebinding, where a page's own host resolves to this server:
    /// combine it with [`AllowedHosts`](super::AllowedHosts).
    #[must_use]
    pub fn same_host() -> Self {
        Self {
            same_host: true,
            ..Self::none()
        }
    }

    /// Allows the origins that match one of `patterns`. A pattern is `scheme://host`, or
    /// `scheme://*.host` for all subdomains, followed by nothing for the scheme's default port, by
    /// `:port`, or by `:*` for any port. `*` is [`AllowedOrigins::any`], and `null` the origin of
    /// sandboxed pages and local files. Origins without a host and with a scheme other than `http`
    /// and `https`, such as `file://` and `app://.`, are compared literally.
    ///
    /// # Errors
    /// If a pattern is invalid.
    pub fn parse<I>(patterns: I) -> Result<Self, InvalidOrigin>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut allowed = Self::none();
        for pattern in patterns {
            match pattern.as_ref() {
                "*" => allowed.any = true,
                "null" => allowed.null = true,
                pattern => {
                    let invalid = || InvalidOrigin(pattern.to_owned());
                    let (scheme, host) = split(pattern).ok_or_else(invalid)?;
                    let host = match Pattern::parse(host) {
                        Ok(host) => Hosts::Matching(host),
                        Err(_) if is_literal(&scheme, host) => Hosts::Literally(host.to_owned()),
                        Err(_) => return Err(invalid()),
                    };
                    allowed.listed.push(Listed { scheme, host });
                }
            }
        }
        Ok(allowed)
    }

    /// Also allows pages of the host and port that the request is for.
    #[must_use]
    pub fn or_same_host(self) -> Self {
        Self {
            same_host: true,
            ..self
        }
    }

    /// Checks the `origin` of a request against the patterns only, without
    /// [`same_host`](Self::same_host).
    ///
    /// # Errors
    /// [`Rejection::Origin`] if it is not allowed.
    pub fn check(&self, origin: Option<&HeaderValue>) -> Result<(), Rejection> {
        self.decide(origin, None)
    }

    /// Checks the `origin` of a request to the host `authority`.
    ///
    /// # Errors
    /// [`Rejection::Origin`] if it is not allowed.
    pub fn check_for(
        &self,
        origin: Option<&HeaderValue>,
        authority: &HostPort,
    ) -> Result<(), Rejection> {
        self.decide(origin, Some(authority))
    }

    fn decide(
        &self,
        origin: Option<&HeaderValue>,
        authority: Option<&HostPort>,
    ) -> Result<(), Rejection> {
        let Some(origin) = origin else {
            return Ok(());
        };
        if self.any || syntax::text(origin).is_some_and(|origin| self.allows(origin, authority)) {
            Ok(())
        } else {
            Err(Rejection::Origin)
        }
    }

    fn allows(&self, origin: &str, authority: Option<&HostPort>) -> bool {
        if origin == "null" {
            return self.null;
        }
        let Some((scheme, host)) = split(origin) else {
            return false;
        };
        let default_port = default_port_of(&scheme);
        let parsed = host.parse::<HostPort>().ok();
        let same_host = self.same_host
            && default_port.is_some_and(|port| {
                let both = authority.zip(parsed.as_ref());
                both.is_some_and(|(authority, host)| authority.is_same(host, port))
            });
        same_host
            || self.listed.iter().any(|listed| {
                listed.scheme == scheme
                    && match &listed.host {
                        Hosts::Literally(literally) => literally == host,
                        Hosts::Matching(pattern) => parsed
                            .as_ref()
                            .is_some_and(|host| matches(pattern, host, default_port)),
                    }
            })
    }
}

/// Number of patterns in the reason of a rejection.
const SHOWN: usize = 5;

impl AllowedOrigins {
    /// Returns the reason of [`Rejection::Origin`] for a log, with the origins that are allowed. The
    /// client is not told them.
    pub(crate) fn rejection_reason(&self) -> String {
        let mut allowed = Vec::new();
        if self.same_host {
            allowed.push("pages of the same host".to_owned());
        }
        if self.null {
            allowed.push("null".to_owned());
        }
        allowed.extend(self.listed.iter().map(ToString::to_string));
        let more = allowed.len().saturating_sub(SHOWN);
        allowed.truncate(SHOWN);
        if more > 0 {
            allowed.push(format!("{more} more"));
        }
        let allowed = match allowed.as_slice() {
            [] => "none".to_owned(),
            allowed => allowed.join(", "),
        };
        format!("{}; allowed: {allowed}", Rejection::Origin)
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Hosts::Matching(pattern) => write!(f, "{}://{pattern}", self.scheme),
            Hosts::Literally(text) => write!(f, "{}://{text}", self.scheme),
        }
    }
}

fn matches(pattern: &Pattern, host: &HostPort, default_port: Option<u16>) -> bool {
    pattern.matches_host(host.host())
        && match pattern.port {
            PortPattern::Any => true,
            PortPattern::Only(port) => host.port().or(default_port) == Some(port),
            PortPattern::Unnamed => host.port().is_none_or(|port| default_port == Some(port)),
        }
}

/// Returns whether the part of a pattern after `scheme://`, which is not a host, is compared
/// literally. A `*` in it looks like a wildcard and would not be one, so it is an error.
fn is_literal(scheme: &str, rest: &str) -> bool {
    default_port_of(scheme).is_none()
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

/// Splits an origin into its scheme, in lower case, and the part after `://`.
fn split(origin: &str) -> Option<(String, &str)> {
    let (scheme, host) = origin.split_once("://")?;
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme_byte);
    valid.then(|| (scheme.to_ascii_lowercase(), host))
}

/// An invalid pattern for origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an origin such as https://example.com, https://*.example.com:8443 or file://",
            self.0
        )
    }
}

impl std::error::Error for InvalidOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &AllowedOrigins, origin: &'static str) -> bool {
        let checked = allowed.check(Some(&HeaderValue::from_static(origin)));
        assert!(matches!(checked, Ok(()) | Err(Rejection::Origin)));
        checked.is_ok()
    }

    #[test]
    fn rfc6455_10_2_listed_pages_only() {
        let list = [
            "https://example.com",
            "https://*.example.org",
            "http://localhost:*",
            "https://port.test:8443",
            "chrome-extension://abcdef",
            "https://[::1]",
        ];
        let allowed = AllowedOrigins::parse(list).unwrap();
        for (origin, expected) in [
            ("https://example.com", true),
            ("https://example.com:443", true),
            ("HTTPS://Example.com", true),
            ("https://example.com:8443", false),
            ("http://example.com", false),
            ("https://example.com.evil.test", false),
            ("https://evil-example.com", false),
            ("https://example.com/", false),
            ("https://example.com@evil.test", false),
            ("https://evil.test https://example.com", false),
            ("https://a.example.org", true),
            ("https://a.b.example.org", true),
            ("https://example.org", false),
            ("https://evilexample.org", false),
            ("http://localhost", true),
            ("http://localhost:3000", true),
            ("https://port.test:8443", true),
            ("https://port.test", false),
            ("chrome-extension://abcdef", true),
            ("chrome-extension://abcdef:1", false),
            ("https://[::1]", true),
            ("null", false),
            ("", false),
            ("example.com", false),
            ("://example.com", false),
            ("*", false),
            ("https://*.example.org", false),
        ] {
            assert_eq!(check(&allowed, origin), expected, "{origin}");
        }
        assert_eq!(allowed.check(None), Ok(()), "not a browser");
        let latin = HeaderValue::from_bytes(b"https://example.com\xff").unwrap();
        assert_eq!(allowed.check(Some(&latin)), Err(Rejection::Origin));
        assert_eq!(AllowedOrigins::any().check(Some(&latin)), Ok(()));
    }

    #[test]
    fn the_reason_for_the_log_names_what_is_allowed() {
        let reason = |allowed: AllowedOrigins| {
            let reason = allowed.rejection_reason();
            let (client, log) = reason.split_once("; ").expect("two parts");
            assert_eq!(client, Rejection::Origin.reason());
            log.to_owned()
        };
        assert_eq!(reason(AllowedOrigins::none()), "allowed: none");
        let listed = [
            "https://a.example",
            "http://*.b.example:*",
            "wss://[::1]:8443",
            "app://.",
        ];
        let allowed = AllowedOrigins::parse(listed).expect("patterns");
        assert_eq!(
            reason(allowed),
            format!("allowed: {}", listed.join(", ")),
            "as they were written"
        );
        let many = (0..9).map(|n| format!("https://{n}.example"));
        let many = AllowedOrigins::parse(many.chain(["null".to_owned()])).expect("patterns");
        assert_eq!(
            reason(many.or_same_host()),
            "allowed: pages of the same host, null, https://0.example, https://1.example, \
             https://2.example, 6 more"
        );
    }

    #[test]
    fn origins_without_a_web_server_are_compared_literally() {
        let origins = [
            "file://",
            "file:///",
            "app://.",
            "app://obsidian.md",
            "capacitor://localhost",
            "tauri://localhost",
            "chrome-extension://aapocclcgogkmnckokdopfmhonfmgoek",
            "moz-extension://0f1d0c35-ff5d-4a0a-8a3b-4b1c3f0b6c5e",
            "vscode-webview://1a2b?x=_y",
            "x-app://a_b",
            "null",
        ];
        for listed in origins {
            let allowed = AllowedOrigins::parse([listed]).unwrap();
            for origin in origins {
                assert_eq!(
                    check(&allowed, origin),
                    origin == listed,
                    "{origin} by {listed}"
                );
            }
        }
        let allowed = AllowedOrigins::parse(["file://", "app://."]).unwrap();
        for (origin, expected) in [
            ("FILE://", true),
            ("file://evil.test", false),
            ("file://.", false),
            ("app://", false),
            ("app://..", false),
            ("https://", false),
            ("https://.", false),
            ("file:", false),
        ] {
            assert_eq!(check(&allowed, origin), expected, "{origin}");
        }
        let same = AllowedOrigins::same_host();
        let here = "localhost".parse().unwrap();
        for origin in ["file://", "app://.", "capacitor://localhost"] {
            let origin = HeaderValue::from_static(origin);
            assert!(same.check_for(Some(&origin), &here).is_err(), "{origin:?}");
        }
    }

    #[test]
    fn any_none_and_null() {
        for origin in ["https://example.com", "null", ""] {
            assert!(check(&AllowedOrigins::any(), origin), "{origin}");
            assert!(!check(&AllowedOrigins::none(), origin), "{origin}");
        }
        let star = AllowedOrigins::parse(["*"]).unwrap();
        assert_eq!(star, AllowedOrigins::any());
        let null = AllowedOrigins::parse(["null"]).unwrap();
        assert!(check(&null, "null"));
        assert!(!check(&null, "https://example.com"));
        assert_eq!(AllowedOrigins::none().check(None), Ok(()));
    }

    #[test]
    fn the_page_of_the_same_host() {
        let same = AllowedOrigins::same_host();
        for (origin, authority, expected) in [
            ("https://example.com", "example.com", true),
            ("https://example.com", "example.com:443", true),
            ("http://example.com:80", "example.com", true),
            ("http://localhost:3000", "localhost:3000", true),
            ("http://localhost:3000", "localhost", false),
            ("https://example.com", "example.com:8443", false),
            ("https://example.com", "other.example.com", false),
            ("app://example.com", "example.com", false),
            ("null", "example.com", false),
        ] {
            let origin_value = HeaderValue::from_static(origin);
            let authority = authority.parse().unwrap();
            let checked = same.check_for(Some(&origin_value), &authority);
            assert_eq!(checked.is_ok(), expected, "{origin} {authority}");
        }
        assert!(
            !check(&same, "https://example.com"),
            "without a host to compare with"
        );
        let both = AllowedOrigins::parse(["https://a.test"])
            .unwrap()
            .or_same_host();
        let here = "b.test".parse().unwrap();
        for (origin, expected) in [
            ("https://a.test", true),
            ("https://b.test", true),
            ("https://c.test", false),
        ] {
            let checked = both.check_for(Some(&HeaderValue::from_static(origin)), &here);
            assert_eq!(checked.is_ok(), expected, "{origin}");
        }
    }

    #[test]
    fn patterns_are_strict() {
        for bad in [
            "",
            "example.com",
            "*.example.com",
            "https://",
            "https://*",
            "https://a.*",
            "://a",
            "https://a/",
            "1a://b",
            "ht tp://a",
            "https://a:0",
            "*://a",
            "https://*a",
            "https://.",
            "http://a_b c",
            "app://*",
            "app://.*",
            "app://. file://",
            "file",
            "file:",
        ] {
            let error = AllowedOrigins::parse([bad]).unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{bad}");
        }
    }
}
