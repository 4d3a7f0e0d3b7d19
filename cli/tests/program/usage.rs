//! Bad usage is told from failure by the exit status.

use crate::process::{Running, Server, h2ws, run};

#[test]
fn bad_usage_exits_2() {
    let wrong: [&[&str]; 12] = [
        &[],
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
        ended.exited(2).says("--help");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

/// Nothing has to be listening: it is told before anybody is asked.
#[test]
fn what_no_request_can_be_made_of_exits_2() {
    let wrong: [(&[&str], &str); 8] = [
        (&["example.com"], "scheme is not ws, wss, http or https"),
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
            "\"a b\" is not a token",
        ),
        (&["ws://127.0.0.1:1", "--proxy", "gopher://a"], "--proxy: "),
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
            ended.exited(2).says(what);
            assert_eq!(ended.stdout, "", "{args:?}");
        }
    }
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    for command in ["connect", "bench"] {
        let ended = run(&[command, "ws://me:hunter2@127.0.0.1:1"]);
        ended.exited(2).says("user info");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    }
}

#[test]
fn values_that_are_none_name_their_option() {
    for (option, value, what) in [
        (
            "--listen",
            "localhost",
            "not an address such as 0.0.0.0:443",
        ),
        ("--listen", "nowhere.invalid:0", "has no address here"),
        (
            "--allow-origin",
            "example.com",
            "not an origin such as https://",
        ),
        ("--allow-host", "a/b", "host"),
    ] {
        let ended = run(&["serve", "--cleartext", option, value]);
        ended.exited(2).says(what).says(option);
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    let ended = run(&["--help"]);
    ended.exited(0);
    for command in ["demo", "serve", "bridge", "connect", "probe", "bench"] {
        assert!(ended.stdout.contains(command), "{ended:?}");
        let ended = run(&[command, "--help"]);
        ended.exited(0);
        assert!(ended.stdout.contains("Usage"), "{ended:?}");
    }
    let version = run(&["--version"]);
    assert_eq!(
        version.exited(0).stdout.trim(),
        concat!("h2ws ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_reader_that_leaves_is_a_failure_and_no_panic() {
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
        running.ended().exited(1).says("Broken pipe");
    }
}
