//! Reads all `[[route]]`, and reports those that conflict with each other.

use std::collections::HashMap;

use h2ws::bridge::{BridgeLimits, Routes};

use super::reader::Section;
use super::route::{self, RouteContext};

/// A host that a route is for, and its line.
#[derive(Clone, Debug)]
pub(crate) struct RouteHost {
    pub(crate) host: String,
    pub(crate) line: usize,
}

pub(super) fn read(
    root: &mut Section<'_>,
    limits: BridgeLimits,
    context: &RouteContext<'_>,
    hosts: &mut Vec<RouteHost>,
) -> Option<Routes> {
    let sections = root.sections("route");
    if sections.is_empty() {
        // Not in addition to a syntax error, or an error in the key itself.
        if root.item("route").is_none() && !root.is_broken() {
            root.error(&(0..0), "the file has no [[route]]; add at least one");
        }
        return None;
    }
    let mut table = Some(Routes::builder().limits(limits));
    let mut places = HashMap::new();
    let mut names = HashMap::new();
    for mut section in sections {
        let span = section.span.clone();
        let line = root.line(&span);
        let host_line = section.item("host").map(|item| root.line(&item.span));
        // A route with other errors is checked for conflicts too.
        let mut name = section.peek("name").map(str::to_owned);
        let host = section.peek("host").unwrap_or("*").to_ascii_lowercase();
        let mut place = (host, section.peek("path").unwrap_or("/*").to_owned());
        let route = route::read(section, context);
        if let Some(route) = &route {
            place = (route.host(), route.path());
            name = Some(route.name().to_owned());
            hosts.extend(host_line.filter(|_| place.0 != "*").map(|line| RouteHost {
                host: place.0.clone(),
                line,
            }));
        }
        if let Some(first) = places.insert(place, line) {
            let what = format!("the route on line {first} is for the same host and path");
            root.error(&span, what);
            table = None;
        } else if let Some(name) = name
            && let Some(first) = names.insert(name.clone(), line)
        {
            let what = format!("the route on line {first} has the same name, {name}");
            root.error(&span, what);
            table = None;
        }
        table = table.zip(route).map(|(table, route)| table.route(route));
    }
    // Conflicts were reported above, with their lines.
    table?.build().ok()
}
