//! Tests of what a configuration file may contain, and of its errors.

use super::*;

const EXAMPLE: &str = include_str!("../../../../../examples/bridge.toml");

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let parsed = Config::parse(Path::new("f"), text, &fuzz::clients());
    parsed.map_err(|errors| errors.lines().collect())
}

#[track_caller]
fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => panic!("no errors in {text}"),
        Err(errors) => errors,
    }
}

#[track_caller]
fn only_error(text: &str) -> String {
    let mut found = errors(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[track_caller]
fn reports(route: &str, line: usize, what: &str) {
    reports_in(&format!("[[route]]\nto = \"ws://a\"\n{route}"), line, what);
}

#[track_caller]
fn reports_in(text: &str, line: usize, what: &str) {
    let found = errors(text);
    let place = format!("f:{line}: ");
    let is_it = |error: &String| error.starts_with(&place) && error.contains(what);
    assert!(
        found.iter().any(is_it),
        "no {what:?} on line {line}: {found:?}"
    );
}

/// Each key of the example, with and without its comment sign, gets values of every type; and the
/// file is cut at many places.
#[test]
fn a_changed_example_is_read_or_has_errors_with_lines() {
    const VALUES: [&str; 12] = [
        "0",
        "-1",
        "9223372036854775807",
        "1e400",
        "true",
        "\"\"",
        "\"\\u0000\"",
        "\"é:/*/\"",
        "[[]]",
        "{ a = [\"\"] }",
        "1979-05-27",
        "\"99999999999999999999d\"",
    ];
    let check = |text: &str| fuzz::run(text.as_bytes());
    let lines: Vec<_> = EXAMPLE.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.trim_start_matches(['#', ' ']).split_once(" = ") else {
            continue;
        };
        let joined = |lines: &[&str]| lines.join("\n");
        let (before, after) = (joined(&lines[..at]), joined(&lines[at + 1..]));
        for value in VALUES {
            check(&format!("{before}\n{key} = {value}\n{after}"));
        }
    }
    for (end, _) in EXAMPLE.char_indices().step_by(41) {
        check(&EXAMPLE[..end]);
        check(&EXAMPLE[end..]);
    }
}

#[test]
fn the_example_is_valid_and_has_the_documented_values() {
    let config = parse(EXAMPLE).expect("no errors");
    let address = |text| ListenAddress::parse(text).expect("an address");
    assert_eq!(config.listeners.listen, [address("127.0.0.1:8443")]);
    assert_eq!(config.metrics, Some(address("127.0.0.1:9443")));
    assert_eq!(config.listeners.cleartext, Some(true));
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

/// Including keys that the example shows commented out.
#[test]
fn every_key_is_in_the_example() {
    let wrong = "nothing = 1\n[tls]\nnothing = 1\n[upstream_tls]\nnothing = 1\n[limits]\nnothing = 1\n[tcp]\nnothing = 1\n[[route]]\n\
                 to = \"ws://a\"\nnothing = 1\n[route.timeouts]\nnothing = 1\n\
                 [route.ping]\nnothing = 1\n[route.upstream_tls]\nnothing = 1\n[route.forward_auth]\nurl = \"http://a\"\nnothing = 1\n[route.affinity]\nclient = true\nnothing = 1\n[route.ejection]\nnothing = 1\n\
                 [route.check]\ntcp = true\nnothing = 1\n[route.request_headers]\nnothing = 1\n";
    let reported = errors(wrong).join("\n");
    let known = reported
        .lines()
        .filter_map(|line| line.split_once("expected one of "));
    let known: Vec<_> = known.flat_map(|(_, keys)| keys.split(", ")).collect();
    assert!(known.len() > 58, "{reported}");
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
fn errors_are_reported_with_their_lines() {
    for (line, what) in [
        (
            "access_log = \"{clint}\"",
            "access_log: unknown field {clint}",
        ),
        (
            "access_log = \"combined\"",
            "expected json, none, or a template",
        ),
        ("access_log = \"{client\"", "a single {"),
        ("access_log = true", "must be a string"),
        (
            "log_format = \"logfmt\"",
            "log_format: expected text or json",
        ),
        ("log_limit = 0", "from 1 to 4294967295"),
        ("log_limit = \"none\"", "an integer, not a string"),
    ] {
        let found = errors(&format!(
            "listen = \"127.0.0.1:1\"\n{line}\n[[route]]\nto = \"ws://a\"\n"
        ));
        assert!(
            found[0].starts_with("f:2: ") && found[0].contains(what),
            "{found:?}"
        );
    }
    reports("host = \"a:1\"", 3, "\"a:1\"");
    reports("path = \"chat\"", 3, "\"chat\"");
    reports("path = 1", 3, "path must be a string, not an integer");
    reports("allowed_origins = [\n\"https://a\",\n\"b\"]", 5, "\"b\"");
    reports("version = \"h3\"", 3, "expected auto");
    reports("max_sockets = -1", 3, "from 0 to");
    reports(
        "forward_auth = \"tcp://a:1\"",
        3,
        "forward_auth: invalid URL",
    );
    reports("forward_auth = 1", 3, "must be a URL or a table");
    reports("[route.forward_auth]\n", 3, "requires url");
    reports("[route.forward_auth]\nurl = \"a\"", 4, "url: invalid URL");
    let auth = |line: &str, what| {
        let text = format!("[route.forward_auth]\nurl = \"http://a\"\n{line}");
        reports(&text, 5, what);
    };
    auth("copy_headers = \"a b\"", "\"a b\" cannot be copied");
    auth("timeout = \"5\"", "invalid duration");
    auth("max_requests = 0", "from 1 to");
    reports(
        "client_cert = \"leaf\"",
        3,
        "expected true, false or \"chain\"",
    );
    reports("client_cert = 1", 3, "true or false, not an integer");
    reports(
        "[route.timeouts]\nmax_lifetime = \"0s\"",
        4,
        "greater than zero",
    );
    reports("[route.affinity]\npath_segment = 0", 4, "from 1 to");
    reports("[route.affinity]\nquery = 1", 4, "a string, not an integer");
    reports("[route.affinity]\nquery = \"\"", 4, "empty query parameter");
    reports(
        "[route.affinity]\nquery = \"a\"\npath_segment = 1",
        3,
        "exactly one of",
    );
    reports("request_id = \"a b\"", 3, "request_id: ");
    reports("name = \"a\"\nrequest_id = \"Host\"", 4, "field host");
    reports("request_id = 1", 3, "true or false, not an integer");
    reports("trace_context = \"off\"", 3, "expected pass");
    reports("max_sockets = 1.5", 3, "an integer, not a float");
    reports("strip_prefix = \"yes\"", 3, "true or false, not a string");
    reports("resolve_every = \"10\"", 3, "invalid duration");
    reports("[tcp]\nuser_timeout = \"never\"", 4, "invalid duration");
    reports("[tcp]\nkeepalive_probes = 0", 4, "from 1 to 127");
    reports("timeout = \"1s\"", 3, "unknown key \"timeout\"");
    reports("timeouts = 1", 3, "timeouts must be a table");
    reports("[route.timeouts]\nidle = \"0s\"", 4, "greater than zero");
    reports("[route.ping]\nclient = \"0s\"", 4, "greater than zero");
    reports("[route.ping]\nupstream = 30", 4, "not an integer");
    reports("[route.ping]\nto = \"client\"", 4, "unknown key \"to\"");
    reports(
        "[route.ping]\ntimeout = \"1s\"",
        3,
        "requires client or upstream",
    );
    reports("[route.affinity]\ncookie = \"a b\"", 4, "\"a b\"");
    reports("[route.affinity]\n\n", 3, "exactly one of");
    reports(
        "[route.affinity]\ncookie = \"a\"\nclient = true",
        3,
        "exactly one of",
    );
    reports("[route.affinity]\nheader = \"a b\"", 4, "header: ");
    reports(
        "[route.affinity]\nclient = true\nattributes = \"\"",
        5,
        "requires cookie",
    );
    reports(
        "[route.ejection]\nfailures = \"3\"",
        4,
        "an integer, not a string",
    );
    reports(
        "[route.check]\ntcp = true\nexpect = 200",
        5,
        "requires http",
    );
    reports(
        "[route.check]\nhttp = \"/\"\nexpect = \"299-200\"",
        5,
        "must be a status",
    );
    reports("[route.check]\nhttp = \"x\"", 4, "\"x\"");
    reports("[route.check]\ninterval = \"1s\"", 3, "exactly one of");
    reports("[route.request_headers.set]\nhost = \"a\"", 4, "host");
    reports("[route.response_headers]\nremove = [\"a b\"]", 4, "\"a b\"");
    reports(
        "[route.response_headers]\nremove = [1]",
        4,
        "must contain strings",
    );
    reports(
        "[route.request_headers.set]\na = 1",
        4,
        "a must be a string",
    );
}

#[test]
fn routes_need_an_upstream_and_a_unique_name_and_pattern() {
    reports_in("", 1, "has no [[route]]");
    reports("name = \"chat\"\nvia = \"a b\"", 4, "\"a b\"");
    reports_in("[route]\nto = \"ws://a\"", 1, "[[route]]");
    reports_in("[[route]]\n", 1, "requires an upstream");
    reports_in("[[route]]\nto = []", 2, "upstream");
    reports_in("[[route]]\nto = \"ftp://a\"", 2, "ftp");
    reports_in("[[route]]\nto = [\"ws://a\",\n\"tcp://b\"]", 3, "port");
    reports_in("[[route]]\nto = [\"ws://a\", \"ws://a\"]", 1, "ws://a");
    reports_in("[[route]]\nto = \"tcp://a:1\"", 1, "origins");
    reports_in(
        "[[route]]\nto = \"tcp://a:1\"\nallowed_origins = \"*\"\n[route.ping]\nupstream = \"1s\"",
        4,
        "cannot get WebSocket Pings",
    );
    reports_in(
        "[[route]]\nto = \"ws://a\"\n[[route]]\nto = \"ws://b\"",
        3,
        "line 1 is for the same",
    );
    reports_in(
        "[[route]]\nname = \"*/b\"\nto = \"ws://a\"\n[[route]]\npath = \"/b\"\nto = \"ws://b\"",
        4,
        "same name",
    );
    reports_in(
        "listen = \"a\"\n[[route]]\nto = \"ws://a\"",
        1,
        "expected an address",
    );
    reports_in(
        "[tls]\n[[route]]\nto = \"ws://a\"",
        1,
        "[tls] requires cert",
    );
    reports_in(
        "[tls]\ncert = \"none.pem\"\nkey = \"none.key\"\n[[route]]\nto = \"ws://a\"",
        3,
        "none.key: No such file",
    );
}

#[test]
fn a_key_of_an_outer_table_is_explained() {
    let route = "[[route]]\nto = \"ws://a\"\n";
    for (text, line, what) in [
        (
            "[route.check]\ntcp = true\nforward_auth = \"http://b\"",
            5,
            "in [route.check]; it is a key of [[route]]: write it before [route.check], ",
        ),
        (
            "[route.forward_auth]\nurl = \"http://b\"\nvia = \"c\"",
            5,
            "in [route.forward_auth]; it is a key of [[route]]: ",
        ),
        (
            "metrics = \"127.0.0.1:1\"",
            3,
            "in [[route]]; it is a key of the file itself: write it before [[route]], ",
        ),
        (
            "[route.check]\ntcp = true\nmetrics = \"127.0.0.1:1\"",
            5,
            "in [route.check]; it is a key of the file itself: ",
        ),
        (
            "[route.check]\ntcp = true\nnothing = 1",
            5,
            "unknown key \"nothing\"; expected one of ",
        ),
    ] {
        let error = only_error(&format!("{route}{text}\n"));
        let place = format!("f:{line}: unknown key ");
        assert!(error.starts_with(&place) && error.contains(what), "{error}");
    }
}

#[test]
fn an_address_cannot_be_listened_on_twice() {
    for (text, line, what) in [
        (
            "listen = [\"127.0.0.1:1\",\n\"127.0.0.1:1\"]\n",
            2,
            "on line 1",
        ),
        (
            "listen = \"127.0.0.1:1\"\n[[listener]]\nlisten = \"127.0.0.1:1\"\n",
            3,
            "on line 1",
        ),
        (
            "metrics = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:1\"\n",
            2,
            "for the metrics",
        ),
        (
            "[[listener]]\nlisten = \"unix:/a\"\n[[listener]]\nlisten = \"unix:/a\"\n",
            4,
            "on line 2",
        ),
    ] {
        let error = only_error(&format!("{text}[[route]]\nto = \"ws://a\"\n"));
        let place = format!("f:{line}: listen: ");
        let ends = format!(" is used {what} too");
        assert!(
            error.starts_with(&place) && error.ends_with(&ends),
            "{error}"
        );
    }
    // Each gets a port of its own.
    let free = "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n[[route]]\nto = \"ws://a\"\n";
    assert!(parse(free).is_ok());
}

#[test]
fn syntax_errors_do_not_hide_other_errors() {
    let found = errors("listen = \n[[route]]\nto = \"ftp://a\"\nx = [1\n");
    assert!(
        found.iter().any(|one| one.starts_with("f:1: ")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|one| one.starts_with("f:3: ")),
        "{found:?}"
    );
}
