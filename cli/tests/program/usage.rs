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
