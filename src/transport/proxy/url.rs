//! Parses proxy URLs with the credentials in them.

use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::uri::Authority;

use super::{Login, Proxy, ProxyUrlError, TunnelProtocol};
use crate::percent::{self, Byte};

/// Parses `[scheme://][user[:password]@]host[:port][/]`; the default scheme is
/// `http`.
impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(url: &str) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // `Authority` accepts too much around the host.
        let (login, host_port) = match rest.rsplit_once('@') {
            Some((login, host_port)) => (Some(login), host_port),
            None => (None, rest),
        };
        let login = login.map(Login::from_url).transpose()?;
        let (protocol, default_port) = protocol(scheme, login)?;
        let (host, port) = host_and_port(host_port, default_port)?;
        Ok(Self {
            host,
            port,
            protocol,
        })
    }
}

fn protocol(scheme: &str, login: Option<Login>) -> Result<(TunnelProtocol, u16), ProxyUrlError> {
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        "socks5" | "socks5h" => {
            let fits = |field: &Vec<u8>| (1..=255).contains(&field.len());
            if let Some(login) = &login
                && !(fits(&login.user) && fits(&login.password))
            {
                return Err(ProxyUrlError::Login);
            }
            return Ok((TunnelProtocol::Socks5 { login }, 1080));
        }
        _ => return Err(ProxyUrlError::Scheme),
    };
    let authorization = login.as_ref().map(Login::basic).transpose()?;
    let protocol = TunnelProtocol::Connect {
        secure,
        authorization,
    };
    Ok((protocol, if secure { 443 } else { 80 }))
}

fn host_and_port(host_port: &str, default_port: u16) -> Result<(String, u16), ProxyUrlError> {
    let authority: Authority = host_port.parse().map_err(|_| ProxyUrlError::Syntax)?;
    let host = authority.host();
    let port = match host_port[host.len()..].strip_prefix(':') {
        None | Some("") => default_port,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(ProxyUrlError::Port),
            Ok(port) => port,
        },
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(ProxyUrlError::Syntax);
    }
    Ok((host.to_ascii_lowercase(), port))
}

impl Login {
    fn from_url(text: &str) -> Result<Self, ProxyUrlError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self {
            user: percent_decoded(user).ok_or(ProxyUrlError::Login)?,
            password: percent_decoded(password).ok_or(ProxyUrlError::Login)?,
        })
    }

    /// Returns the value of a Basic `proxy-authorization` field (RFC 7617 §2).
    fn basic(&self) -> Result<HeaderValue, ProxyUrlError> {
        if self.user.contains(&b':') {
            return Err(ProxyUrlError::Login);
        }
        let pair = [&self.user[..], b":", &self.password].concat();
        let value = format!("Basic {}", BASE64_STANDARD.encode(pair));
        let mut value = HeaderValue::from_str(&value).map_err(|_| ProxyUrlError::Login)?;
        // Keeps it out of logs of header fields.
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Decodes percent-encoding (RFC 3986 §2.1). `None` if a `%` lacks its two
/// hexadecimal digits.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let bytes = percent::bytes(text).map(|byte| match byte {
        Byte::Literal(b'%') => None,
        byte => Some(byte.value()),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(proxy: &Proxy) -> Option<&str> {
        match &proxy.protocol {
            TunnelProtocol::Connect { authorization, .. } => {
                authorization.as_ref().map(|value| value.to_str().unwrap())
            }
            TunnelProtocol::Socks5 { .. } => None,
        }
    }

    #[test]
    fn proxy_urls_are_parsed() {
        for (url, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy:3128/", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("Proxy.Example", "http://proxy.example:80"),
            ("HTTPS://proxy", "https://proxy:443"),
            ("socks5://10.0.0.1", "socks5h://10.0.0.1:1080"),
            ("socks5h://[::1]:9050", "socks5h://[::1]:9050"),
            ("http://a:b@proxy:", "http://proxy:80"),
        ] {
            let proxy: Proxy = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(proxy.to_string(), shown, "{url}");
        }
    }

    #[test]
    fn invalid_proxy_urls_are_errors() {
        let long = format!("socks5://{}:b@proxy", "a".repeat(256));
        for (url, error) in [
            ("", ProxyUrlError::Syntax),
            ("http://", ProxyUrlError::Syntax),
            ("http://:80", ProxyUrlError::Syntax),
            ("http://a b", ProxyUrlError::Syntax),
            ("http://proxy/path", ProxyUrlError::Syntax),
            ("http://proxy?a", ProxyUrlError::Syntax),
            ("ftp://proxy", ProxyUrlError::Scheme),
            ("socks4://proxy", ProxyUrlError::Scheme),
            ("http://proxy:0", ProxyUrlError::Port),
            ("http://proxy:99999", ProxyUrlError::Port),
            ("http://a%zz:b@proxy", ProxyUrlError::Login),
            ("http://a%:b@proxy", ProxyUrlError::Login),
            ("http://a%3Ab:c@proxy", ProxyUrlError::Login),
            ("socks5://user@proxy", ProxyUrlError::Login),
            (&long, ProxyUrlError::Login),
        ] {
            assert_eq!(url.parse::<Proxy>(), Err(error), "{url}");
        }
    }

    /// The example is that of RFC 7617 §2.
    #[test]
    fn credentials_are_decoded_and_not_shown() {
        let proxy: Proxy = "http://Aladdin:open%20sesame@proxy".parse().unwrap();
        assert_eq!(basic(&proxy), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        let proxy: Proxy = "http://Aladdin:open%20sesame@proxy:1".parse().unwrap();
        assert_eq!(
            format!("{proxy} {proxy:?}"),
            "http://proxy:1 Proxy(http://proxy:1)"
        );
        let proxy: Proxy = "socks5://me:p%40%3a%2F@proxy".parse().unwrap();
        assert!(
            proxy.protocol
                == TunnelProtocol::Socks5 {
                    login: Some(Login {
                        user: b"me".to_vec(),
                        password: b"p@:/".to_vec()
                    }),
                }
        );
    }
}
