//! Whose request a proxy of the operator's passes on, and what the upstream is
//! told of it.
//!
//! There are two families of fields: `Forwarded` (RFC 7239), and `X-Forwarded-*`.
//! Most proxies write one of them, and leave the other to clients to make up. So
//! both are read into one [`View`], in which a value that one of them lacks is
//! the other's, and both are written from it: they never contradict each other.
//! Where what was read does, none of it is believed.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

use crate::handshake::HostPort;

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Names of fields that tell of the client or of what it asked for, by one piece
/// of software or another, beside [`FORWARDED`] and `x-forwarded-*`.
const OTHERS: [&str; 27] = [
    "forwarded-for",
    "x-forwarded",
    "x-real-ip",
    "x-real-port",
    "x-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-proxyuser-ip",
    "x-envoy-external-address",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "fastly-client-ip",
    "fly-client-ip",
    "proxy-client-ip",
    "wl-proxy-client-ip",
    "x-host",
];

/// Fields that tell of TLS in front, which frameworks believe as they do
/// `x-forwarded-proto`.
const OF_TLS: [&str; 4] = ["front-end-https", "x-scheme", "x-url-scheme", "x-https"];

/// Which families are read and written; a client's fields of another are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Families {
    pub(super) forwarded: bool,
    pub(super) x_forwarded: bool,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            forwarded: true,
            x_forwarded: true,
        }
    }
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct From<'a> {
    pub(super) client: IpAddr,
    pub(super) secure: bool,
    pub(super) host: &'a HostPort,
    /// Whether to believe what the client says of those before it, because it
    /// is a proxy of the operator's.
    pub(super) trusted: bool,
    pub(super) families: Families,
    /// What the route cuts off the path.
    pub(super) prefix: &'a str,
}

/// What the upstream is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Addresses, or names that hide one; the one that sent the request is last.
    chain: Vec<String>,
    pub(super) host: String,
    pub(super) proto: String,
    prefix: String,
}

/// What one family says.
#[derive(Debug, Default)]
struct Told {
    chain: Vec<String>,
    host: Option<String>,
    proto: Option<String>,
}

/// It cannot be read, or contradicts itself.
struct Doubtful;

/// The client behind the proxy at `peer`, as that proxy tells it: the last one
/// that it names. Those before it may have been written by anybody. It is the
/// proxy itself where that tells of no address, or of two.
pub(super) fn client(fields: &HeaderMap, peer: IpAddr, families: Families) -> IpAddr {
    let told = told(fields, families);
    let last = told.ok().and_then(|told| address(told.chain.last()?));
    last.unwrap_or(peer)
}

/// Replaces what is said of those before the client, or, where that is trusted,
/// adds the client to it.
pub(super) fn rewrite(fields: &mut HeaderMap, from: From<'_>) -> View {
    let believed = match from.trusted.then(|| told(fields, from.families)) {
        Some(Ok(told)) => Some(told),
        Some(Err(Doubtful)) | None => None,
    };
    let above = believed
        .as_ref()
        .and_then(|_| last_of_list(fields, &PREFIX));
    remove(fields, believed.is_some(), from.families);
    let Told { chain, host, proto } = believed.unwrap_or_default();
    let mut chain: Vec<_> = chain.into_iter().filter(|node| !node.is_empty()).collect();
    // An IPv4 client of a listener on `[::]`.
    chain.push(from.client.to_canonical().to_string());
    let own = if from.secure { "https" } else { "http" };
    let view = View {
        chain,
        host: host.unwrap_or_else(|| from.host.to_string()),
        proto: proto.unwrap_or_else(|| own.to_owned()),
        prefix: format!(
            "{}{}",
            above.unwrap_or_default().trim_end_matches('/'),
            from.prefix
        ),
    };
    view.write(fields, from.families);
    view
}

/// Whether a field of this name tells of those before the client. CGI and WSGI
/// take `_` and `-` for the same, and no proxy writes the former.
fn is_forwarding(name: &str) -> bool {
    let plain;
    let name = if name.contains('_') {
        plain = name.replace('_', "-");
        &plain
    } else {
        name
    };
    name == "forwarded"
        || name.starts_with("x-forwarded-")
        || OTHERS.contains(&name)
        || OF_TLS.contains(&name)
}

/// Removes what is not believed.
pub(super) fn remove(fields: &mut HeaderMap, is_trusted: bool, families: Families) {
    let to_go = |name: &&HeaderName| {
        let name = name.as_str();
        let of_family = match name {
            "forwarded" => families.forwarded,
            _ if name.starts_with("x-forwarded-") => families.x_forwarded,
            _ => true,
        };
        is_forwarding(name) && !(is_trusted && of_family && !name.contains('_'))
    };
    let names: Vec<HeaderName> = fields.keys().filter(to_go).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

impl View {
    fn write(&self, fields: &mut HeaderMap, families: Families) {
        let Self {
            chain,
            host,
            proto,
            prefix,
        } = self;
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                fields.insert(name, value);
            }
        };
        if families.forwarded {
            // A host's characters need no escape between quotes (RFC 9110 §5.6.4).
            let element =
                |node: &String| format!("for={};host=\"{host}\";proto={proto}", quoted(node));
            let elements: Vec<_> = chain.iter().map(element).collect();
            set(FORWARDED, &elements.join(", "));
        }
        if families.x_forwarded {
            set(FOR, &chain.join(", "));
            set(PROTO, proto);
            set(HOST, host);
            if !prefix.is_empty() {
                set(PREFIX, prefix);
            }
        }
    }
}

/// A node as RFC 7239 §6 writes it.
fn quoted(node: &str) -> String {
    match address(node) {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        None if is_obfuscated(node) => node.to_owned(),
        None => "unknown".to_owned(),
    }
}

/// RFC 7239 §6.3.
fn is_obfuscated(node: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    node.starts_with('_') && node.bytes().all(fits)
}

/// What both families say together.
fn told(fields: &HeaderMap, families: Families) -> Result<Told, Doubtful> {
    let (mut one, mut other) = (Told::default(), Told::default());
    if families.x_forwarded {
        one = x_forwarded(fields);
    }
    if families.forwarded {
        other = forwarded(fields)?;
    }
    let chain = match (one.chain.last(), other.chain.last()) {
        (Some(last), Some(its)) if !is_same_node(last, its) => return Err(Doubtful),
        (Some(last), Some(_)) if !same_nodes(&one.chain, &other.chain) => vec![last.clone()],
        (Some(_), _) => one.chain,
        (None, _) => other.chain,
    };
    Ok(Told {
        chain,
        host: either(one.host, other.host)?,
        proto: either(one.proto, other.proto)?,
    })
}

fn either(one: Option<String>, other: Option<String>) -> Result<Option<String>, Doubtful> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(Doubtful),
        (one, other) => Ok(one.or(other)),
    }
}

fn same_nodes(these: &[String], those: &[String]) -> bool {
    let mut pairs = these.iter().zip(those);
    these.len() == those.len() && pairs.all(|(one, other)| is_same_node(one, other))
}

fn is_same_node(one: &str, other: &str) -> bool {
    match (address(one), address(other)) {
        (None, None) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    }
}

fn x_forwarded(fields: &HeaderMap) -> Told {
    let mut chain = Vec::new();
    for list in fields.get_all(FOR) {
        let list = list.to_str().unwrap_or("unknown");
        chain.extend(list.split(',').map(|node| node.trim().to_owned()));
    }
    Told {
        chain,
        host: last_of_list(fields, &HOST).and_then(|host| valid_host(&host)),
        proto: last_of_list(fields, &PROTO).and_then(|proto| valid_proto(&proto)),
    }
}

/// The last element of a list, which the nearest proxy wrote.
fn last_of_list(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let last = fields.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(last.rsplit(',').next()?.trim().to_owned())
}

fn valid_host(host: &str) -> Option<String> {
    let parsed: Option<HostPort> = host.parse().ok();
    parsed.map(|host| host.to_string())
}

/// `wss` is what some proxies call the `https` of a WebSocket.
fn valid_proto(proto: &str) -> Option<String> {
    let proto = proto.to_ascii_lowercase();
    match &*proto {
        "http" | "ws" => Some("http".to_owned()),
        "https" | "wss" => Some("https".to_owned()),
        _ => None,
    }
}

fn forwarded(fields: &HeaderMap) -> Result<Told, Doubtful> {
    let mut told = Told::default();
    for list in fields.get_all(FORWARDED) {
        let list = list.to_str().map_err(|_| Doubtful)?;
        for element in split(list, ',').ok_or(Doubtful)? {
            let mut node = String::new();
            for pair in split(element, ';').ok_or(Doubtful)? {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                // Neither an address nor a host has anything to escape.
                let value = value.trim().trim_matches('"');
                match &*name.trim().to_ascii_lowercase() {
                    "for" => node = bare(value).to_owned(),
                    "host" => told.host = valid_host(value),
                    "proto" => told.proto = valid_proto(value),
                    _ => {}
                }
            }
            told.chain.push(node);
        }
    }
    Ok(told)
}

/// An address of version 6 without its brackets, where there is no port.
fn bare(node: &str) -> &str {
    let inner = node.strip_prefix('[');
    inner
        .and_then(|node| node.strip_suffix(']'))
        .unwrap_or(node)
}

/// Splits where `separator` is outside of quotes (RFC 9110 §5.6.4); `None` for
/// quotes that do not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if char == separator && !quoted => {
                parts.push(&text[from..at]);
                from = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    (!quoted).then_some(parts)
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(node: &str) -> Option<IpAddr> {
    let address = bare(node).parse::<IpAddr>();
    let address = address.or_else(|_| node.parse().map(|node: SocketAddr| node.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn told(fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        client(&headers, PROXY, Families::default()).to_string()
    }

    #[test]
    fn the_last_proxy_is_believed_and_nobody_before_it() {
        for (fields, expected) in [
            (&[][..], "10.0.0.1"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1")], "192.0.2.1"),
            (
                &[
                    ("x-forwarded-for", "1.1.1.1"),
                    ("x-forwarded-for", "192.0.2.1"),
                ],
                "192.0.2.1",
            ),
            (&[("x-forwarded-for", "192.0.2.1:4711")], "192.0.2.1"),
            (&[("x-forwarded-for", "[2001:db8::1]:80")], "2001:db8::1"),
            (&[("x-forwarded-for", "2001:db8::1")], "2001:db8::1"),
            (&[("x-forwarded-for", "::ffff:192.0.2.1")], "192.0.2.1"),
            (&[("x-forwarded-for", "192.0.2.1, unknown")], "10.0.0.1"),
            (&[("x-forwarded-for", "192.0.2.1,")], "10.0.0.1"),
            (&[("forwarded", "for=192.0.2.1;proto=https")], "192.0.2.1"),
            (
                &[("forwarded", "for=1.1.1.1, By=x;FOR=\"[2001:db8::1]:80\"")],
                "2001:db8::1",
            ),
            (&[("forwarded", "for=\"_a,for=1.1.1.1\"")], "10.0.0.1"),
            (&[("forwarded", "for=1.1.1.1, for=_hidden")], "10.0.0.1"),
            (&[("forwarded", "for=192.0.2.1;host=\"a")], "10.0.0.1"),
            (&[("forwarded", "proto=https")], "10.0.0.1"),
        ] {
            assert_eq!(told(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn fields_that_differ_are_not_believed() {
        let for_two = |x, forwarded| told(&[("x-forwarded-for", x), ("forwarded", forwarded)]);
        assert_eq!(for_two("192.0.2.1", "for=192.0.2.1"), "192.0.2.1");
        assert_eq!(for_two("192.0.2.1", "for=1.1.1.1"), "10.0.0.1");
        assert_eq!(for_two("192.0.2.1", "for=unknown"), "10.0.0.1");
    }

    fn written(
        fields: &[(&'static str, &'static str)],
        trusted: bool,
        families: Families,
    ) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let host = "a:8443".parse().unwrap();
        let from = From {
            client: "192.0.2.7".parse().unwrap(),
            secure: false,
            host: &host,
            trusted,
            families,
            prefix: "",
        };
        rewrite(&mut headers, from);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let fields = headers.iter();
        let mut fields: Vec<_> = fields.map(|(n, v)| (n.to_string(), text(v))).collect();
        fields.sort();
        fields
    }

    /// Both families, as a proxy or a framework would read them.
    #[track_caller]
    fn agree(fields: &[(&'static str, &'static str)], proto: &str, host: &str, chain: &[&str]) {
        let got = written(fields, true, Families::default());
        let elements: Vec<_> = chain
            .iter()
            .map(|node| format!("for={node};host=\"{host}\";proto={proto}"))
            .collect();
        let expected = [
            ("forwarded", elements.join(", ")),
            ("x-forwarded-for", chain.join(", ")),
            ("x-forwarded-host", host.to_owned()),
            ("x-forwarded-proto", proto.to_owned()),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(got, expected, "{fields:?}");
    }

    #[test]
    fn rfc7239_both_families_say_the_same() {
        let own = ["192.0.2.7"];
        agree(&[], "http", "a:8443", &own);
        // A load balancer that ends TLS.
        let balancer = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "site.test"),
        ];
        agree(&balancer, "https", "site.test", &["1.1.1.1", "192.0.2.7"]);
        agree(&[("x-forwarded-proto", "https")], "https", "a:8443", &own);
        agree(&[("x-forwarded-proto", "wss")], "https", "a:8443", &own);
        agree(
            &[("x-forwarded-proto", "https, http")],
            "http",
            "a:8443",
            &own,
        );
        agree(&[("x-forwarded-proto", "gopher")], "http", "a:8443", &own);
        // One that writes the other family.
        let other = [("forwarded", "for=1.1.1.1;proto=https;host=\"site.test\"")];
        agree(&other, "https", "site.test", &["1.1.1.1", "192.0.2.7"]);
        let hops = [(
            "forwarded",
            "for=1.1.1.1;proto=https, for=_edge;proto=https",
        )];
        agree(&hops, "https", "a:8443", &["1.1.1.1", "_edge", "192.0.2.7"]);
        // Both, each with a part.
        let parts = [
            ("forwarded", "proto=https"),
            ("x-forwarded-host", "site.test"),
        ];
        agree(&parts, "https", "site.test", &own);
        // A client's own invention before what the proxy has seen.
        let invented = [
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1"),
            ("forwarded", "for=1.1.1.1;proto=https"),
        ];
        agree(&invented, "https", "a:8443", &["1.1.1.1", "192.0.2.7"]);
    }

    #[test]
    fn families_that_contradict_each_other_are_not_believed() {
        for fields in [
            [("x-forwarded-proto", "https"), ("forwarded", "proto=http")],
            [("x-forwarded-host", "a"), ("forwarded", "host=b")],
            [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6")],
            [
                ("x-forwarded-proto", "https"),
                ("forwarded", "proto=\"https"),
            ],
        ] {
            agree(&fields, "http", "a:8443", &["192.0.2.7"]);
        }
    }

    #[test]
    fn a_family_that_is_off_is_neither_written_nor_passed() {
        let both = [("x-forwarded-proto", "https"), ("forwarded", "proto=http")];
        for trusted in [false, true] {
            let off = |forwarded, x_forwarded| {
                let families = Families {
                    forwarded,
                    x_forwarded,
                };
                let names = written(&both, trusted, families);
                names.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
            };
            assert_eq!(off(true, false), ["forwarded"]);
            let x = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
            assert_eq!(off(false, true), x);
            assert!(off(false, false).is_empty());
        }
        let only_x = Families {
            forwarded: false,
            x_forwarded: true,
        };
        let told = written(&both, true, only_x);
        assert!(told.contains(&("x-forwarded-proto".into(), "https".into())));
    }

    #[test]
    fn whatever_tells_of_the_client_is_dropped_unless_it_is_trusted() {
        let forged = [
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("x_real_ip", "6.6.6.6"),
            ("forwarded_for", "6.6.6.6"),
            ("true-client-ip", "6.6.6.6"),
            ("true_client_ip", "6.6.6.6"),
            ("cf-connecting-ip", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-client-ip", "6.6.6.6"),
            ("x-cluster-client-ip", "6.6.6.6"),
            ("fastly-client-ip", "6.6.6.6"),
            ("front-end-https", "on"),
            ("x-forwarded-ssl", "on"),
            ("x-original-url", "/admin"),
        ];
        let untrusted = written(&forged, false, Families::default());
        assert_eq!(untrusted, written(&[], false, Families::default()));
        let trusted = written(&forged, true, Families::default());
        let names: Vec<_> = trusted.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"true-client-ip") && names.contains(&"x-real-ip"));
        assert!(names.iter().all(|name| !name.contains('_')), "{names:?}");
    }

    proptest! {
        #[test]
        fn what_anybody_wrote_before_it_changes_nothing(forged in "[ -~]{0,40}") {
            let list = format!("{forged}, 192.0.2.1");
            prop_assert_eq!(told(&[("x-forwarded-for", &list)]), "192.0.2.1");
            // Quotes that do not end hide the rest: the proxy's address then.
            let list = format!("{forged}, for=192.0.2.1");
            let told = told(&[("forwarded", &list)]);
            prop_assert!(told == "192.0.2.1" || forged.contains('"'), "{}", told);
        }
    }
}
