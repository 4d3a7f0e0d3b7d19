//! `h2ws demo`.

use serde_json::Value;

#[cfg(unix)]
use crate::process::with_files;
use crate::process::{Running, h2ws, run};

/// Returns the number in the line that begins with `label`.
fn count(output: &str, label: &str) -> u64 {
    let line = output.lines().map(str::trim).find(|l| l.starts_with(label));
    let words = line.and_then(|line| line[label.len()..].split_whitespace().next());
    let Some(number) = words.and_then(|word| word.parse().ok()) else {
        panic!("no {label:?} in {output}");
    };
    number
}

#[test]
fn a_thousand_sockets_share_one_connection() {
    let ended = run(&["demo"]);
    let out = &ended.exited(0).stdout;
    assert_eq!(count(out, "WebSockets opened"), 1000);
    assert_eq!(count(out, "over HTTP/2"), 1000);
    assert_eq!(count(out, "messages echoed"), 10_000);
    assert_eq!(count(out, "TCP connections"), 1);
    assert_eq!(count(out, "streams opened"), 1000);
    assert_eq!(count(out, "backend connections"), 1000);
    // How many messages share a frame varies; there must be some frames.
    assert!(count(out, "DATA frames sent") >= 1000, "{out}");
    assert!(count(out, "DATA frames recv'd") >= 1000, "{out}");
    assert_eq!(count(out, "each on a connection"), 1000);
    assert!(
        out.contains(" times as long (measured with 100, in proportion)\n"),
        "{out}"
    );
    assert!(out.contains("\nnext\n  h2ws demo --keep  "), "{out}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn json_is_one_object_with_the_same_counts() {
    let ended = run(&["demo", "--sockets", "20", "--messages", "3", "--json"]);
    let demo: Value = serde_json::from_str(&ended.exited(0).stdout).expect("one object");
    assert_eq!(demo["opened"], 20);
    assert_eq!(demo["over_http2"], 20);
    assert_eq!(demo["messages"], 60);
    assert_eq!(demo["connections"].as_array().map(Vec::len), Some(1));
    assert_eq!(demo["connections"][0]["streams_opened"], 20);
    assert_eq!(demo["backend_connections"], 20);
    assert_eq!(demo["failure"], Value::Null);
    let own = &demo["own_connections"];
    assert_eq!(own["measured"], 20);
    assert!(own["open_seconds"].as_f64() > Some(0.0), "{demo}");
    assert_eq!(own["scaled_open_seconds"], own["open_seconds"]);
}

#[test]
fn a_server_that_dies_makes_the_demo_fail() {
    let cut = ["demo", "--sockets", "200", "--cut-after", "500"];
    let ended = run(&cut);
    ended
        .exited(1)
        .stderr_has("h2ws: ")
        .stderr_has("of 200 WebSockets failed: ");
    assert!(count(&ended.stdout, "messages echoed") < 2000, "{ended:?}");

    let ended = run(&[&cut[..], &["--json"]].concat());
    let demo: Value = serde_json::from_str(&ended.exited(1).stdout).expect("one object");
    assert!(demo["failure"].is_string(), "{demo}");
}

/// The reported time must cover the time that the slowest WebSocket took.
#[test]
fn the_reported_time_covers_all_messages() {
    let ended = run(&["demo", "--sockets", "200", "--messages", "50", "--json"]);
    let demo: Value = serde_json::from_str(&ended.exited(0).stdout).expect("one object");
    let seconds = demo["talk_seconds"].as_f64().expect("a time");
    let slowest = demo["slowest_socket_seconds"].as_f64().expect("a time");
    assert!(slowest > 0.0 && seconds >= slowest, "{demo}");
}

#[cfg(unix)]
#[test]
fn too_low_a_file_limit_is_reported_before_anything_is_opened() {
    let mut command = with_files(400, &["demo", "--sockets", "300"]);
    let ended = Running::start(&mut command).ended();
    ended
        .exited(1)
        .stderr_has("300 WebSockets need about 650 open files, but the limit is 400")
        .stderr_has("ulimit -n 650")
        .stderr_has("--sockets 175");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    let mut command = with_files(400, &["demo", "--sockets", "175"]);
    // This leaves no open files to measure other connections.
    let ended = Running::start(&mut command).ended();
    assert_eq!(ended.exited(0).stderr, "");
}

/// The usual limit.
#[cfg(unix)]
#[test]
fn ten_thousand_sockets_under_a_small_file_limit_are_one_sentence() {
    let mut command = with_files(1024, &["demo", "--sockets", "10000"]);
    let ended = Running::start(&mut command).ended();
    ended.exited(1).stderr_has(
        "h2ws: 10000 WebSockets need about 20050 open files, but the limit is 1024: \
         raise it (ulimit -n 20050), or open fewer WebSockets (--sockets 487)\n",
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_eq!(ended.stdout, "");
}

#[cfg(unix)]
#[test]
fn keep_runs_until_a_signal() {
    let mut demo = Running::start(&mut h2ws(&["demo", "--sockets", "2", "--keep"]));
    loop {
        let line = demo.line();
        assert_ne!(line, "", "ended too early");
        if line.starts_with("still running: open https://localhost:") {
            break;
        }
    }
    demo.signal("INT");
    demo.ended().exited(130);
}
