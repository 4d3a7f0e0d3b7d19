//! Whose request a proxy of the operator's passes on.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

use super::Route;
use super::headers::FOR;

/// Whom limits and an affinity by address count a request to.
pub(super) fn client_of(fields: &HeaderMap, peer: SocketAddr, route: &Route) -> IpAddr {
    if route.trusts_forwarded() {
        client(fields, peer.ip())
    } else {
        peer.ip()
    }
}

/// The client behind the proxy at `peer`, as that proxy tells it: the last
/// element of `X-Forwarded-For`, or of `Forwarded` (RFC 7239). Those before it
/// may have been written by anybody.
///
/// It is the proxy itself where that tells of no address, and where the two
/// fields differ: most proxies write one of them, and leave the other to
/// clients to make up.
fn client(fields: &HeaderMap, peer: IpAddr) -> IpAddr {
    let told = match (x_forwarded_for(fields), forwarded(fields)) {
        (Some(one), Some(other)) if one != other => None,
        (Some(node), _) | (None, Some(node)) => node,
        (None, None) => None,
    };
    told.unwrap_or(peer)
}

/// `None` if the field is not there, `Some(None)` if it tells of no address.
fn x_forwarded_for(fields: &HeaderMap) -> Option<Option<IpAddr>> {
    let last = fields.get_all(FOR).iter().next_back()?;
    let node = last.to_str().ok().and_then(|list| list.rsplit(',').next());
    Some(node.and_then(|node| address(node.trim())))
}

/// As [`x_forwarded_for`].
fn forwarded(fields: &HeaderMap) -> Option<Option<IpAddr>> {
    let last = fields.get_all(FORWARDED).iter().next_back()?;
    let list = last.to_str().ok().and_then(|list| split(list, ','));
    let element = list.and_then(|mut elements| elements.pop());
    let pairs = element.and_then(|element| split(element, ';'));
    let node = pairs.into_iter().flatten().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    // An address has nothing to escape.
    Some(node.and_then(|node| address(node.trim().trim_matches('"'))))
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
    let bare = node
        .strip_prefix('[')
        .and_then(|node| node.strip_suffix(']'));
    let address = bare.unwrap_or(node).parse::<IpAddr>();
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
        client(&headers, PROXY).to_string()
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
