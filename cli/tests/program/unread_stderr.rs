//! A full stderr pipe blocks the log and nothing else.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStderr, Command, Stdio};

use futures_util::StreamExt;
use h2ws::{Client, HttpVersion, Message};

use crate::process::{Server, h2ws, listening};

/// A bridge whose stderr is not read.
struct Unread {
    child: std::process::Child,
    url: String,
    stderr: Option<ChildStderr>,
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Both fail only if the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unread(args: &[&str]) -> Unread {
    let mut command: Command =
        h2ws(&[&["bridge", "--cleartext", "--listen", "127.0.0.1:0"], args].concat());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let stderr = child.stderr.take();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("UTF-8");
    Unread {
        url: listening(&line).expect("a URL"),
        child,
        stderr,
    }
}

/// Opens and closes WebSockets, each of which is logged, while another echoes messages.
async fn talk(url: &str, times: usize) {
    let client = Client::builder()
        .version(HttpVersion::Http2)
        .build()
        .expect("a client");
    // Makes each line long.
    let long = format!("{url}/{}", "x".repeat(4000));
    let mut one = client.connect(url).await.expect("open");
    for _ in 0..times {
        let socket = client.connect(&long).await.expect("open");
        drop(socket);
        one.send(Message::text("still here")).await.expect("sent");
        let back = one.next().await.expect("an echo").expect("no error");
        assert_eq!(back, Message::text("still here"));
    }
    one.close(None).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_does_not_delay_messages() {
    let backend = Server::start(&["--cleartext"]);
    for format in ["text", "json"] {
        let mut bridge = unread(&["--to", &backend.url, "--log-format", format]);
        // More than a pipe and the queue can hold.
        talk(&bridge.url, 1300).await;
        // When read again, the log reports how many lines are missing.
        let mut stderr = BufReader::new(bridge.stderr.take().expect("not taken before"));
        let (mut lines, mut lost) = (0, None);
        let mut line = String::new();
        while lost.is_none() && stderr.read_line(&mut line).expect("UTF-8") > 0 {
            if line.contains("log lines were dropped") {
                lost = count(&line, format);
            } else if line.contains("h2ws::access") {
                lines += 1;
            }
            line.clear();
        }
        let lost = lost.expect("a line with the count of dropped lines");
        assert_eq!(lines + lost, 1301, "{lines} and {lost}");
        assert!(lost > 0);
    }
}

fn count(line: &str, format: &str) -> Option<u64> {
    if format == "json" {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        return line["lines"].as_u64();
    }
    let (_, count) = line.split_once("lines=")?;
    count.split_whitespace().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_does_not_delay_the_exit() {
    let backend = Server::start(&["--cleartext"]);
    let mut bridge = unread(&["--to", &backend.url]);
    talk(&bridge.url, 30).await;
    let pid = bridge.child.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(sent.expect("kill runs").success());
    let status = tokio::task::block_in_place(|| bridge.child.wait()).expect("it ends");
    assert_eq!(status.code(), Some(0));
    let mut left = String::new();
    let mut stderr = bridge.stderr.take().expect("not taken before");
    stderr.read_to_string(&mut left).expect("UTF-8");
    assert!(left.contains("h2ws::access"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_lines_are_written_before_the_exit() {
    let backend = Server::start(&["--cleartext"]);
    let bridge = Server::bridge(&["--cleartext", "--to", &backend.url]);
    talk(&bridge.url, 50).await;
    bridge.running.signal("TERM");
    let ended = bridge.ended();
    let lines = ended.exited(0).stderr.lines();
    assert_eq!(
        lines.filter(|line| line.contains("h2ws::access")).count(),
        51
    );
}
