//! `h2ws bridge --config`: what is said of files.

use std::path::Path;

use crate::process::{Scratch, run};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bridge.toml");

#[test]
fn the_example_passes_its_check() {
    assert!(Path::new(EXAMPLE).exists());
    let ended = run(&["bridge", "--config", EXAMPLE, "--check"]);
    ended.exited(0);
    assert_eq!(ended.stdout, "routes: 3, mistakes: none\n");
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

/// Where the mistakes of `WRONG` are, and what is said of them.
const SAID: [(u32, &str); 17] = [
    (1, "\"localhost\": not an address"),
    (2, "\"30\" is no duration"),
    (3, "cleartext must be true or false, not a string"),
    (4, "unknown key \"speed\""),
    (7, "nowhere.pem: No such file"),
    (8, "nowhere.key: No such file"),
    (11, "sockets must be from 0"),
    (14, "\"a b\" is no host"),
    (15, "\"chat\" is no path"),
    (16, "gopher://b: the scheme must be"),
    (17, "\"example.com\" is not an origin"),
    (19, "a tcp route needs allowed origins"),
    (25, "unknown key \"affinty\""),
    (27, "\"forever\" is no duration"),
    (29, "line 23 is for the same host and path"),
    (36, "line 32 has the same name, twice"),
    (39, "to must be a string or several in brackets"),
];

#[test]
fn every_mistake_is_named_with_its_line() {
    let files = Scratch::new();
    let file = files.file("wrong.toml", WRONG);
    for args in [&["--check"][..], &[]] {
        let ended = run(&[&["bridge", "--config", &file], args].concat());
        ended.exited(2);
        assert_eq!(ended.stdout, "");
        for (line, what) in SAID {
            let place = format!("wrong.toml:{line}: ");
            let said = |text: &str| text.contains(&place) && text.contains(what);
            assert!(ended.stderr.lines().any(said), "{line}, {what}: {ended:?}");
        }
        assert_eq!(ended.stderr.lines().count(), SAID.len(), "{ended:?}");
    }
}

/// What follows from a mistake is not told before it, or not at all.
#[test]
fn what_makes_a_file_unreadable_comes_first() {
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
        assert!(!ended.stderr.contains("there is no"), "{lines:#?}");
        assert!(ended.stderr.contains("broken.toml:1: "), "{lines:#?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    run(&["bridge", "--config", "/nowhere/bridge.toml", "--check"])
        .exited(2)
        .says("/nowhere/bridge.toml: No such file");
}

#[test]
fn a_file_and_an_upstream_exclude_each_other() {
    run(&["bridge"]).exited(2).says("--config");
    run(&["bridge", "--config", EXAMPLE, "--to", "ws://a"])
        .exited(2)
        .says("cannot be used with");
    run(&["bridge", "--to", "ws://a", "--check"])
        .exited(2)
        .says("cannot be used with");
}
