//! `h2ws connect` at a terminal.
//!
//! The sessions of `docs/cli.md` are run and compared with what is written there.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{CloseCode, CloseFrame, Message};
use tokio::runtime::Runtime;

use crate::documented::output;
use crate::in_process::server;
use crate::process::{Scratch, Server};
use crate::terminal::Terminal;

const PROMPT: &str = ">";

/// Starts `connect` and waits until it is open.
fn open(url: &str, args: &[&str], state: &Scratch) -> Terminal {
    let mut terminal = Terminal::start(&[&["connect", url], args].concat(), state);
    terminal.shows("open over").prompts(PROMPT);
    terminal
}

/// Starts a server that reports what it receives, and how the socket ended.
fn reporting() -> (
    Runtime,
    String,
    Receiver<Result<Message, Option<CloseFrame>>>,
) {
    let (report, reports) = channel();
    let runtime = Runtime::new().expect("a runtime");
    let url = runtime.block_on(async {
        let server = h2ws::Server::builder().bind("127.0.0.1:0").await;
        let server = server.expect("a free port");
        let address = server.local_addr().expect("an address");
        let handler = move |request: WebSocketRequest| {
            let report = report.clone();
            async move {
                let mut socket = request.accept().await.expect("open");
                while let Some(Ok(message)) = socket.next().await {
                    let _ = report.send(Ok(message));
                }
                let _ = report.send(Err(socket.close_frame().cloned()));
            }
        };
        tokio::spawn(server.serve(handler).into_future());
        format!("ws://{address}/")
    });
    (runtime, url, reports)
}

fn next<T>(reports: &Receiver<T>) -> T {
    let limit = Duration::from_secs(90);
    reports
        .recv_timeout(limit)
        .expect("the server received something")
}

/// Replaces what differs between runs: times and ports.
fn without_times(text: &str) -> String {
    let words = text.lines().map(|line| {
        let words = line.split(' ').map(|word| {
            let time = word.trim_end_matches(',');
            let is_time = time.starts_with(|c: char| c.is_ascii_digit()) && time.ends_with('s');
            let word = if is_time { "TIME" } else { word };
            match word.strip_prefix("ws://127.0.0.1:") {
                Some(_) => "URL",
                None => word,
            }
        });
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    });
    words.collect::<Vec<_>>().join("\n")
}

/// Compares a screen with the block of `docs/cli.md` after this command line.
#[track_caller]
fn assert_documented(command: &str, terminal: &Terminal) {
    let block = output(command);
    assert_eq!(without_times(&terminal.rows()), without_times(&block));
}

#[test]
fn a_session_is_as_documented() {
    let server = Server::start(&["--cleartext"]);
    let state = Scratch::new();
    let mut terminal = open(&server.url, &["--http2"], &state);
    terminal.press("hello\r");
    terminal.shows("< hello").press("/ping\r");
    terminal.shows("< Pong").press("/binary 00 ff 68 69\r");
    terminal.shows("< binary").press("/status\r");
    terminal.shows("received ").prompts(PROMPT);
    terminal.press("/close 4000 bye\r");
    assert_eq!(terminal.exited(), Some(0));
    assert_documented("h2ws connect --http2 ws://127.0.0.1:8080", &terminal);
    assert!(terminal.is_cooked());
    let end = &terminal.written[terminal.written.len() - 8..];
    assert_eq!(end, b"\x1b[?2004l", "pastes are marked no more");
}

#[test]
fn a_session_over_http1_that_the_server_ends_is_as_documented() {
    let server = Server::start(&["--cleartext"]);
    let mut terminal = open(&server.url, &["--pretty"], &Scratch::new());
    terminal.press("{\"user\":\"ann\",\"roles\":[]}\r");
    terminal.shows("< {").press("//me waves\r");
    terminal.shows("< /me").prompts(PROMPT);
    server.running.signal("TERM");
    assert_eq!(terminal.exited(), Some(0));
    assert_documented("h2ws connect --pretty ws://127.0.0.1:8080", &terminal);
    assert!(terminal.is_cooked());
}

#[test]
fn ctrl_d_closes_and_ctrl_c_goes_away() {
    for (key, status, code) in [
        ("\x04", 0, CloseCode::NORMAL),
        ("\x03", 130, CloseCode::GOING_AWAY),
    ] {
        for version in ["--http1", "--http2"] {
            let (_runtime, url, reports) = reporting();
            let mut terminal = open(&url, &[version], &Scratch::new());
            // What was typed without Enter is not sent.
            if status == 130 {
                terminal.press("unsent");
                terminal.prompts("> unsent");
            }
            terminal.press(key);
            assert_eq!(terminal.exited(), Some(status), "{}", terminal.rows());
            assert!(terminal.is_cooked());
            let Err(Some(frame)) = next(&reports) else {
                panic!("{}", terminal.rows());
            };
            assert_eq!(frame.code, code);
        }
    }
}

#[test]
fn what_arrives_is_printed_above_what_is_typed() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        while let Some(Ok(message)) = socket.next().await {
            for number in 0..3 {
                let text = message.as_text().unwrap_or_default();
                let _ = socket.send(format!("{text} {number}")).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let mut terminal = open(&url, &[], &Scratch::new());
    terminal.press("news\rtyping");
    terminal.shows("< news 2").prompts("> typing");
    let rows = terminal.rows();
    assert!(
        rows.ends_with("> news\n< news 0\n< news 1\n< news 2\n> typing"),
        "{rows}"
    );
}

#[test]
fn keys_edit_and_earlier_lines_come_back_in_the_next_session() {
    let server = Server::start(&["--cleartext"]);
    let state = Scratch::new();
    let mut terminal = open(&server.url, &[], &state);
    terminal.press("hell!\x1b[Do\x1b[C\x7f\r");
    terminal.shows("< hello").press(" secret\r");
    terminal.shows("<  secret").press("\x1b[A");
    terminal.prompts("> hello");
    terminal.press("\x15\x04");
    assert_eq!(terminal.exited(), Some(0));
    let mut terminal = open(&server.url, &[], &state);
    terminal.press("\x1b[A\x1b[A");
    terminal.prompts("> hello").press("\r");
    terminal.shows("< hello").press("\x04");
    assert_eq!(terminal.exited(), Some(0));
}

#[test]
fn a_history_that_cannot_be_written_is_one_line() {
    let server = Server::start(&["--cleartext"]);
    let state = Scratch::new();
    // A file is where the directory should be.
    state.file("state", "");
    let mut terminal = open(&server.url, &[], &state);
    terminal.press("one\r");
    terminal.shows("< one").press("two\r");
    terminal.shows("< two");
    let rows = terminal.rows();
    assert_eq!(rows.matches("history is not kept").count(), 1, "{rows}");
}

#[test]
fn a_paste_is_one_message_whatever_it_has() {
    let (_runtime, url, reports) = reporting();
    let mut terminal = open(&url, &[], &Scratch::new());
    terminal.paste("one\r\ntwo\tč\n/quit");
    terminal.prompts("> one⏎two č⏎/quit").press("\r");
    assert_eq!(next(&reports), Ok(Message::text("one\ntwo\tč\n/quit")));
    let big = "0123456789\n".repeat(1_000_000);
    terminal.paste(&big);
    terminal.press("\r");
    assert!(next(&reports) == Ok(Message::text(big)), "the same text");
    terminal.shows("more").prompts(PROMPT);
    terminal.press("\x04");
    assert_eq!(terminal.exited(), Some(0));
}

#[test]
fn the_row_of_the_user_fits_a_terminal_of_any_width() {
    let server = Server::start(&["--cleartext"]);
    let mut terminal = open(&server.url, &[], &Scratch::new());
    let line = "abcdefghij".repeat(8);
    terminal.press(&line);
    terminal.prompts(&format!("> {}", &line[3..]));
    terminal.resize(10, 40);
    terminal.prompts(&format!("> {}", &line[43..]));
    terminal.press("\r");
    // The terminal wraps the echo.
    terminal.shows(&format!("< {line}\n")).prompts(PROMPT);
    terminal.resize(5, 2);
    terminal.press("xy\r");
    terminal.resize(24, 80);
    terminal.shows("< xy").prompts(PROMPT);
}

#[test]
fn a_terminal_that_goes_away_closes_the_websocket() {
    for version in ["--http1", "--http2"] {
        let (_runtime, url, reports) = reporting();
        let mut terminal = open(&url, &[version], &Scratch::new());
        terminal.press("taken\r");
        terminal.shows("> taken");
        assert_eq!(terminal.hang_up(), Some(129));
        assert_eq!(next(&reports), Ok(Message::text("taken")));
        let Err(Some(frame)) = next(&reports) else {
            panic!("no Close frame");
        };
        assert_eq!(frame.code, CloseCode::GOING_AWAY);
    }
}

/// Clears the screen, sets the title, pastes, and has a C1 control.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{1b}[200~/quit\r\u{9b}31m";

#[test]
fn what_a_server_sends_does_not_command_the_terminal() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        let _ = socket.send(EVIL).await;
        let _ = socket.send(Message::ping(&b"\x1b[2J"[..])).await;
        let _ = socket.send(Message::binary(&b"\x1b[2J\xff"[..])).await;
        let reason = format!("\u{1b}[2J\n< forged {}", "\u{202e}");
        let _ = socket
            .close(CloseFrame::new(CloseCode::from(3001), reason))
            .await;
        socket.next().await;
    });
    for version in ["--http1", "--http2"] {
        let args = ["connect", &url, version, "--color", "never"];
        let mut terminal = Terminal::start(&args, &Scratch::new());
        assert_eq!(terminal.exited(), Some(1));
        let rows = terminal.rows();
        for shown in [
            "< \\u001b[2J\\u001b]0;owned",
            "1b 5b 32 4a ff",
            "3001 \\u001b[2J",
        ] {
            assert!(rows.contains(shown), "no {shown}: {rows}");
        }
        assert!(!rows.contains("\n< forged"), "{rows}");
        // What is left is ours: erase, move right, and mark pastes.
        let mut written = String::from_utf8(terminal.written.clone()).expect("UTF-8");
        for ours in ["\x1b[J", "\x1b[2C", "\x1b[?2004h", "\x1b[?2004l", "\r"] {
            written = written.replace(ours, "");
        }
        let control = written.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "{written:?}");
    }
}

#[test]
fn colors_follow_the_option_and_no_color() {
    let server = Server::start(&["--cleartext"]);
    for (option, no_color, colored) in [
        ("auto", "", true),
        ("auto", "1", false),
        ("always", "1", true),
        ("never", "", false),
    ] {
        let args = ["connect", &server.url, "--color", option];
        let mut terminal = Terminal::start_with(&args, &[("NO_COLOR", no_color)], &Scratch::new());
        terminal.shows("open over").press("a\r");
        terminal.shows("< a").press("\x04");
        assert_eq!(terminal.exited(), Some(0));
        let written = String::from_utf8_lossy(&terminal.written);
        let cyan = "\x1b[36m< a\x1b[0m";
        assert_eq!(
            written.contains(cyan),
            colored,
            "{option} {no_color:?} {written:?}"
        );
    }
}

#[test]
fn wrong_commands_and_files_are_reported_and_nothing_is_sent() {
    let (_runtime, url, reports) = reporting();
    let state = Scratch::new();
    let file = state.file("data.bin", "text");
    let mut terminal = open(&url, &[], &state);
    for (line, shown) in [
        ("/nick me", "! no command /nick"),
        ("/binary 0", "! /binary takes two"),
        ("/file /nonexistent", "! /nonexistent: "),
        ("/file /dev/zero", "! /dev/zero: not a regular file"),
        ("/close 1005", "! /close takes a code"),
        (&format!("/ping {}", "x".repeat(126)), "room for 125"),
        ("/help", "* /ping [TEXT]"),
    ] {
        terminal.press(&format!("{line}\r"));
        terminal.shows(shown).prompts(PROMPT);
    }
    terminal.press(&format!("/file {file}\r"));
    assert_eq!(next(&reports), Ok(Message::text("text")));
}

#[test]
fn a_lost_websocket_is_opened_again_under_the_prompt() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        while let Some(Ok(message)) = socket.next().await {
            if message.as_text() == Some("restart") {
                let frame = CloseFrame::from(CloseCode::SERVICE_RESTART);
                let _ = socket.close(frame).await;
                return;
            }
            let _ = socket.send(message).await;
        }
    });
    let mut terminal = open(&url, &["--reconnect"], &Scratch::new());
    terminal.press("restart\r");
    terminal.shows("trying again in").press("later\r");
    terminal.shows("< later").press("\x04");
    assert_eq!(terminal.exited(), Some(0));
}
