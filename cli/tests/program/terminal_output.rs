//! Output to a terminal and to a pipe: escaping, colors, progress; and the exit status after a signal.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{CloseCode, CloseFrame, Message};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::in_process::server;
use crate::process::{Running, Server, h2ws, run, run_with};

/// Opens a pseudo-terminal. Returns the user's end and the program's.
fn terminal() -> (File, File) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&user).expect("granted");
    unlockpt(&user).expect("unlocked");
    let name = ptsname(&user, Vec::new()).expect("a name");
    let program = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().expect("UTF-8"))
        .expect("its other end");
    (user.into(), program)
}

/// Runs the program at a terminal to its end. Returns what it showed and its exit status.
fn shown(command: &mut Command) -> (String, Option<i32>) {
    let (mut user, program) = terminal();
    let other = program.try_clone().expect("a second handle");
    let mut child: Child = command
        .stdin(Stdio::piped())
        .stdout(program)
        .stderr(other)
        .spawn()
        .expect("the program starts");
    // The command would otherwise keep the program's end open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // stdin stays open and empty.
    let _stdin = child.stdin.take();
    let mut shown = Vec::new();
    let mut bytes = [0; 4096];
    // Fails when the program has closed its end.
    while let Ok(read @ 1..) = user.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..read]);
    }
    let status = child.wait().expect("it ends").code();
    (String::from_utf8_lossy(&shown).into_owned(), status)
}

/// Clears the screen, sets the title, returns to the start of the line, and has a C1 control.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\rh2ws: fine\u{9b}31m";

fn is_harmless(text: &str) -> bool {
    // The terminal turns a line feed into CR LF.
    let text = text.replace("\r\n", "\n");
    text.chars()
        .all(|c| !c.is_control() || c == '\n' || c == '\t')
}

/// Removes the colors of the program itself.
fn without_colors(text: &str) -> String {
    ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"]
        .iter()
        .fold(text.to_owned(), |text, color| text.replace(color, ""))
}

async fn rejects_with_escapes(request: WebSocketRequest) {
    let mut response = http::Response::new(bytes::Bytes::from(format!("{EVIL}\nmore\n")));
    *response.status_mut() = http::StatusCode::FORBIDDEN;
    request.reject_with(response);
}

async fn sends_escapes(request: WebSocketRequest) {
    let mut socket = request.accept().await.expect("open");
    let _ = socket.send(Message::text(EVIL)).await;
    let _ = socket.send(Message::binary(EVIL.as_bytes().to_vec())).await;
    let reason = format!("{}\nh2ws: again", &EVIL[..20]);
    let _ = socket
        .close(CloseFrame::new(CloseCode::from(3001), reason))
        .await;
    socket.next().await;
}

#[test]
fn control_characters_of_a_peer_are_escaped_at_a_terminal() {
    for (runtime, url) in [server(rejects_with_escapes), server(sends_escapes)] {
        for version in ["--http1", "--http2"] {
            for command in ["connect", "bench"] {
                let (shown, status) = shown(&mut h2ws(&[command, &url, version, "--no-proxy"]));
                assert_eq!(status, Some(1), "{shown:?}");
                if command == "connect" {
                    assert!(is_harmless(&shown), "{shown:?}");
                    assert!(shown.contains("\\u001b"), "{shown:?}");
                }
            }
        }
        let (shown, _) = shown(&mut h2ws(&["probe", &url, "--no-proxy"]));
        assert!(is_harmless(&without_colors(&shown)), "{shown:?}");
        drop(runtime);
    }
}

#[test]
fn reports_have_colors_at_a_terminal_unless_no_color_is_set() {
    let server = Server::start(&["--cleartext"]);
    for (args, no_color, has) in [
        (&[][..], "", true),
        (&[], "1", false),
        (&["--color", "always"], "1", true),
        (&["--color", "never"], "", false),
    ] {
        let mut command = h2ws(&[&["probe", &server.url], args].concat());
        let (shown, status) = shown(command.env("NO_COLOR", no_color));
        assert_eq!(status, Some(0), "{shown:?}");
        assert_eq!(shown.contains("\u{1b}[32m"), has, "{args:?} {no_color:?}");
    }
}

#[test]
fn a_pipe_gets_the_bytes_unchanged() {
    let (_runtime, url) = server(sends_escapes);
    let mut command = h2ws(&["connect", &url]);
    // stdin stays open and empty.
    let ended = Running::start(command.stdin(Stdio::piped())).ended();
    assert_eq!(ended.exited(1).stdout, format!("{EVIL}\n{EVIL}\n"));
    assert!(ended.stderr.contains(&EVIL[..20]), "{ended:?}");
    let (_runtime, url) = server(rejects_with_escapes);
    let ended = run(&["connect", &url]);
    ended.exited(1).stderr_has(EVIL);
}

/// <https://no-color.org>
#[test]
fn logs_have_colors_at_a_terminal_unless_no_color_is_set() {
    for (value, has) in [(None, true), (Some(""), true), (Some("1"), false)] {
        let (_runtime, url) = server(sends_escapes);
        let mut command = h2ws(&["connect", &url, "--http2"]);
        command.env_remove("NO_COLOR");
        if let Some(value) = value {
            command.env("NO_COLOR", value);
        }
        command.env("RUST_LOG", "trace");
        let (shown, _) = shown(&mut command);
        assert_eq!(shown.contains('\u{1b}'), has, "{value:?} {shown:?}");
    }
}

/// Shells stop a loop for these statuses.
#[test]
fn an_interrupted_command_exits_with_128_plus_the_signal() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_binary() && socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_url = format!("ws://{}/", silent.local_addr().expect("an address"));
    for (args, ready) in [
        (&["connect", &url][..], Some("open over")),
        (&["bench", &url, "--duration", "60"], None),
        (&["connect", &silent_url], None),
        (&["bench", &silent_url], None),
        (&["probe", &silent_url, "--timeout", "60"], None),
        (&["demo", "--sockets", "1", "--messages", "100000000"], None),
    ] {
        for (signal, status) in [("INT", 130), ("TERM", 143)] {
            let mut running = Running::start(h2ws(args).stdin(Stdio::piped()));
            match ready {
                Some(text) => running.wait_for_stderr(text),
                None => running.catches_signals(),
            }
            running.signal(signal);
            running.ended().exited(status);
        }
    }
    let mut server = Server::start(&["--cleartext"]);
    server.running.signal("INT");
    server.running.close_stdout();
    server.ended().exited(0);
    let ended = run_with(&mut h2ws(&["connect", &url, "--wait", "0"]), "");
    ended.exited(0);
}
