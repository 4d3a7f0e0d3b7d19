//! Reads the tables that decide which upstream gets a request: `[route.affinity]`, `[route.ejection]` and
//! `[route.check]`.

use std::num::NonZeroUsize;

use h2ws::bridge::{Affinity, Check, Ejection, RouteBuilder};
use h2ws::handshake::HostPort;

use super::super::reader::{Item, Section};
use super::values::{invalid_host, valid_or_report};

pub(super) fn affinity(section: &mut Section<'_>, route: RouteBuilder) -> RouteBuilder {
    let Some(mut section) = section.section("affinity") else {
        return route;
    };
    let cookie = section.string("cookie");
    let attributes = section.string("attributes");
    let header = section.parsed("header", str::parse::<http::HeaderName>);
    let query = section.parsed("query", Affinity::query);
    let segment = section.integer("path_segment", 1..1001);
    let client = section.boolean("client");
    // Those above are `None` for an invalid value too.
    let ways = [
        section.item("cookie").is_some(),
        section.item("header").is_some(),
        section.item("query").is_some(),
        section.item("path_segment").is_some(),
        client == Some(true),
    ];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        let what = "[route.affinity] requires exactly one of cookie, header, query, path_segment, \
                    client = true";
        section.error(&section.span, what);
    }
    if let (Some((_, span)), None) = (&attributes, &cookie) {
        section.error(span, "attributes requires cookie");
    }
    let segment = segment.and_then(|number| NonZeroUsize::new(number as usize));
    let others = header
        .map(Affinity::header)
        .or(query)
        .or_else(|| segment.map(Affinity::path_segment))
        .or_else(|| client.unwrap_or_default().then(Affinity::client));
    let affinity = match cookie {
        Some((name, span)) => {
            let affinity = match attributes {
                Some((attributes, _)) => Affinity::cookie_with(name, attributes),
                None => Affinity::cookie(name),
            };
            valid_or_report(&section, &span, affinity)
        }
        None => others,
    };
    section.finish();
    route.affinity(affinity)
}

pub(super) fn ejection(section: &mut Section<'_>, route: RouteBuilder) -> RouteBuilder {
    let Some(mut section) = section.section("ejection") else {
        return route;
    };
    let mut ejection = Ejection::default();
    if let Some(failures) = section.integer("failures", 0..1_000_001) {
        ejection = ejection.failures(failures as u32);
    }
    if let Some(time) = section.duration("base_ejection_time") {
        ejection = ejection.base_ejection_time(time);
    }
    if let Some(time) = section.duration("max_ejection_time") {
        ejection = ejection.max_ejection_time(time);
    }
    if let Some(counted) = section.boolean("gateway_errors") {
        ejection = ejection.gateway_errors(counted);
    }
    section.finish();
    route.ejection(ejection)
}

pub(super) fn check(section: &mut Section<'_>, route: RouteBuilder) -> RouteBuilder {
    let Some(mut section) = section.section("check") else {
        return route;
    };
    let http = section.parsed("http", Check::http);
    let tcp = section.boolean("tcp") == Some(true);
    // `http` above is `None` for an invalid path too.
    let is_http = section.item("http").is_some();
    if is_http == tcp {
        let what = "[route.check] requires exactly one of http = \"/path\", tcp = true";
        section.error(&section.span, what);
    }
    let mut check = http.unwrap_or_else(Check::tcp);
    if let Some(item) = section.item("expect") {
        match expect(&item) {
            Some((first, last)) if is_http => check = check.expect(first..=last),
            Some(_) => section.error(&item.span, "expect requires http = \"/path\""),
            None => {
                let what = "expect must be a status such as 204, or a range such as \"200-299\"";
                section.error(&item.span, what);
            }
        }
    }
    if let Some((name, span)) = section.string("host") {
        match name.parse::<HostPort>() {
            Ok(host) if is_http => check = check.host(host),
            Ok(_) => section.error(&span, "host requires http = \"/path\""),
            Err(_) => section.error(&span, invalid_host("host", name)),
        }
    }
    if let Some(interval) = section.duration("interval") {
        check = check.interval(interval);
    }
    if let Some(timeout) = section.duration("timeout") {
        check = check.timeout(timeout);
    }
    if let Some(checks) = section.integer("healthy_after", 1..1_001) {
        check = check.healthy_after(checks as u32);
    }
    if let Some(checks) = section.integer("unhealthy_after", 1..1_001) {
        check = check.unhealthy_after(checks as u32);
    }
    section.finish();
    route.check(check)
}

fn expect(item: &Item<'_>) -> Option<(u16, u16)> {
    let status = |number: u64| {
        let number = u16::try_from(number).ok()?;
        (100..=599).contains(&number).then_some(number)
    };
    if let Some(number) = item.as_integer() {
        let number = status(number?)?;
        return Some((number, number));
    }
    let (first, last) = item.as_str()?.split_once('-')?;
    let bound = |text: &str| status(text.trim().parse().ok()?);
    let (first, last) = (bound(first)?, bound(last)?);
    (first <= last).then_some((first, last))
}
