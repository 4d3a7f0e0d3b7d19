//! Tests of host parsing and of the hosts that a server allows.

use super::*;

#[test]
fn rfc9112_3_2_a_request_has_exactly_one_host() {
    let host_of = |version, uri: &str, hosts: &[&str]| {
        let mut request = http::Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        of_request(&parts, 80).ok().map(|host| host.to_string())
    };
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    for (version, uri, hosts, host) in [
        (one, "/", &["A:8080"][..], Some("a:8080")),
        (one, "/", &[], None),
        (one, "/", &["a", "a"], None),
        (one, "/", &["a b"], None),
        (one, "/", &["a@b"], None),
        (one, "http://b/", &["a"], Some("b")),
        (one, "http://b/", &[], None),
        (two, "http://b/", &[], Some("b")),
        (two, "http://b/", &["b:80"], Some("b")),
        (two, "http://b/", &["a"], None),
        (two, "/", &["a"], Some("a")),
        (two, "http://me@b/", &[], None),
    ] {
        let host = host.map(str::to_owned);
        assert_eq!(
            host_of(version, uri, hosts),
            host,
            "{version:?} {uri} {hosts:?}"
        );
    }
}

#[test]
fn rfc3986_3_2_hosts_and_ports_are_parsed() {
    for (text, host, port, shown) in [
        ("example.com", "example.com", None, "example.com"),
        (
            "Example.COM:8443",
            "example.com",
            Some(8443),
            "example.com:8443",
        ),
        ("example.com:", "example.com", None, "example.com"),
        ("a_b.internal.", "a_b.internal.", None, "a_b.internal."),
        ("127.0.0.1:80", "127.0.0.1", Some(80), "127.0.0.1:80"),
        ("[::1]", "::1", None, "[::1]"),
        ("[0:0::0:1]:65535", "::1", Some(65535), "[::1]:65535"),
        ("[::1]:", "::1", None, "[::1]"),
    ] {
        let parsed: HostPort = text.parse().unwrap();
        assert_eq!((parsed.host(), parsed.port()), (host, port), "{text}");
        assert_eq!(parsed.to_string(), shown, "{text}");
    }
    for bad in [
        "",
        ".",
        ":80",
        "user@host",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a,b",
        "a%41",
        "*",
        "*.a",
        "::1",
        "[::1",
        "[::1]x",
        "[::1%25eth0]",
        "[v1.x]",
        "[]",
        "[1.2.3.4]",
        "ä",
        "a\\b",
    ] {
        assert!(bad.parse::<HostPort>().is_err(), "{bad}");
    }
    for bad in [
        "a:0",
        "a:65536",
        "a:+80",
        "a:-1",
        "a:80:80",
        "a:x",
        "[::1]: 80",
    ] {
        assert_eq!(bad.parse::<HostPort>(), Err(InvalidHostPort::Port), "{bad}");
    }
    assert!(InvalidHostPort::Port.to_string().contains("65535"));
    assert!(InvalidHostPort::Host.to_string().contains("host"));
}

#[test]
fn rfc9110_4_2_3_the_default_port_and_a_final_dot_are_ignored_in_comparisons() {
    let is_same = |a: &str, b: &str, default| {
        a.parse::<HostPort>()
            .unwrap()
            .is_same(&b.parse().unwrap(), default)
    };
    assert!(is_same("a:443", "A", 443));
    assert!(is_same("a.", "a", 443));
    assert!(!is_same("a:443", "a", 80));
    assert!(!is_same("a", "b", 443));
}

#[test]
fn rfc9110_15_5_20_only_allowed_hosts_are_accepted() {
    let list = [
        "example.com",
        "*.example.org",
        "only.test:8443",
        "any.test:*",
        "[::1]",
    ];
    let allowed_hosts = AllowedHosts::parse(list).unwrap();
    for (authority, allowed) in [
        ("example.com", true),
        ("EXAMPLE.com.:9", true),
        ("www.example.com", false),
        ("badexample.com", false),
        ("a.example.org", true),
        ("a.b.example.org:9", true),
        ("example.org", false),
        (".example.org", false),
        ("badexample.org", false),
        ("only.test:8443", true),
        ("only.test", false),
        ("any.test:1", true),
        ("[0::1]:443", true),
        ("127.0.0.1", false),
    ] {
        let checked = allowed_hosts.check(&authority.parse().unwrap(), 443);
        let expected = if allowed {
            Ok(())
        } else {
            Err(Rejection::Authority)
        };
        assert_eq!(checked, expected, "{authority}");
    }
    let only: HostPort = "only.test".parse().unwrap();
    assert_eq!(
        allowed_hosts.check(&only, 8443),
        Ok(()),
        "a missing port is the default port"
    );
    let any = AllowedHosts::parse(["*", "example.com"]).unwrap();
    assert_eq!(any, AllowedHosts::any());
    assert_eq!(any.check(&only, 443), Ok(()));
    let none = AllowedHosts::parse([""; 0]).unwrap();
    assert_eq!(none.check(&only, 443), Err(Rejection::Authority));
}

#[test]
fn rfc9112_3_2_the_host_of_any_request_is_checked() {
    let allowed_hosts = AllowedHosts::parse(["example.com"]).unwrap();
    let request = |version, target: &str, hosts: &[&str]| {
        let mut request = http::Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    };
    let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
    for (version, target, hosts, expected) in [
        (h1, "/", &["example.com"][..], Ok(())),
        (h1, "/", &["evil.example"], Err(Rejection::Authority)),
        (h1, "/", &[], Err(Rejection::Host)),
        (h1, "/", &["a b"], Err(Rejection::Host)),
        (
            h1,
            "/",
            &["example.com", "example.com"],
            Err(Rejection::Host),
        ),
        (h1, "http://example.com/", &["evil.example"], Ok(())),
        (h1, "http://example.com/", &[], Err(Rejection::Host)),
        (
            h1,
            "http://evil.example/",
            &["example.com"],
            Err(Rejection::Authority),
        ),
        (h2, "http://example.com/", &[], Ok(())),
        (h2, "http://user@example.com/", &[], Err(Rejection::Host)),
        (h2, "http://evil.example/", &[], Err(Rejection::Authority)),
        (
            h2,
            "http://example.com/",
            &["evil.example"],
            Err(Rejection::Host),
        ),
        (h2, "http://example.com/", &["example.com:80"], Ok(())),
        (h2, "/", &["example.com"], Ok(())),
        (h2, "/", &[], Err(Rejection::Host)),
    ] {
        let request = request(version, target, hosts);
        let checked = allowed_hosts.check_request(&request, 80);
        assert_eq!(checked, expected, "{version:?} {target} {hosts:?}");
        let any = AllowedHosts::any().check_request(&request, 80);
        // RFC 9112 §3.2: an invalid host is answered with 400, whichever hosts are allowed.
        let expected_of_any = if expected == Err(Rejection::Host) {
            expected
        } else {
            Ok(())
        };
        assert_eq!(any, expected_of_any, "{version:?} {target} {hosts:?}");
    }
    let old = request(Version::HTTP_10, "/", &[]);
    assert_eq!(AllowedHosts::any().check_request(&old, 80), Ok(()));
    assert_eq!(allowed_hosts.check_request(&old, 80), Err(Rejection::Host));
}

#[test]
fn invalid_host_patterns_are_rejected() {
    for bad in [
        "", "*.", "a.*.b", "**.a", "*a", "a:1:*", "*.[::1]", "http://a", "a:0", "*:*",
    ] {
        assert!(AllowedHosts::parse([bad]).is_err(), "{bad}");
    }
}
