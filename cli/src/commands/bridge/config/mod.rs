//! The configuration file of `h2ws bridge`.

mod mistakes;
mod reader;
mod route;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use h2ws::bridge::{BridgeLimits, Routes};
use h2ws::config::TcpConfig;
use toml::de::DeTable;

use self::mistakes::Gathered;
use self::reader::Section;
use self::route::Surroundings;
use super::upstream::{Clients, RouteClients};
use crate::tls::{ClientFiles, ServerFiles};

pub(super) use self::mistakes::Mistakes;

/// What a file says. What it does not say is `None`, or the default.
pub(super) struct Config {
    pub(super) listen: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) cleartext: Option<bool>,
    pub(super) tls: Option<ServerFiles>,
    pub(super) upstream_tls: ClientFiles,
    pub(super) drain_delay: Option<Duration>,
    pub(super) drain_timeout: Option<Duration>,
    pub(super) tcp: TcpConfig,
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_client: Option<usize>,
    pub(super) process_buffer: Option<usize>,
    pub(super) max_concurrent_streams: Option<u32>,
    pub(super) max_header_list_size: Option<u32>,
    pub(super) connection_idle_timeout: Option<Option<Duration>>,
    pub(super) routes: Routes,
    /// Those that the routes have of their own.
    pub(super) clients: RouteClients,
}

impl Config {
    /// Reads a file.
    pub(super) fn load(path: &Path, clients: &Clients) -> Result<Self, Mistakes> {
        let text =
            std::fs::read_to_string(path).map_err(|error| Mistakes::unreadable(path, &error))?;
        Self::parse(path, &text, clients)
    }

    fn parse(path: &Path, text: &str, clients: &Clients) -> Result<Self, Mistakes> {
        let mistakes = RefCell::new(Gathered::new(path, text));
        // What can be read of a broken file is read, for the mistakes in it.
        let (root, broken) = DeTable::parse_recoverable(text);
        for error in &broken {
            let span = error.span().unwrap_or_default();
            let what = error.message().trim_end();
            mistakes.borrow_mut().add_broken(&span, what);
        }
        let config = Self::read(path, reader::table(&root, &mistakes), clients);
        mistakes.into_inner().result(config)
    }

    fn read(path: &Path, mut root: Section<'_>, clients: &Clients) -> Option<Self> {
        let listen = root.parsed("listen", address);
        let metrics = root.parsed("metrics", address);
        let drain_delay = root.duration("drain_delay");
        let drain_timeout = root.duration("drain_timeout");
        let (cleartext, tls) = tls::server(path, &mut root);
        let upstream_tls = tls::upstream(path, &mut root).unwrap_or_default();
        let mut max_connections = None;
        let mut max_connections_per_client = None;
        let mut process_buffer = None;
        let mut max_concurrent_streams = None;
        let mut max_header_list_size = None;
        let mut connection_idle_timeout = None;
        let mut limits = BridgeLimits::default();
        if let Some(mut section) = root.section("limits") {
            max_connections = section.integer("max_connections", 1..COUNT);
            max_connections_per_client = section.integer("max_connections_per_client", 1..COUNT);
            process_buffer = section.integer("process_buffer", 1..1 << 50);
            max_concurrent_streams = section.integer("max_concurrent_streams", 1..1 << 31);
            max_header_list_size = section.integer("max_header_list_size", 1024..1 << 31);
            connection_idle_timeout = section.duration_or_none("connection_idle_timeout");
            if let Some(sockets) = section.integer("max_sockets", 0..COUNT) {
                limits = limits.max_sockets(sockets as usize);
            }
            if let Some(sockets) = section.integer("max_sockets_per_client", 0..COUNT) {
                limits = limits.max_sockets_per_client(sockets as usize);
            }
            if let Some(retry_after) = section.duration("retry_after") {
                limits = limits.retry_after(retry_after);
            }
            section.finish();
        }
        let own = RefCell::new(RouteClients::new());
        let tcp = clients.tcp.over(tcp(&mut root));
        let client = |files: &ClientFiles| {
            clients.of_route(files, metrics.is_some(), &tcp, &mut own.borrow_mut())
        };
        let surroundings = Surroundings {
            path,
            client: &client,
        };
        let routes = routes(&mut root, limits, &surroundings);
        root.finish();
        Some(Self {
            listen,
            metrics,
            cleartext,
            tls,
            upstream_tls,
            drain_delay,
            drain_timeout,
            tcp,
            max_connections: max_connections.map(|number| number as usize),
            max_connections_per_client: max_connections_per_client.map(|number| number as usize),
            process_buffer: process_buffer.map(|bytes| bytes as usize),
            max_concurrent_streams: max_concurrent_streams.map(|number| number as u32),
            max_header_list_size: max_header_list_size.map(|number| number as u32),
            connection_idle_timeout,
            routes: routes?,
            clients: own.into_inner(),
        })
    }
}

/// More is a mistake of typing.
const COUNT: u64 = 1_000_000_001;

fn address(text: &str) -> Result<SocketAddr, String> {
    crate::args::address(text).map_err(|error| format!("{text:?}: {error}"))
}

/// TCP connections, to clients and upstreams.
fn tcp(root: &mut Section<'_>) -> TcpConfig {
    let mut tcp = TcpConfig::default();
    let Some(mut section) = root.section("tcp") else {
        return tcp;
    };
    if let Some(idle) = section.parsed("keepalive_idle", reader::duration_or_none) {
        tcp = tcp.keepalive_idle(idle);
    }
    if let Some(interval) = section.duration("keepalive_interval") {
        tcp = tcp.keepalive_interval(interval);
    }
    if let Some(probes) = section.integer("keepalive_probes", 1..128) {
        tcp = tcp.keepalive_probes(probes as u32);
    }
    if let Some(timeout) = section.parsed("user_timeout", reader::duration_or_none) {
        tcp = tcp.user_timeout(timeout);
    }
    section.finish();
    tcp
}

fn routes(
    root: &mut Section<'_>,
    limits: BridgeLimits,
    surroundings: &Surroundings<'_>,
) -> Option<Routes> {
    let sections = root.sections("route");
    if sections.is_empty() {
        // Not on top of a mistake in the word itself.
        if root.item("route").is_none() && !root.is_broken() {
            root.mistake(&(0..0), "there is no [[route]]");
        }
        return None;
    }
    let mut table = Some(Routes::builder().limits(limits));
    let mut places = HashMap::new();
    let mut names = HashMap::new();
    for section in sections {
        let span = section.span.clone();
        let line = root.line(&span);
        // Those of a route with other mistakes clash, too.
        let mut name = section.peek("name").map(str::to_owned);
        let host = section.peek("host").unwrap_or("*").to_ascii_lowercase();
        let mut place = (host, section.peek("path").unwrap_or("/*").to_owned());
        let route = route::read(section, surroundings);
        if let Some(route) = &route {
            place = (route.host(), route.path());
            name = Some(route.name().to_owned());
        }
        if let Some(first) = places.insert(place, line) {
            let what = format!("the route on line {first} is for the same host and path");
            root.mistake(&span, what);
            table = None;
        } else if let Some(name) = name
            && let Some(first) = names.insert(name.clone(), line)
        {
            let what = format!("the route on line {first} has the same name, {name}");
            root.mistake(&span, what);
            table = None;
        }
        table = table.zip(route).map(|(table, route)| table.route(route));
    }
    // Conflicts were told above, with their lines.
    table?.build().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::connections::Connections;
    use super::*;

    const EXAMPLE: &str = include_str!("../../../../../examples/bridge.toml");

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let clients = Clients {
            insecure: false,
            watched: false,
            observer: Arc::new(Connections::default()),
            tcp: crate::args::TcpArgs::default(),
            of_routes: RouteClients::new(),
        };
        let parsed = Config::parse(Path::new("f"), text, &clients);
        parsed.map_err(|mistakes| mistakes.lines().collect())
    }

    #[track_caller]
    fn mistakes(text: &str) -> Vec<String> {
        match parse(text) {
            Ok(_) => panic!("no mistake in {text}"),
            Err(mistakes) => mistakes,
        }
    }

    #[track_caller]
    fn names(route: &str, line: usize, what: &str) {
        let text = format!("[[route]]\nto = \"ws://a\"\n{route}");
        let found = mistakes(&text);
        let place = format!("f:{line}: ");
        let told = |mistake: &String| mistake.starts_with(&place) && mistake.contains(what);
        assert!(
            found.iter().any(told),
            "no {what:?} on line {line}: {found:?}"
        );
    }

    #[test]
    fn the_example_is_without_mistakes_and_means_what_it_says() {
        let config = parse(EXAMPLE).expect("no mistakes");
        assert_eq!(config.listen, Some(([127, 0, 0, 1], 8443).into()));
        assert_eq!(config.metrics, Some(([127, 0, 0, 1], 9443).into()));
        assert_eq!(config.cleartext, Some(true));
        assert_eq!(config.drain_timeout, Some(Duration::from_secs(30)));
        assert_eq!(config.max_concurrent_streams, Some(1000));
        assert_eq!(config.max_header_list_size, Some(16 * 1024));
        let names: Vec<_> = config.routes.iter().map(|route| route.name()).collect();
        assert_eq!(names, ["chat", "pods.example.com/*", "*/redis"]);
        let host = "eu.example.com".parse().expect("a host");
        let chat = config.routes.find(&host, "/chat/room").expect("a route");
        assert_eq!(chat.path_for_upstream("/chat/room?x"), "/room?x");
        assert_eq!(chat.timeouts().idle, Some(Duration::from_secs(3600)));
        assert_eq!(chat.upstreams().len(), 2);
    }

    /// What the example shows as commented out, and its defaults.
    #[test]
    fn every_key_is_in_the_example() {
        let wrong = "nothing = 1\n[tls]\nnothing = 1\n[upstream_tls]\nnothing = 1\n[limits]\nnothing = 1\n[tcp]\nnothing = 1\n[[route]]\n\
                     to = \"ws://a\"\nnothing = 1\n[route.timeouts]\nnothing = 1\n\
                     [route.upstream_tls]\nnothing = 1\n[route.affinity]\nclient = true\nnothing = 1\n[route.ejection]\nnothing = 1\n\
                     [route.check]\ntcp = true\nnothing = 1\n[route.request_headers]\nnothing = 1\n";
        let told = mistakes(wrong).join("\n");
        let known = told
            .lines()
            .filter_map(|line| line.split_once("there are "));
        let known: Vec<_> = known.flat_map(|(_, keys)| keys.split(", ")).collect();
        assert!(known.len() > 58, "{told}");
        for key in known {
            let shown = |line: &str| {
                let line = line.trim_start_matches(['#', ' ', '[']);
                let rest = line.strip_prefix("Or ").unwrap_or(line);
                let rest = rest.strip_prefix("route.").unwrap_or(rest);
                let rest = rest.strip_prefix("request_headers.").unwrap_or(rest);
                rest.strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with([' ', ']', '.']))
            };
            assert!(EXAMPLE.lines().any(shown), "{key} is not in the example");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        names("host = \"a:1\"", 3, "\"a:1\" is no host");
        names("path = \"chat\"", 3, "\"chat\" is no path");
        names("path = 1", 3, "path must be a string, not a whole number");
        names(
            "allowed_origins = [\n\"https://a\",\n\"b\"]",
            5,
            "\"b\" is not an origin",
        );
        names("version = \"h3\"", 3, "none of auto");
        names("max_sockets = -1", 3, "from 0 to");
        names(
            "max_sockets = 1.5",
            3,
            "a whole number, not a number with a point",
        );
        names("strip_prefix = \"yes\"", 3, "true or false, not a string");
        names("resolve_every = \"10\"", 3, "no duration");
        names("[tcp]\nuser_timeout = \"never\"", 4, "no duration");
        names("[tcp]\nkeepalive_probes = 0", 4, "from 1 to 127");
        names("timeout = \"1s\"", 3, "unknown key \"timeout\"");
        names("timeouts = 1", 3, "timeouts must be a table");
        names("[route.timeouts]\nidle = \"0s\"", 4, "more than nothing");
        names(
            "[route.affinity]\ncookie = \"a b\"",
            4,
            "no name of a cookie",
        );
        names("[route.affinity]\n\n", 3, "goes by one of");
        names(
            "[route.affinity]\ncookie = \"a\"\nclient = true",
            3,
            "goes by one of",
        );
        names("[route.affinity]\nheader = \"a b\"", 4, "header: ");
        names(
            "[route.affinity]\nclient = true\nattributes = \"\"",
            5,
            "of a cookie",
        );
        names(
            "[route.ejection]\nfailures = \"3\"",
            4,
            "a whole number, not a string",
        );
        names(
            "[route.check]\ntcp = true\nexpect = 200",
            5,
            "for checks by http",
        );
        names(
            "[route.check]\nhttp = \"/\"\nexpect = \"299-200\"",
            5,
            "must be a status",
        );
        names("[route.check]\nhttp = \"x\"", 4, "is no path");
        names("[route.check]\ninterval = \"1s\"", 3, "is one of");
        names(
            "[route.request_headers.set]\nhost = \"a\"",
            4,
            "own business",
        );
        names(
            "[route.response_headers]\nremove = [\"a b\"]",
            4,
            "no name of a header",
        );
        names(
            "[route.response_headers]\nremove = [1]",
            4,
            "must be strings",
        );
        names(
            "[route.request_headers.set]\na = 1",
            4,
            "a must be a string",
        );
    }

    #[test]
    fn routes_need_an_upstream_and_a_place_of_their_own() {
        let told = |text: &str, line: usize, what: &str| {
            let found = mistakes(text);
            let place = format!("f:{line}: ");
            let told = |one: &String| one.starts_with(&place) && one.contains(what);
            assert!(
                found.iter().any(told),
                "no {what:?} on line {line}: {found:?}"
            );
        };
        told("", 1, "there is no [[route]]");
        names("name = \"chat\"\nvia = \"a b\"", 4, "no name for Via");
        told("[route]\nto = \"ws://a\"", 1, "[[route]]");
        told("[[route]]\n", 1, "needs an upstream");
        told("[[route]]\nto = []", 2, "no upstream");
        told("[[route]]\nto = \"ftp://a\"", 2, "scheme must be");
        told(
            "[[route]]\nto = [\"ws://a\",\n\"tcp://b\"]",
            3,
            "needs a port",
        );
        told("[[route]]\nto = [\"ws://a\", \"ws://a\"]", 1, "named twice");
        told("[[route]]\nto = \"tcp://a:1\"", 1, "allowed origins");
        told(
            "[[route]]\nto = \"ws://a\"\n[[route]]\nto = \"ws://b\"",
            3,
            "line 1 is for the same",
        );
        told(
            "[[route]]\nname = \"*/b\"\nto = \"ws://a\"\n[[route]]\npath = \"/b\"\nto = \"ws://b\"",
            4,
            "same name",
        );
        told(
            "listen = \"a\"\n[[route]]\nto = \"ws://a\"",
            1,
            "not an address",
        );
        told("[tls]\n[[route]]\nto = \"ws://a\"", 1, "[tls] needs cert");
        told(
            "[tls]\ncert = \"none.pem\"\nkey = \"none.key\"\n[[route]]\nto = \"ws://a\"",
            3,
            "none.key: No such file",
        );
    }

    #[test]
    fn broken_toml_does_not_hide_other_mistakes() {
        let found = mistakes("listen = \n[[route]]\nto = \"ftp://a\"\nx = [1\n");
        assert!(
            found.iter().any(|one| one.starts_with("f:1: ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|one| one.starts_with("f:3: ")),
            "{found:?}"
        );
    }
}
