//! Progress bars, at a terminal and elsewhere.

use crate::process::{Scratch, Server, run};
use crate::terminal::Terminal;

fn row<'a>(rows: &'a str, name: &str) -> Option<&'a str> {
    rows.lines().find(|row| row.starts_with(name))
}

#[test]
fn bench_shows_rate_and_latency_and_leaves_only_its_report() {
    let server = Server::start(&["--cleartext"]);
    let args = ["bench", &server.url, "--sockets", "2", "--duration", "2"];
    let mut terminal = Terminal::start(&args, &Scratch::new());
    terminal.shows("running ━").shows("messages/s  p50 ");
    // The row is cut, and does not wrap.
    terminal.resize(24, 50);
    terminal.until("a bar in one row", |rows| {
        row(rows, "running ━").is_some_and(|row| row.contains("messages/s"))
    });
    terminal.resize(24, 80);
    assert_eq!(terminal.exited(), Some(0));
    let rows = terminal.rows();
    assert!(rows.starts_with("2 WebSockets on "), "{rows}");
    assert!(rows.contains("    up to ") && rows.contains('█'), "{rows}");
    assert_eq!(row(&rows, "running"), None, "{rows}");
    assert_eq!(run(&args).exited(0).stderr, "");
}

/// A notice while the bar is on the screen is a row of its own, and the bar comes back below.
#[test]
fn a_line_of_the_log_does_not_end_up_in_the_bar() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", silent.local_addr().expect("an address"));
    let mut terminal = Terminal::start(&["bench", &url], &Scratch::new());
    terminal.shows("opening ─").shows("0 of 100");
    terminal.press("\x03");
    assert_eq!(terminal.exited(), Some(130));
    let rows = terminal.rows();
    let last = rows.lines().last().expect("a row");
    assert!(last.starts_with("h2ws: stopped while "), "{rows}");
    assert_eq!(row(&rows, "opening"), None, "{rows}");
    assert!(terminal.is_cooked());
}

#[test]
fn a_comparison_shows_which_server_is_measured() {
    let server = Server::start(&["--cleartext"]);
    let args = [
        "bench",
        &server.url,
        "--compare",
        &server.url,
        "--repeats",
        "2",
    ];
    let mut terminal =
        Terminal::start(&[&args[..], &["--duration", "1"]].concat(), &Scratch::new());
    terminal
        .shows("first: running ━")
        .shows("second: running ━");
    assert_eq!(terminal.exited(), Some(0));
    let rows = terminal.rows();
    assert!(rows.starts_with("1: ws://"), "{rows}");
    assert!(rows.contains("2 runs of each, in turns"), "{rows}");
}

/// After a signal, the complete pairs are reported.
#[test]
fn ctrl_c_ends_the_load_and_prints_its_report() {
    let server = Server::start(&["--cleartext"]);
    let args = ["bench", &server.url, "--duration", "600", "--warm-up", "0"];
    let mut terminal = Terminal::start(&args, &Scratch::new());
    terminal.shows("messages/s  p50 ").press("\x03");
    assert_eq!(terminal.exited(), Some(130));
    let rows = terminal.rows();
    assert!(rows.contains("messages of 64 bytes echoed"), "{rows}");
    assert!(!rows.contains("panicked"), "{rows}");
}

#[test]
fn demo_shows_its_progress_and_leaves_only_its_report() {
    let args = ["demo", "--sockets", "200", "--messages", "500"];
    let mut terminal = Terminal::start(&args, &Scratch::new());
    terminal.shows("echoing ━").shows(" of 100,000  ");
    assert_eq!(terminal.exited(), Some(0));
    let rows = terminal.rows();
    assert!(
        rows.contains("\nWebSockets opened          200   in "),
        "{rows}"
    );
    for name in ["opening", "echoing"] {
        assert_eq!(row(&rows, name), None, "{rows}");
    }
}

#[test]
fn a_terminal_that_goes_away_ends_the_program() {
    let server = Server::start(&["--cleartext"]);
    let args = ["bench", &server.url, "--duration", "600"];
    let mut terminal = Terminal::start(&args, &Scratch::new());
    terminal.shows("running ━");
    // SIGHUP ended it, so it has no exit status.
    assert_eq!(terminal.hang_up(), None);
}
