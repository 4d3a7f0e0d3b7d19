//! `h2ws bridge --config`: errors in configuration files.

use std::path::Path;

use crate::process::{Scratch, run};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bridge.toml");

/// Each finding names its line. A missing socket is not an error, because the server may start later,
/// and a reload, which runs the check first, must not fail for that.
#[cfg(unix)]
#[test]
fn unix_sockets_of_upstreams_are_checked() {
    let files = Scratch::new();
    let (socket, plain, missing) = (files.path("s"), files.file("plain", ""), files.path("none"));
    let _listening = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let long = "a".repeat(200);
    let config = files.file(
        "c.toml",
        &format!(
            "[[route]]\nto = [\"ws+unix:{socket}:/v2\",\n \"ws+unix:{missing}\",\n \"wss+unix:{plain}\",\n \
             \"ws+unix:/{long}\",\n \"ws+unix:s\",\n \"unix:{socket}:/v2\"]\n"
        ),
    );
    let checked = run(&["bridge", "--config", &config, "--check"]);
    checked.exited(2);
    for (line, what) in [
        (4, format!("{plain} is not a socket")),
        (5, "too long".to_owned()),
        (6, "no absolute path of a Unix socket".to_owned()),
        (
            7,
            "a unix upstream has only the path of its socket".to_owned(),
        ),
    ] {
        let place = format!("c.toml:{line}: ");
        let found = checked.stderr.lines().find(|text| text.contains(&place));
        let found = found.unwrap_or_else(|| panic!("no line {line}: {}", checked.stderr));
        assert!(found.contains(&what), "{found}");
    }
    let config = files.file(
        "d.toml",
        &format!("[[route]]\n\nto = \"ws+unix:{missing}\"\n"),
    );
    let checked = run(&["bridge", "--config", &config, "--check"]);
    checked
        .exited(0)
        .stderr_has("d.toml:3: ")
        .stderr_has("does not exist");
}

#[test]
fn the_example_is_valid() {
    assert!(Path::new(EXAMPLE).exists());
    let ended = run(&["bridge", "--config", EXAMPLE, "--check"]);
    ended.exited(0);
    assert_eq!(ended.stdout, "no errors, 3 routes\n");
}

const WRONG: &str = r#"listen = "localhost"
drain_timeout = "30"
cleartext = "yes"
speed = 11

[tls]
cert = "nowhere.pem"
key = "nowhere.key"

[limits]
max_sockets = -1

[[route]]
host = "a b"
path = "chat"
to = ["ws://a", "gopher://b"]
allowed_origins = ["example.com"]

[[route]]
path = "/redis"
to = "tcp://127.0.0.1:6379"

[[route]]
to = "ws://a"
affinty = "cookie"
[route.timeouts]
idle = "forever"

[[route]]
to = "ws://b"

[[route]]
name = "twice"
path = "/c"
to = "ws://c"
[[route]]
name = "twice"
path = "/d"
to = 4
"#;

/// The lines of the errors in `WRONG`, and part of each message.
const ERRORS: [(u32, &str); 17] = [
    (1, "\"localhost\": expected an address"),
    (2, "invalid duration \"30\""),
    (3, "cleartext must be true or false, not a string"),
    (4, "unknown key \"speed\""),
    (7, "nowhere.pem: No such file"),
    (8, "nowhere.key: No such file"),
    (11, "max_sockets must be from 0"),
    (14, "invalid host \"a b\"; expected e.g. example.com"),
    (15, "invalid path \"chat\"; expected e.g. /chat"),
    (16, "gopher://b: unsupported scheme; expected ws"),
    (
        17,
        "\"example.com\" is not an origin such as https://example.com",
    ),
    (19, "a tcp route needs allowed origins"),
    (25, "unknown key \"affinty\""),
    (27, "invalid duration \"forever\""),
    (29, "line 23 is for the same host and path"),
    (36, "line 32 has the same name, twice"),
    (39, "to must be a string or an array of strings"),
];

#[test]
fn every_error_is_reported_with_its_line() {
    let files = Scratch::new();
    let file = files.file("wrong.toml", WRONG);
    for args in [&["--check"][..], &[]] {
        let ended = run(&[&["bridge", "--config", &file], args].concat());
        ended.exited(2);
        assert_eq!(ended.stdout, "");
        for (line, what) in ERRORS {
            let place = format!("wrong.toml:{line}: ");
            let is_it = |text: &str| text.contains(&place) && text.contains(what);
            assert!(ended.stderr.lines().any(is_it), "{line}, {what}: {ended:?}");
        }
        assert_eq!(ended.stderr.lines().count(), ERRORS.len(), "{ended:?}");
    }
}

/// Errors that follow from a syntax error are reported after it, or not at all.
#[test]
fn syntax_errors_come_first() {
    let files = Scratch::new();
    for text in [
        "listen = 1\n[[route\nto = \"ws://a\"\n",
        "listen = 1\n[route\nto = \"ws://a\"\n",
    ] {
        let file = files.file("broken.toml", text);
        let ended = run(&["bridge", "--config", &file, "--check"]);
        ended.exited(2);
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(lines[0].contains("broken.toml:2: "), "{lines:#?}");
        assert!(!ended.stderr.contains("has no [[route]]"), "{lines:#?}");
        assert!(ended.stderr.contains("broken.toml:1: "), "{lines:#?}");
    }
}

#[test]
fn a_missing_file_is_an_error() {
    run(&["bridge", "--config", "/nowhere/bridge.toml", "--check"])
        .exited(2)
        .stderr_has("/nowhere/bridge.toml: No such file");
}

#[test]
fn a_file_and_an_upstream_exclude_each_other() {
    run(&["bridge"]).exited(2).stderr_has("--config");
    run(&["bridge", "--config", EXAMPLE, "--to", "ws://a"])
        .exited(2)
        .stderr_has("cannot be used with");
    run(&["bridge", "--to", "ws://a", "--check"])
        .exited(2)
        .stderr_has("cannot be used with");
}
