//! Reads a `[[route]]`.

mod upstream_choice;
mod values;

use std::path::Path;

use h2ws::bridge::{
    ClientCert, ForwardAuth, HeaderRules, InvalidRoute, Pings, Route, RouteBuilder, Timeouts,
    TraceContext, Upstream,
};
use h2ws::handshake::{AllowedOrigins, HostPort};
use h2ws::{Client, HttpVersion};

use self::values::{invalid_host, valid_or_report};
use super::super::upstream::UnreachableSocket;
use super::reader::Section;
use super::tls;
use crate::error::Failure;
use crate::listener::v2_header;
use crate::tls::ClientFiles;

/// What is needed to read a route besides its section.
pub(super) struct RouteContext<'a> {
    /// The configuration file.
    pub(super) path: &'a Path,
    /// Makes a client for `[route.upstream_tls]`.
    pub(super) client: &'a dyn Fn(&ClientFiles) -> Result<Client, Failure>,
}

/// Reads a route; `None` if an error makes it unusable.
pub(super) fn read(mut section: Section<'_>, context: &RouteContext<'_>) -> Option<Route> {
    let place = place(&mut section);
    let upstreams = upstreams(&mut section);
    let origins = origins(&mut section);
    // Everything is read, to find all errors.
    let complete = place.is_some();
    let route = match place {
        Some(route) => route,
        None => Route::builder("*", "/*").ok()?,
    };
    let route = settings(&mut section, route);
    let route = timeouts(&mut section, route);
    let route = pings(&mut section, route);
    let route = client(&mut section, route, context);
    let route = headers(&mut section, route);
    let route = upstream_choice::affinity(&mut section, route);
    let route = upstream_choice::ejection(&mut section, route);
    let route = upstream_choice::check(&mut section, route);
    let built = upstreams.zip(origins).and_then(|(upstreams, origins)| {
        let route = match origins {
            Some(origins) => route.allowed_origins(origins),
            None => route,
        };
        let route = upstreams.into_iter().fold(route, RouteBuilder::upstream);
        built(&mut section, route)
    });
    section.finish();
    built.filter(|_| complete)
}

fn built(section: &mut Section<'_>, route: RouteBuilder) -> Option<Route> {
    let error = match route.build() {
        Ok(route) => return Some(route),
        Err(error) => error,
    };
    let named = match error {
        InvalidRoute::Via(_) => section.item("via"),
        InvalidRoute::RequestId(_) => section.item("request_id"),
        InvalidRoute::ServerName(_) => section.item("server_name"),
        InvalidRoute::PingsToTcp => section.item("ping"),
        InvalidRoute::PrefaceToHttp => section.item("send_proxy_protocol"),
        _ => None,
    };
    let span = named.map_or(section.span.clone(), |item| item.span);
    section.error(&span, error);
    None
}

fn place(section: &mut Section<'_>) -> Option<RouteBuilder> {
    let host = section.string("host");
    let path = section.string("path");
    let mut fits = true;
    // Each is checked alone first, so that both errors are reported.
    for (host, path, place) in [
        (host.as_ref().map_or("*", |(host, _)| host), "/*", &host),
        ("*", path.as_ref().map_or("/*", |(path, _)| path), &path),
    ] {
        if let (Err(error), Some((_, span))) = (Route::builder(host, path), place) {
            section.error(span, error);
            fits = false;
        }
    }
    let host = host.map_or("*", |(host, _)| host);
    let path = path.map_or("/*", |(path, _)| path);
    Route::builder(host, path).ok().filter(|_| fits)
}

/// Reads the upstreams; `None` if any is invalid.
fn upstreams(section: &mut Section<'_>) -> Option<Vec<Upstream>> {
    let version = section.parsed("version", |version| match version {
        "auto" => Ok(HttpVersion::Auto),
        "http1" => Ok(HttpVersion::Http1),
        "http2" => Ok(HttpVersion::Http2),
        other => Err(format!(
            "invalid version {other:?}; expected auto, http1 or http2"
        )),
    });
    let there = section.item("to");
    let urls = section.strings("to");
    if let Some(item) = there.as_ref().filter(|item| item.is_empty()) {
        section.error(&item.span, "the route has no upstream");
    }
    if there.is_none() {
        section.error(
            &section.span,
            "the route requires an upstream: to = \"ws://…\"",
        );
    }
    let mut upstreams = Vec::new();
    let all = urls.len();
    for (url, span) in urls {
        match url.parse::<Upstream>() {
            Ok(upstream) => {
                match UnreachableSocket::find(&upstream) {
                    Some(problem @ UnreachableSocket::Missing(_)) => section.notice(&span, problem),
                    Some(problem) => section.error(&span, format_args!("{url}: {problem}")),
                    None => {}
                }
                upstreams.push(upstream.version(version.unwrap_or_default()));
            }
            Err(error) => section.error(&span, format_args!("{url}: {error}")),
        }
    }
    (upstreams.len() == all && all > 0).then_some(upstreams)
}

/// Reads the allowed origins; `None` for an error, `Some(None)` if the key is missing.
fn origins(section: &mut Section<'_>) -> Option<Option<AllowedOrigins>> {
    if section.item("allowed_origins").is_none() {
        return Some(None);
    }
    let mut valid = Vec::new();
    let mut same_host = false;
    let mut fits = true;
    for (origin, span) in section.strings("allowed_origins") {
        if origin == "same-host" {
            same_host = true;
        } else if let Err(error) = AllowedOrigins::parse([origin]) {
            section.error(&span, error);
            fits = false;
        } else {
            valid.push(origin);
        }
    }
    let origins = AllowedOrigins::parse(valid).ok().filter(|_| fits)?;
    Some(Some(if same_host {
        origins.or_same_host()
    } else {
        origins
    }))
}

fn settings(section: &mut Section<'_>, mut route: RouteBuilder) -> RouteBuilder {
    if let Some((name, _)) = section.string("name") {
        route = route.name(name);
    }
    if let Some(strip) = section.boolean("strip_prefix") {
        route = route.strip_prefix(strip);
    }
    if let Some(enabled) = section.boolean("websocket_key") {
        route = route.websocket_key(enabled);
    }
    if let Some(item) = section.item("upstream_host") {
        if let Some(name) = item.as_str() {
            match name.parse::<HostPort>() {
                Ok(name) => route = route.upstream_host(name),
                Err(_) => section.error(&item.span, invalid_host("upstream_host", name)),
            }
        } else if let Some(own) = section.boolean("upstream_host") {
            route = route.upstream_host(own);
        }
    }
    if let Some((name, _)) = section.string("server_name") {
        route = route.server_name(name.to_owned());
    }
    if let Some(forwarded) = section.boolean("forwarded") {
        route = route.forwarded(forwarded);
    }
    if let Some(x_forwarded) = section.boolean("x_forwarded") {
        route = route.x_forwarded(x_forwarded);
    }
    if let Some(trust) = section.boolean("trust_forwarded") {
        route = route.trust_forwarded(trust);
    }
    if let Some(auth) = forward_auth(section) {
        route = route.forward_auth(auth);
    }
    if let Some(reported) = client_cert(section) {
        route = route.client_cert(reported);
    }
    route = identification(section, route);
    if let Some(only) = section.boolean("websockets_only") {
        route = route.websockets_only(only);
    }
    if let Some((name, _)) = section.string("via") {
        route = route.via(name);
    }
    if section.boolean("send_proxy_protocol") == Some(true) {
        route = route.tcp_preface(v2_header);
    }
    if let Some(sockets) = section.integer("max_sockets", 0..super::COUNT) {
        route = route.max_sockets(sockets as usize);
    }
    if let Some(interval) = section.duration("resolve_every") {
        route = route.resolve_every(interval);
    }
    route
}

/// Reads the URL of a server for forward authentication, or a table with it.
fn forward_auth(section: &mut Section<'_>) -> Option<ForwardAuth> {
    let item = section.item("forward_auth")?;
    if item.as_str().is_some() {
        return section.parsed("forward_auth", ForwardAuth::new);
    }
    if !item.is_table() {
        section.error(&item.span, "forward_auth must be a URL or a table");
        return None;
    }
    let mut section = section.section("forward_auth")?;
    if section.item("url").is_none() {
        let what = "[route.forward_auth] requires url = \"http://…\"";
        section.error(&section.span, what);
    }
    let mut auth = section.parsed("url", ForwardAuth::new);
    for (name, span) in section.strings("copy_headers") {
        // Without a valid URL, the names are checked all the same.
        let base = auth
            .clone()
            .or_else(|| ForwardAuth::new("http://localhost").ok())?;
        let copied = valid_or_report(&section, &span, base.copy_headers([name]));
        auth = auth.and(copied);
    }
    let timeout = section.duration("timeout");
    let requests = section.integer("max_requests", 1..super::COUNT);
    let of_client = section.integer("max_requests_per_client", 1..super::COUNT);
    section.finish();
    let mut auth = auth?;
    if let Some(timeout) = timeout {
        auth = auth.timeout(timeout);
    }
    if let Some(requests) = requests {
        auth = auth.max_requests(requests as usize);
    }
    if let Some(requests) = of_client {
        auth = auth.max_requests_per_client(requests as usize);
    }
    Some(auth)
}

fn client_cert(section: &mut Section<'_>) -> Option<ClientCert> {
    let item = section.item("client_cert")?;
    match item.as_str() {
        Some("chain") => Some(ClientCert::Chain),
        Some(other) => {
            let what =
                format!("client_cert: invalid value {other:?}; expected true, false or \"chain\"");
            section.error(&item.span, what);
            None
        }
        None if section.boolean("client_cert")? => Some(ClientCert::Leaf),
        None => Some(ClientCert::Off),
    }
}

fn identification(section: &mut Section<'_>, mut route: RouteBuilder) -> RouteBuilder {
    if let Some(item) = section.item("request_id") {
        if item.as_str().is_some() {
            let field = section.parsed("request_id", str::parse::<http::HeaderName>);
            route = route.request_id(field);
        } else if section.boolean("request_id") == Some(false) {
            route = route.request_id(None);
        }
    }
    let trace_context = section.parsed("trace_context", |handling| match handling {
        "pass" => Ok(TraceContext::Pass),
        "continue" => Ok(TraceContext::Continue),
        "restart" => Ok(TraceContext::Restart),
        other => Err(format!(
            "invalid value {other:?}; expected pass, continue or restart"
        )),
    });
    match trace_context {
        Some(trace_context) => route.trace_context(trace_context),
        None => route,
    }
}

fn timeouts(section: &mut Section<'_>, route: RouteBuilder) -> RouteBuilder {
    let Some(mut section) = section.section("timeouts") else {
        return route;
    };
    let mut timeouts = Timeouts::default();
    if let Some(connect) = section.duration("connect") {
        timeouts = timeouts.connect(connect);
    }
    if let Some(handshake) = section.duration("handshake") {
        timeouts = timeouts.handshake(handshake);
    }
    if let Some(response) = section.duration_or_none("response") {
        timeouts = timeouts.response(response);
    }
    if let Some(body) = section.duration("request_body") {
        timeouts = timeouts.request_body(body);
    }
    if let Some(pool_idle) = section.duration("pool_idle") {
        timeouts = timeouts.pool_idle(pool_idle);
    }
    if let Some(idle) = section.duration_or_none("idle") {
        timeouts = timeouts.idle(idle);
    }
    if let Some(lifetime) = section.duration_or_none("max_lifetime") {
        timeouts = timeouts.max_lifetime(lifetime);
    }
    section.finish();
    route.timeouts(timeouts)
}

fn pings(section: &mut Section<'_>, route: RouteBuilder) -> RouteBuilder {
    let Some(mut section) = section.section("ping") else {
        return route;
    };
    let client = section.duration_or_none("client").flatten();
    let upstream = section.duration_or_none("upstream").flatten();
    let timeout = section.duration_or_none("timeout").flatten();
    if client.is_none() && upstream.is_none() && timeout.is_some() {
        section.error(&section.span, "timeout requires client or upstream");
    }
    section.finish();
    let pings = Pings::default().client(client).upstream(upstream);
    route.pings(pings.timeout(timeout))
}

fn client(
    section: &mut Section<'_>,
    route: RouteBuilder,
    context: &RouteContext<'_>,
) -> RouteBuilder {
    let Some(files) = tls::upstream(context.path, section) else {
        return route;
    };
    // Each file is valid by itself; this reports errors of their combination.
    let client = (context.client)(&files);
    route.client(valid_or_report(section, &section.span, client))
}

fn headers(section: &mut Section<'_>, route: RouteBuilder) -> RouteBuilder {
    let request = rules(section, "request_headers");
    let response = rules(section, "response_headers");
    route.request_headers(request).response_headers(response)
}

fn rules(section: &mut Section<'_>, key: &'static str) -> HeaderRules {
    let mut rules = HeaderRules::default();
    let Some(mut section) = section.section(key) else {
        return rules;
    };
    for (name, span) in section.strings("remove") {
        rules = valid_or_report(&section, &span, rules.clone().remove(name)).unwrap_or(rules);
    }
    for (name, value, span) in section.pairs("set") {
        rules = valid_or_report(&section, &span, rules.clone().set(name, value)).unwrap_or(rules);
    }
    section.finish();
    rules
}
