//! Tests of the client address and of the `Forwarded` and `X-Forwarded-*` fields.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn address_of(fields: &[(&'static str, &str)]) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    client_address(&headers, PROXY, Families::default()).to_string()
}

#[test]
fn the_client_address_is_the_one_that_the_last_proxy_added() {
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
        assert_eq!(address_of(fields), expected, "{fields:?}");
    }
}

#[test]
fn contradictory_addresses_are_ignored() {
    let address_of_both =
        |x, forwarded| address_of(&[("x-forwarded-for", x), ("forwarded", forwarded)]);
    assert_eq!(address_of_both("192.0.2.1", "for=192.0.2.1"), "192.0.2.1");
    assert_eq!(address_of_both("192.0.2.1", "for=1.1.1.1"), "10.0.0.1");
    assert_eq!(address_of_both("192.0.2.1", "for=unknown"), "10.0.0.1");
}

fn rewritten(
    fields: &[(&'static str, &'static str)],
    is_trusted: bool,
    families: Families,
) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let host = "a:8443".parse().unwrap();
    let received = Received {
        client: "192.0.2.7".parse().unwrap(),
        is_secure: false,
        host: &host,
        is_trusted,
        families,
        removed_prefix: "",
        client_cert: Default::default(),
    };
    rewrite(&mut headers, received);
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let fields = headers.iter();
    let mut fields: Vec<_> = fields.map(|(n, v)| (n.to_string(), text(v))).collect();
    fields.sort();
    fields
}

/// Asserts that both families contain the same information after [`rewrite`].
#[track_caller]
fn assert_families(
    fields: &[(&'static str, &'static str)],
    proto: &str,
    host: &str,
    chain: &[&str],
) {
    let got = rewritten(fields, true, Families::default());
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
fn a_client_without_an_address_is_forwarded_as_unknown() {
    let mut headers = HeaderMap::new();
    let host = "a".parse().unwrap();
    let received = Received {
        client: [0, 0, 0, 0].into(),
        is_secure: false,
        host: &host,
        is_trusted: false,
        families: Families::default(),
        removed_prefix: "",
        client_cert: Default::default(),
    };
    rewrite(&mut headers, received);
    assert_eq!(headers["forwarded"], "for=unknown;host=\"a\";proto=http");
    assert_eq!(headers["x-forwarded-for"], "unknown");
}

#[test]
fn rfc7239_both_families_contain_the_same_information() {
    let own = ["192.0.2.7"];
    assert_families(&[], "http", "a:8443", &own);
    // A load balancer that terminates TLS.
    let balancer = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "site.test"),
    ];
    assert_families(&balancer, "https", "site.test", &["1.1.1.1", "192.0.2.7"]);
    assert_families(&[("x-forwarded-proto", "https")], "https", "a:8443", &own);
    assert_families(&[("x-forwarded-proto", "wss")], "https", "a:8443", &own);
    assert_families(
        &[("x-forwarded-proto", "https, http")],
        "http",
        "a:8443",
        &own,
    );
    assert_families(&[("x-forwarded-proto", "gopher")], "http", "a:8443", &own);
    // A load balancer that writes the other family.
    let other = [("forwarded", "for=1.1.1.1;proto=https;host=\"site.test\"")];
    assert_families(&other, "https", "site.test", &["1.1.1.1", "192.0.2.7"]);
    let hops = [(
        "forwarded",
        "for=1.1.1.1;proto=https, for=_edge;proto=https",
    )];
    assert_families(&hops, "https", "a:8443", &["1.1.1.1", "_edge", "192.0.2.7"]);
    // Different values in each family.
    let parts = [
        ("forwarded", "proto=https"),
        ("x-forwarded-host", "site.test"),
    ];
    assert_families(&parts, "https", "site.test", &own);
    // An address forged by the client before the one that the proxy added.
    let forged = [
        ("x-forwarded-for", "6.6.6.6, 1.1.1.1"),
        ("forwarded", "for=1.1.1.1;proto=https"),
    ];
    assert_families(&forged, "https", "a:8443", &["1.1.1.1", "192.0.2.7"]);
}

#[test]
fn fields_that_contradict_each_other_are_ignored() {
    for fields in [
        [("x-forwarded-proto", "https"), ("forwarded", "proto=http")],
        [("x-forwarded-host", "a"), ("forwarded", "host=b")],
        [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6")],
        [
            ("x-forwarded-proto", "https"),
            ("forwarded", "proto=\"https"),
        ],
    ] {
        assert_families(&fields, "http", "a:8443", &["192.0.2.7"]);
    }
}

#[test]
fn a_disabled_family_is_neither_written_nor_forwarded() {
    let both = [("x-forwarded-proto", "https"), ("forwarded", "proto=http")];
    for trusted in [false, true] {
        let off = |forwarded, x_forwarded| {
            let families = Families {
                forwarded,
                x_forwarded,
            };
            let names = rewritten(&both, trusted, families);
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
    let fields = rewritten(&both, true, only_x);
    assert!(fields.contains(&("x-forwarded-proto".into(), "https".into())));
}

#[test]
fn every_forwarding_field_is_dropped_unless_the_client_is_trusted() {
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
    let untrusted = rewritten(&forged, false, Families::default());
    assert_eq!(untrusted, rewritten(&[], false, Families::default()));
    let trusted = rewritten(&forged, true, Families::default());
    let names: Vec<_> = trusted.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"true-client-ip") && names.contains(&"x-real-ip"));
    assert!(names.iter().all(|name| !name.contains('_')), "{names:?}");
}

proptest! {
    #[test]
    fn forged_earlier_elements_do_not_change_the_address(forged in "[ -~]{0,40}") {
        let list = format!("{forged}, 192.0.2.1");
        prop_assert_eq!(address_of(&[("x-forwarded-for", &list)]), "192.0.2.1");
        // With an unterminated quote the proxy's own address is used.
        let list = format!("{forged}, for=192.0.2.1");
        let found = address_of(&[("forwarded", &list)]);
        prop_assert!(found == "192.0.2.1" || forged.contains('"'), "{}", found);
    }
}
