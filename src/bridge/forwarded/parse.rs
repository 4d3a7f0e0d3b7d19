//! Parses the forwarding fields of a request.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName};

use super::fields::{self, Families};
use crate::handshake::HostPort;

/// What a request's forwarding fields contain.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Addresses, or identifiers that hide them; the nearest node is last.
    pub(super) chain: Vec<String>,
    pub(super) host: Option<String>,
    pub(super) proto: Option<String>,
}

/// The fields are invalid or contradict each other.
pub(super) struct Untrustworthy;

/// Parses both families and merges them: a value that one of them lacks is taken
/// from the other.
pub(super) fn parse(fields: &HeaderMap, families: Families) -> Result<Parsed, Untrustworthy> {
    let (mut x, mut standard) = (Parsed::default(), Parsed::default());
    if families.x_forwarded {
        x = x_forwarded(fields);
    }
    if families.forwarded {
        standard = forwarded(fields)?;
    }
    let chain = match (x.chain.last(), standard.chain.last()) {
        (Some(one), Some(other)) if !is_same_node(one, other) => return Err(Untrustworthy),
        (Some(last), Some(_)) if !same_nodes(&x.chain, &standard.chain) => vec![last.clone()],
        (Some(_), _) => x.chain,
        (None, _) => standard.chain,
    };
    Ok(Parsed {
        chain,
        host: merge(x.host, standard.host)?,
        proto: merge(x.proto, standard.proto)?,
    })
}

fn merge(one: Option<String>, other: Option<String>) -> Result<Option<String>, Untrustworthy> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(Untrustworthy),
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

fn x_forwarded(fields: &HeaderMap) -> Parsed {
    let mut chain = Vec::new();
    for list in fields.get_all(fields::FOR) {
        let list = list.to_str().unwrap_or("unknown");
        chain.extend(list.split(',').map(|node| node.trim().to_owned()));
    }
    Parsed {
        chain,
        host: last_element(fields, &fields::HOST).and_then(|host| valid_host(&host)),
        proto: last_element(fields, &fields::PROTO).and_then(|proto| valid_proto(&proto)),
    }
}

/// Returns the last element of a list, which the nearest proxy wrote.
pub(super) fn last_element(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let last = fields.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(last.rsplit(',').next()?.trim().to_owned())
}

fn valid_host(host: &str) -> Option<String> {
    let parsed: Option<HostPort> = host.parse().ok();
    parsed.map(|host| host.to_string())
}

/// Some proxies write `wss` for a WebSocket over `https`.
fn valid_proto(proto: &str) -> Option<String> {
    let proto = proto.to_ascii_lowercase();
    match &*proto {
        "http" | "ws" => Some("http".to_owned()),
        "https" | "wss" => Some("https".to_owned()),
        _ => None,
    }
}

fn forwarded(fields: &HeaderMap) -> Result<Parsed, Untrustworthy> {
    let mut parsed = Parsed::default();
    for list in fields.get_all(FORWARDED) {
        let list = list.to_str().map_err(|_| Untrustworthy)?;
        for element in split(list, ',').ok_or(Untrustworthy)? {
            let mut node = String::new();
            for pair in split(element, ';').ok_or(Untrustworthy)? {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                // Neither an address nor a host contains characters to escape.
                let value = value.trim().trim_matches('"');
                match &*name.trim().to_ascii_lowercase() {
                    "for" => node = without_brackets(value).to_owned(),
                    "host" => parsed.host = valid_host(value),
                    "proto" => parsed.proto = valid_proto(value),
                    _ => {}
                }
            }
            parsed.chain.push(node);
        }
    }
    Ok(parsed)
}

/// Removes the brackets of an IPv6 address without a port.
fn without_brackets(node: &str) -> &str {
    let inner = node.strip_prefix('[');
    inner
        .and_then(|node| node.strip_suffix(']'))
        .unwrap_or(node)
}

/// Splits at `separator` outside of quoted strings (RFC 9110 §5.6.4); `None` if a
/// quoted string is not terminated.
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

/// Parses an address with or without a port, IPv6 with or without brackets.
pub(super) fn address(node: &str) -> Option<IpAddr> {
    let address = without_brackets(node).parse::<IpAddr>();
    let address = address.or_else(|_| node.parse().map(|node: SocketAddr| node.ip()));
    address.ok().map(|address| address.to_canonical())
}
