//! URLs, and the hosts and origins that access control compares: what is parsed is in a normal form,
//! which is parsed as the same again, and nothing else in a URL reaches a request.

use std::net::IpAddr;

use h2ws::handshake::Key;
use h2ws::handshake::{
    AllowedHosts, AllowedOrigins, HostPort, Offer, Target, extended_connect, upgrade,
};
use http::{HeaderMap, HeaderValue, Uri};

use super::input::Input;

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let kind = input.byte() % 4;
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    match kind {
        0 => url(text),
        1 => authority(text),
        2 => origin(text),
        _ => host_pattern(text),
    }
}

fn url(text: &str) {
    let Ok(target) = text.parse::<Target>() else {
        return;
    };
    assert!(!target.host().is_empty());
    assert!(
        !target.host().contains(['/', '@', '[', ' ', '#', '?']),
        "{target:?}"
    );
    assert!(!target.host().contains(char::is_uppercase));
    assert!(target.path_and_query().starts_with('/'));
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte >= 0x80;
    assert!(
        target.path_and_query().bytes().all(is_visible),
        "{target:?}"
    );
    assert!(
        !target.authority().is_empty() && target.authority().bytes().all(|b| b.is_ascii_graphic())
    );

    let uri = target.http_uri();
    assert_eq!(Target::try_from(&uri).as_ref(), Ok(&target), "of {uri}");
    let again = format!("{}{}", target.endpoint(), target.path_and_query());
    assert_eq!(again.parse::<Target>().as_ref(), Ok(&target), "{again}");
    // `Uri` accepts all that is accepted here, but in other places.
    let theirs: Uri = text.parse().expect("also a Uri");
    let host = theirs.host().unwrap_or_default();
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    // An address has other spellings.
    let host = host.parse().map_or(host, |ip: IpAddr| ip.to_string());
    assert_eq!(target.host(), host, "{target:?}");
    assert_eq!(
        target.port(),
        theirs
            .port_u16()
            .unwrap_or(if target.secure() { 443 } else { 80 })
    );

    let (offer, key) = (Offer::default(), Key::new([7; 16]));
    let request = upgrade::request(&target, HeaderMap::new(), &offer, &key).expect("a request");
    assert_eq!(request.uri(), target.path_and_query());
    assert_eq!(request.headers()["host"], target.authority());
    let (request, ()) = request.into_parts();
    upgrade::check_request(&request).expect("what a client sends is accepted");
    let request = extended_connect::request(&target, HeaderMap::new(), &offer, None);
    let (request, ()) = request.expect("a request").into_parts();
    let parsed = extended_connect::check_request(&request, Some("websocket"));
    let parsed = parsed.expect("what a client sends is accepted");
    assert_eq!(parsed.authority.host(), target.host());
    // The same site is always allowed.
    let origin = uri.to_string();
    let origin = &origin[..origin.len() - target.path_and_query().len()];
    let origin = HeaderValue::from_str(origin).expect("ASCII");
    let same = AllowedOrigins::same_host().check_for(Some(&origin), &parsed.authority);
    assert_eq!(same, Ok(()), "{origin:?} at {:?}", parsed.authority);
}

fn authority(text: &str) {
    let Ok(authority) = text.parse::<HostPort>() else {
        return;
    };
    let normal = authority.to_string();
    assert_eq!(
        normal.parse::<HostPort>().as_ref(),
        Ok(&authority),
        "{normal}"
    );
    assert_eq!(
        normal.parse::<HostPort>().expect("parsed").to_string(),
        normal
    );
    assert!(authority.is_same(&authority, 80));
    assert!(
        !normal.contains(char::is_uppercase) && normal.is_ascii(),
        "{normal}"
    );
    let pattern = AllowedHosts::parse([normal.as_str()]);
    if let Ok(hosts) = pattern {
        assert_eq!(hosts.check(&authority, 80), Ok(()), "{normal}");
    }
    format!("ws://{normal}/")
        .parse::<Target>()
        .expect("a host of a URL");
}

fn origin(text: &str) {
    let Ok(value) = HeaderValue::from_str(text) else {
        return;
    };
    let host: HostPort = "app.example".parse().expect("a host");
    let same = AllowedOrigins::same_host()
        .check_for(Some(&value), &host)
        .is_ok();
    let listed =
        AllowedOrigins::parse(["https://app.example", "http://app.example"]).expect("origins");
    let listed = listed.check(Some(&value)).is_ok();
    // Ports other than the default one differ from both.
    assert_eq!(same, listed, "{text}");
    if listed {
        // Whitespace around a field's value is not part of it.
        let lower = text.trim().to_ascii_lowercase();
        assert!(
            lower.starts_with("http") && lower.contains("://app.example"),
            "{text}"
        );
    }
    assert!(AllowedOrigins::none().check(Some(&value)).is_err());
    if let Ok(own) = AllowedOrigins::parse([text]) {
        let is_pattern = text.contains('*');
        assert!(
            is_pattern || own.check(Some(&value)).is_ok(),
            "{text} does not allow itself"
        );
    }
}

fn host_pattern(text: &str) {
    let Ok(hosts) = AllowedHosts::parse(text.split(' ').filter(|part| !part.is_empty())) else {
        return;
    };
    let other: HostPort = "h2ws-other.invalid".parse().expect("a host");
    let names_it = text.to_ascii_lowercase().contains("invalid") || text.contains('*');
    assert!(names_it || hosts.check(&other, 80).is_err(), "{text}");
}
