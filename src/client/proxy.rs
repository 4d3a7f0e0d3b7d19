//! Selects the proxy for each server.

use std::net::IpAddr;
use std::sync::Arc;

use crate::handshake::Target;
use crate::transport::proxy::{Proxy, ProxyError};

/// How a client selects a proxy.
#[derive(Clone, Debug, Default)]
pub(super) enum Policy {
    #[default]
    Direct,
    Always(Arc<Proxy>),
    Environment(Arc<Environment>),
}

impl Policy {
    pub(super) fn always(url: &str) -> Result<Self, ProxyError> {
        let proxy = url.parse().map_err(ProxyError::Url)?;
        Ok(Self::Always(Arc::new(proxy)))
    }

    pub(super) fn from_env() -> Result<Self, ProxyError> {
        // Not `var`, which would ignore a value that is not Unicode, and with it the proxy.
        let environment = Environment::read(|name| {
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        })?;
        Ok(Self::Environment(Arc::new(environment)))
    }

    /// Returns the proxy for a target; `None` for a direct connection.
    pub(super) fn proxy(&self, target: &Target) -> Option<&Proxy> {
        match self {
            Self::Direct => None,
            Self::Always(proxy) => Some(proxy),
            Self::Environment(environment) => environment.proxy(target),
        }
    }
}

/// The proxies of the environment, in the variables that curl reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    secure: Option<Proxy>,
    plain: Option<Proxy>,
    except: Vec<Exception>,
}

impl Environment {
    fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ProxyError> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = get(name)?;
                let value = value.trim();
                (!value.is_empty()).then(|| (*name, value.to_owned()))
            })
        };
        let proxy = |names: &[&'static str]| {
            first(names)
                .map(|(variable, url)| {
                    url.parse()
                        .map_err(|error| ProxyError::Environment { variable, error })
                })
                .transpose()
        };
        let except = first(&["no_proxy", "NO_PROXY"]).map_or(String::new(), |(_, list)| list);
        Ok(Self {
            secure: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            // Not HTTP_PROXY, because in a CGI program it contains what the client sent in a
            // header field named `Proxy`.
            plain: proxy(&["http_proxy", "all_proxy", "ALL_PROXY"])?,
            except: except
                .split([',', ' ', '\t'])
                .filter_map(Exception::parse)
                .collect(),
        })
    }

    fn proxy(&self, target: &Target) -> Option<&Proxy> {
        let proxy = if target.secure() {
            self.secure.as_ref()
        } else {
            self.plain.as_ref()
        };
        let host = target.host().trim_end_matches('.');
        let direct = target.unix_path().is_some()
            || is_this_machine(host)
            || self
                .except
                .iter()
                .any(|exception| exception.matches(host, target.port()));
        proxy.filter(|_| !direct)
    }
}

/// Whether the host is this machine: the proxy's own loopback is hardly ever meant.
fn is_this_machine(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// The name and its subdomains.
    Name(String),
    /// Addresses that start with these bits.
    Network(IpAddr, u8),
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if let Some(hosts) = Hosts::network(&text) {
            return Some(Self { hosts, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let hosts = if host == "*" {
            Hosts::All
        } else if let Some(network) = Hosts::network(host) {
            network
        } else {
            let name = host.strip_prefix('*').unwrap_or(host);
            let name = name.trim_start_matches('.').trim_end_matches('.');
            if name.is_empty() {
                return None;
            }
            Hosts::Name(name.to_owned())
        };
        Some(Self { hosts, port })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|own| own == port) && self.hosts.contain(host)
    }
}

impl Hosts {
    /// Parses `10.0.0.0/8`, `10.0.0.1`, `fd00::/8` or `[::1]`.
    fn network(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(address).parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some(Self::Network(address, bits))
    }

    fn contain(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Name(name) => host
                .strip_suffix(name.as_str())
                .is_some_and(|front| front.is_empty() || front.ends_with('.')),
            Self::Network(network, bits) => {
                let beyond = |all: u8| u32::from(all - bits);
                match (network, host.parse()) {
                    (IpAddr::V4(network), Ok(IpAddr::V4(host))) => {
                        let differ = network.to_bits() ^ host.to_bits();
                        differ.checked_shr(beyond(32)).unwrap_or(0) == 0
                    }
                    (IpAddr::V6(network), Ok(IpAddr::V6(host))) => {
                        let differ = network.to_bits() ^ host.to_bits();
                        differ.checked_shr(beyond(128)).unwrap_or(0) == 0
                    }
                    _ => false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::proxy::ProxyUrlError;

    fn environment(variables: &[(&str, &str)]) -> Result<Environment, ProxyError> {
        Environment::read(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn proxy_for(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let environment = environment(variables).unwrap();
        let proxy = environment.proxy(&url.parse().unwrap());
        proxy.map(ToString::to_string)
    }

    #[test]
    fn variables_are_selected_by_scheme() {
        for (variables, secure, plain) in [
            (&[][..], None, None),
            (&[("https_proxy", "a")], Some("a"), None),
            (&[("HTTPS_PROXY", "a")], Some("a"), None),
            (&[("http_proxy", "a")], None, Some("a")),
            (&[("HTTP_PROXY", "a")], None, None),
            (&[("ALL_PROXY", "a")], Some("a"), Some("a")),
            (
                &[("HTTPS_PROXY", "a"), ("https_proxy", "b")],
                Some("b"),
                None,
            ),
            (
                &[("ALL_PROXY", "a"), ("https_proxy", "b")],
                Some("b"),
                Some("a"),
            ),
            (
                &[("all_proxy", "a"), ("https_proxy", " ")],
                Some("a"),
                Some("a"),
            ),
        ] {
            let named = |host: &str| format!("http://{host}:80");
            assert_eq!(
                proxy_for(variables, "wss://origin.test"),
                secure.map(named),
                "{variables:?}"
            );
            assert_eq!(
                proxy_for(variables, "ws://origin.test"),
                plain.map(named),
                "{variables:?}"
            );
        }
    }

    #[test]
    fn an_invalid_url_in_a_variable_is_an_error() {
        let error = environment(&[("ALL_PROXY", "gopher://me:secret@a")]).unwrap_err();
        assert!(matches!(
            error,
            ProxyError::Environment {
                variable: "ALL_PROXY",
                error: ProxyUrlError::Scheme
            }
        ));
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn no_proxy_lists_exceptions() {
        for (list, url, direct) in [
            ("", "wss://a.test", false),
            ("*", "wss://a.test", true),
            ("a.test", "wss://a.test", true),
            ("A.test.", "wss://a.test", true),
            ("a.test", "wss://b.a.test", true),
            (".a.test", "wss://a.test", true),
            ("*.a.test", "wss://b.a.test", true),
            ("a.test", "wss://ba.test", false),
            ("b.test, a.test", "wss://a.test", true),
            ("b.test a.test", "wss://a.test", true),
            ("a.test:443", "wss://a.test", true),
            ("a.test:8443", "wss://a.test", false),
            ("*:8443", "wss://a.test:8443", true),
            ("10.0.0.0/8", "wss://10.9.8.7", true),
            ("10.0.0.0/8", "wss://11.0.0.1", false),
            ("10.0.0.0/8", "wss://10.test", false),
            ("0.0.0.0/0", "wss://11.0.0.1", true),
            ("10.0.0.0/33", "wss://10.0.0.0", false),
            ("10.0.0.1", "wss://10.0.0.1", true),
            ("10.0.0.1:443", "wss://10.0.0.1", true),
            ("10.0.0.1:80", "wss://10.0.0.1", false),
            ("fd00::/8", "wss://[fd12::1]", true),
            ("::/0", "wss://[fd12::1]", true),
            ("::/0", "wss://10.0.0.1", false),
            ("[fd12::1]:443", "wss://[fd12::1]", true),
            ("fd12::1", "wss://[fd12::2]", false),
            (". ,:,*.", "wss://a.test", false),
        ] {
            let proxy = proxy_for(&[("ALL_PROXY", "p"), ("NO_PROXY", list)], url);
            assert_eq!(proxy.is_none(), direct, "{list}: {url}");
        }
    }

    #[test]
    fn connections_to_this_machine_are_direct() {
        for (url, direct) in [
            ("ws://localhost", true),
            ("ws://127.0.0.1", true),
            ("ws://127.9.9.9", true),
            ("ws://[::1]", true),
            ("ws://localhost.test", false),
        ] {
            assert_eq!(
                proxy_for(&[("ALL_PROXY", "p")], url).is_none(),
                direct,
                "{url}"
            );
            let always = Policy::always("p").unwrap();
            assert!(always.proxy(&url.parse().unwrap()).is_some(), "{url}");
        }
    }
}
