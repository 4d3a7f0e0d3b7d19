//! Forwarding fields, which describe a client to the upstream.
//!
//! There are two families: `Forwarded` (RFC 7239) and `X-Forwarded-*`. Most proxies
//! write only one of them, so a client can forge the other. Therefore both are
//! parsed into one [`ClientView`], in which a value that one family lacks is taken
//! from the other, and both are written from it: they never contradict each other.
//! If the received ones do, neither is trusted.

mod fields;
mod parse;

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

pub(super) use self::fields::{Families, remove};

use self::fields::{FOR, HOST, PREFIX, PROTO};
use self::parse::{Parsed, Untrustworthy, address, last_element};
use super::client_cert::Presented;
use crate::handshake::HostPort;

/// How the bridge received a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    /// The peer's address.
    pub(super) client: IpAddr,
    /// Whether the client used TLS.
    pub(super) is_secure: bool,
    pub(super) host: &'a HostPort,
    /// Whether the client's forwarding fields are trusted, because it is a proxy
    /// of the operator.
    pub(super) is_trusted: bool,
    pub(super) families: Families,
    /// The prefix that the route removes from the path.
    pub(super) removed_prefix: &'a str,
    pub(super) client_cert: Presented<'a>,
}

/// The request as the client sees it, which the upstream learns from forwarding
/// fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientView {
    /// Addresses, or identifiers that hide them; the nearest node is last.
    chain: Vec<String>,
    pub(super) host: String,
    pub(super) proto: String,
    prefix: String,
}

/// Returns the address of the client of the trusted proxy at `peer`: the last
/// address in that proxy's fields, as clients can forge the earlier ones. Returns
/// `peer` if the fields contain no address, or contradict each other.
pub(super) fn client_address(fields: &HeaderMap, peer: IpAddr, families: Families) -> IpAddr {
    let parsed = parse::parse(fields, families);
    let last = parsed.ok().and_then(|parsed| address(parsed.chain.last()?));
    last.unwrap_or(peer)
}

/// Replaces the forwarding fields, or appends the client to them if they are
/// trusted.
pub(super) fn rewrite(fields: &mut HeaderMap, received: Received<'_>) -> ClientView {
    let families = received.families;
    let trusted = match received.is_trusted.then(|| parse::parse(fields, families)) {
        Some(Ok(parsed)) => Some(parsed),
        Some(Err(Untrustworthy)) | None => None,
    };
    let outer_prefix = trusted.as_ref().and_then(|_| last_element(fields, &PREFIX));
    remove(fields, trusted.is_some(), families);
    let Parsed { chain, host, proto } = trusted.unwrap_or_default();
    let mut chain: Vec<_> = chain.into_iter().filter(|node| !node.is_empty()).collect();
    // A listener on `[::]` reports IPv4 clients as mapped addresses.
    let client = received.client.to_canonical();
    chain.push(if client.is_unspecified() {
        // The client has no address, as over a Unix socket.
        "unknown".to_owned()
    } else {
        client.to_string()
    });
    let own_proto = if received.is_secure { "https" } else { "http" };
    let view = ClientView {
        chain,
        host: host.unwrap_or_else(|| received.host.to_string()),
        proto: proto.unwrap_or_else(|| own_proto.to_owned()),
        prefix: format!(
            "{}{}",
            outer_prefix.unwrap_or_default().trim_end_matches('/'),
            received.removed_prefix
        ),
    };
    view.write(fields, families);
    view
}

impl ClientView {
    pub(super) fn write(&self, fields: &mut HeaderMap, families: Families) {
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
            // A valid host contains nothing to escape in a quoted string (RFC
            // 9110 §5.6.4).
            let element =
                |node: &String| format!("for={};host=\"{host}\";proto={proto}", node_value(node));
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

/// Formats a node for `Forwarded` (RFC 7239 §6).
fn node_value(node: &str) -> String {
    match address(node) {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        None if is_obfuscated(node) => node.to_owned(),
        None => "unknown".to_owned(),
    }
}

/// Whether this is an obfuscated identifier (RFC 7239 §6.3).
fn is_obfuscated(node: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    node.starts_with('_') && node.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests;
