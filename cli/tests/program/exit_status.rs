//! Exit status 2 for bad usage, 1 for failures, and the errors that go with them.

use crate::process::{Running, Server, h2ws, run};

#[test]
fn bad_usage_exits_2() {
    let wrong: [&[&str]; 14] = [
        &[],
        &[
            "serve",
            "--listen",
            "127.0.0.1:1",
            "--listen",
            "127.0.0.1:1",
        ],
        &[
            "bridge",
            "--to",
            "ws://a",
            "--listen",
            "127.0.0.1:1",
            "--metrics",
            "127.0.0.1:1",
        ],
        &["no-such-command"],
        &["connect"],
        &["connect", "ws://localhost", "--http1", "--http2"],
        &["connect", "ws://localhost", "-H", "no colon"],
        &["serve", "--listen", "not-an-address"],
        &["serve", "--cert", "chain.pem"],
        &["serve", "--cleartext", "--cert", "c.pem", "--key", "k.pem"],
        &["demo", "--sockets", "0"],
        &["bridge"],
        &[
            "bridge",
            "--to",
            "ws://a",
            "--upstream-http1",
            "--upstream-http2",
        ],
        &[
            "bench",
            "ws://localhost",
            "--messages",
            "1",
            "--duration",
            "1",
        ],
    ];
    for args in wrong {
        let ended = run(args);
        ended.exited(2).stderr_has("--help");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

/// Detected before a connection is made, so no server is needed.
#[test]
fn invalid_requests_exit_2() {
    let wrong: [(&[&str], &str); 8] = [
        (&["ftp://a.test"], "scheme is not ws, wss, http or https"),
        (&[""], "not a valid URL such as wss://"),
        (
            &["ws://127.0.0.1:1", "-H", "a b: c"],
            "invalid HTTP header name",
        ),
        (
            &["ws://127.0.0.1:1", "-H", "upgrade: x"],
            "header upgrade is reserved",
        ),
        (&["ws://127.0.0.1:1", "--origin", "a\nb"], "--origin"),
        (
            &["ws://127.0.0.1:1", "--subprotocol", "a b"],
            "the subprotocol \"a b\" is not a token",
        ),
        (
            &["ws://127.0.0.1:1", "--proxy", "gopher://a"],
            "--proxy: invalid proxy URL",
        ),
        (
            &[
                "ws://127.0.0.1:1",
                "--subprotocol",
                "a",
                "--subprotocol",
                "a",
            ],
            "twice",
        ),
    ];
    for (args, what) in wrong {
        for command in ["connect", "bench", "probe"] {
            let ended = run(&[&[command], args].concat());
            ended.exited(2).stderr_has(what);
            assert_eq!(ended.stdout, "", "{args:?}");
        }
    }
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    for command in ["connect", "tunnel", "probe", "bench"] {
        for url in ["ws://me:hunter2@127.0.0.1:1", "me:hunter2@127.0.0.1:1"] {
            let ended = run(&[command, url]);
            ended.exited(2).stderr_has("user info");
            assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
        }
    }
}

#[test]
fn errors_in_values_name_the_option() {
    for (option, value, what) in [
        (
            "--listen",
            "localhost",
            "expected an address such as 0.0.0.0:443",
        ),
        (
            "--listen",
            "nowhere.invalid:0",
            "cannot resolve nowhere.invalid",
        ),
        (
            "--allow-origin",
            "example.com",
            "is not an origin such as https://example.com",
        ),
        (
            "--allow-host",
            "a/b",
            "\"a/b\" is not a host such as example.com",
        ),
    ] {
        let ended = run(&["serve", "--cleartext", option, value]);
        ended.exited(2).stderr_has(what).stderr_has(option);
    }
}

#[test]
fn help_and_version_exit_0() {
    let ended = run(&["--help"]);
    ended.exited(0);
    for command in ["demo", "serve", "bridge", "connect", "probe", "bench"] {
        assert!(ended.stdout.contains(command), "{ended:?}");
        let ended = run(&[command, "--help"]);
        ended.exited(0);
        assert!(ended.stdout.contains("Usage"), "{ended:?}");
    }
    let version = run(&["--version"]);
    let (name, rest) = version.exited(0).stdout.trim().split_at(10);
    assert_eq!(name, concat!("h2ws ", env!("CARGO_PKG_VERSION")));
    // Release builds of a checkout name the commit.
    let is_commit = rest.starts_with(" (") && rest.ends_with(')') && rest.len() == 15;
    assert!(rest.is_empty() || is_commit, "{rest:?}");
}

#[test]
fn a_closed_stdout_is_a_failure() {
    let server = Server::start(&["--cleartext"]);
    for args in [
        &["demo", "--sockets", "2"][..],
        &["demo", "--sockets", "2", "--json"],
        &["bench", &server.url, "--messages", "1"],
        &["bench", &server.url, "--messages", "1", "--json"],
        &["probe", &server.url],
        &["probe", &server.url, "--json"],
    ] {
        let mut running = Running::start(&mut h2ws(args));
        running.close_stdout();
        running.ended().exited(1).stderr_has("Broken pipe");
    }
}
