//! The names of forwarding fields: those that describe the client or what it
//! requested.

use http::header::{HeaderMap, HeaderName};

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Forwarding fields of various software, besides `Forwarded` and
/// `X-Forwarded-*`.
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

/// Fields that say that the client used TLS, which frameworks trust like
/// `X-Forwarded-Proto`.
const TLS: [&str; 4] = ["front-end-https", "x-scheme", "x-url-scheme", "x-https"];

/// The families of fields that are read and written. Fields of a disabled family
/// are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Families {
    /// `Forwarded` (RFC 7239).
    pub(in crate::bridge) forwarded: bool,
    /// `X-Forwarded-*`.
    pub(in crate::bridge) x_forwarded: bool,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            forwarded: true,
            x_forwarded: true,
        }
    }
}

/// Whether this is a forwarding field. CGI and WSGI do not distinguish `_` from
/// `-`, so names with either are recognized.
fn is_forwarding(name: &str) -> bool {
    let with_hyphens;
    let name = if name.contains('_') {
        with_hyphens = name.replace('_', "-");
        &with_hyphens
    } else {
        name
    };
    name == "forwarded"
        || name.starts_with("x-forwarded-")
        || OTHERS.contains(&name)
        || TLS.contains(&name)
}

/// Removes the forwarding fields that are not trusted. Names with `_` are always
/// removed, as no proxy writes them.
pub(in crate::bridge) fn remove(fields: &mut HeaderMap, is_trusted: bool, families: Families) {
    let is_removed = |name: &&HeaderName| {
        let name = name.as_str();
        let is_enabled = match name {
            "forwarded" => families.forwarded,
            _ if name.starts_with("x-forwarded-") => families.x_forwarded,
            _ => true,
        };
        is_forwarding(name) && !(is_trusted && is_enabled && !name.contains('_'))
    };
    let names: Vec<HeaderName> = fields.keys().filter(is_removed).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}
