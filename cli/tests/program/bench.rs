//! `h2ws bench`.

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::Message;
use serde_json::Value;

use crate::in_process::server;
use crate::process::{Ended, Server, run};

fn object(ended: &Ended) -> Value {
    serde_json::from_str(&ended.exited(0).stdout).expect("one object")
}

#[test]
fn json_is_one_object_with_all_results() {
    let server = Server::start(&["--cleartext"]);
    let pid = server.running.pid().to_string();
    let ended = run(&[
        "bench",
        &server.url,
        "--http2",
        "--sockets=20",
        "--connections=2",
        "--messages=10",
        "--size=100",
        "--in-flight=4",
        "--server-pid",
        &pid,
        "--json",
    ]);
    let bench = object(&ended);
    for (key, value) in [
        ("sockets", 20),
        ("connections", 2),
        ("over_http2", 20),
        ("size", 100),
        ("in_flight", 4),
        ("messages", 200),
        ("failed", 0),
        ("unclosed", 0),
    ] {
        assert_eq!(bench[key], value, "{key}: {bench}");
    }
    for key in [
        "open_seconds",
        "opened_per_second",
        "seconds",
        "messages_per_second",
        "bytes_per_second",
    ] {
        assert!(bench[key].as_f64() > Some(0.0), "{key}: {bench}");
    }
    let latency: Vec<_> = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"]
        .iter()
        .map(|key| bench["latency"][*key].as_u64().expect(key))
        .collect();
    assert!(latency.is_sorted(), "{bench}");
    if cfg!(target_os = "linux") {
        for key in [
            "client_bytes_per_idle_socket",
            "server_bytes_per_idle_socket",
            "client_bytes_per_socket_after",
            "server_bytes_per_socket_after",
            "client_memory",
            "server_memory",
            "client_cpu_seconds",
            "server_cpu_seconds",
        ] {
            assert!(bench[key].is_number(), "{key}: {bench}");
        }
    }
}

#[test]
fn http1_needs_one_connection_per_socket() {
    let server = Server::start(&["--cleartext"]);
    let args = [
        "bench",
        &server.url,
        "--sockets=3",
        "--messages=2",
        "--json",
    ];
    let bench = object(&run(&args));
    assert_eq!(
        (&bench["connections"], &bench["over_http2"]),
        (&3.into(), &0.into())
    );
}

#[test]
fn a_refused_connection_is_a_failure() {
    run(&["bench", "ws://127.0.0.1:1", "--messages=1"])
        .exited(1)
        .stderr_has("cannot connect");
}

#[test]
fn talkers_send_at_a_rate_and_all_answer_a_ping() {
    let server = Server::start(&["--cleartext", "--threads=1"]);
    let bench = object(&run(&[
        "bench",
        &server.url,
        "--http2",
        "--threads=1",
        "--sockets=50",
        "--talkers=5",
        "--ping",
        "--rate=1000",
        "--messages=20",
        "--json",
    ]));
    // Every message that was due counts, however late its answer.
    assert_eq!(bench["messages"], 100, "{bench}");
    assert_eq!(
        (&bench["talkers"], &bench["unclosed"]),
        (&5.into(), &0.into())
    );
    // The last of a hundred messages is due after 99 ms.
    assert!(bench["seconds"].as_f64() >= Some(0.099), "{bench}");
    assert!(bench["ping_seconds"].as_f64() > Some(0.0), "{bench}");
}

#[test]
fn messages_larger_than_the_windows_are_echoed() {
    let server = Server::start(&["--cleartext"]);
    let bench = object(&run(&[
        "bench",
        &server.url,
        "--http2",
        "--sockets=2",
        "--size=1000000",
        "--in-flight=16",
        "--messages=20",
        "--json",
    ]));
    assert_eq!(
        (&bench["messages"], &bench["failed"]),
        (&40.into(), &0.into())
    );
}

#[test]
fn bulk_messages_are_not_counted() {
    let server = Server::start(&["--cleartext"]);
    let ended = run(&[
        "bench",
        &server.url,
        "--http2",
        "--sockets=1",
        "--bulk=3",
        "--bulk-size=300000",
        "--duration=0.5",
        "--json",
    ]);
    let bench = object(&ended);
    assert_eq!(
        (&bench["sockets"], &bench["connections"]),
        (&1.into(), &1.into())
    );
    assert!(
        bench["bulk_bytes_per_second"].as_f64() > Some(0.0),
        "{bench}"
    );
}

fn bench(url: &str, args: &[&str]) -> Ended {
    run(&[&["bench", url, "--sockets", "2"], args].concat())
}

/// With a duration and with a number of messages.
#[test]
fn a_server_that_does_not_answer_is_reported_early_and_gets_one_message() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        let mut messages = 0;
        while let Some(Ok(_)) = socket.next().await {
            messages += 1;
            assert_eq!(messages, 1, "the load was run");
        }
    });
    for args in [&["--messages", "5"][..], &["--duration", "600"]] {
        let ended = bench(&url, args);
        ended
            .exited(1)
            .stderr_has("after 2s: no answer; bench needs a server that echoes")
            .stderr_has("h2ws: the server does not echo: no answer");
        assert_eq!(ended.stdout, "", "no report");
    }
}

#[test]
fn a_server_that_answers_something_else_is_reported_at_once() {
    let (_runtime, url) = server(|request| async move {
        let path = request.path().to_owned();
        let mut socket = request.accept().await.expect("open");
        let _ = socket.send(Message::ping("not an answer")).await;
        let Some(Ok(_)) = socket.next().await else {
            return;
        };
        let _ = match path.as_str() {
            "/welcome" => socket.send("welcome \u{1b}[2J").await,
            "/other" => socket.send(Message::binary(vec![0xff; 64])).await,
            _ => socket.close(h2ws::CloseCode::from(1003)).await,
        };
        while let Some(Ok(_)) = socket.next().await {}
    });
    for (path, shown) in [
        (
            "welcome",
            "12 bytes of text came back for 64 bytes of binary: \"welcome \\u{1b}[2J\"; if it echoes text only, try --text",
        ),
        (
            "other",
            "64 bytes of binary came back for 64 bytes of binary",
        ),
        (
            "close",
            "the server closed the WebSocket (1003) instead of echoing",
        ),
    ] {
        for version in ["--http1", "--http2"] {
            let ended = bench(&format!("{url}{path}"), &[version, "--json"]);
            ended.exited(1).stderr_has(shown);
            assert!(!ended.stderr.contains("after 2s"), "{ended:?}");
        }
    }
}

/// It must not wait for the rest of the messages for ever.
#[test]
fn a_server_that_stops_answering_ends_the_run() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        for _ in 0..20 {
            let Some(Ok(message)) = socket.next().await else {
                return;
            };
            let _ = socket.send(message).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
    let ended = bench(&url, &["--messages", "100"]);
    ended
        .exited(1)
        .stderr_has("2 of 2 WebSockets failed: no answer");
    assert!(
        ended.stdout.contains(" messages of 64 bytes echoed"),
        "{ended:?}"
    );
}

#[test]
fn the_report_has_a_histogram_of_all_round_trips() {
    let server = Server::start(&["--cleartext"]);
    let ended = bench(&server.url, &["--messages", "50"]);
    let report = &ended.exited(0).stdout;
    let rows: Vec<_> = report
        .lines()
        .filter_map(|line| line.strip_prefix("    up to "))
        .collect();
    let counts = rows.iter().map(|row| {
        let words: Vec<_> = row.split_whitespace().collect();
        let bar = words.get(4).copied().unwrap_or_default();
        assert_eq!(words[1] == "0", bar.is_empty(), "{row}");
        assert!(bar.chars().all(|c| c == '█'), "{row}");
        words[1].parse::<u64>().expect("a count")
    });
    assert_eq!(counts.sum::<u64>(), 100, "{report}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn two_servers_are_compared_in_turns() {
    let first = Server::start(&["--cleartext"]);
    let second = Server::start(&["--cleartext"]);
    let load = [
        "--messages",
        "20",
        "--http2",
        "--compare",
        &second.url,
        "--repeats",
        "3",
    ];
    let report = bench(&first.url, &load);
    let report = &report.exited(0).stdout;
    for shown in [
        &format!(
            "1: {}/\n   2 WebSockets on 1 connection (2 over HTTP/2)\n",
            first.url
        ),
        &format!("2: {}/\n", second.url),
        "3 runs of each, in turns: 64 bytes, 1 in flight per WebSocket\n",
        "\nmessages/s  ",
        "\nround trip, p99  ",
    ] {
        assert!(report.contains(shown), "no {shown}: {report}");
    }
    let all = object(&bench(&first.url, &[&load[..], &["--json"]].concat()));
    assert_eq!(all["repeats"], 3);
    for (side, url) in [("first", &first.url), ("second", &second.url)] {
        assert_eq!(all[side]["url"], format!("{url}/"));
        let runs = all[side]["runs"].as_array().expect("a list");
        assert_eq!(runs.len(), 3);
        assert!(runs.iter().all(|run| run["messages"] == 40), "{all}");
    }
    let ratio = &all["ratios"]["messages_per_second"];
    let [min, median, max] = ["min", "median", "max"].map(|key| ratio[key].as_f64());
    assert!(min > Some(0.0) && min <= median && median <= max, "{ratio}");
    let of = |side: &str, run: usize| all[side]["runs"][run]["messages_per_second"].as_f64();
    let mut ratios: Vec<_> = (0..3)
        .map(|run| of("first", run).expect("a rate") / of("second", run).expect("a rate"))
        .collect();
    ratios.sort_by(f64::total_cmp);
    assert!(
        (ratios[1] - median.expect("a number")).abs() < 1e-9,
        "{all}"
    );
}

#[cfg(unix)]
#[test]
fn a_comparison_is_as_documented() {
    use crate::documented::{output, shape};

    let (tls, clear) = (Server::start(&[]), Server::start(&["--cleartext"]));
    let documented = "h2ws bench --insecure --compare ws://127.0.0.1:8080 wss://127.0.0.1:8443";
    let args = [
        "--insecure",
        "--compare",
        &clear.url,
        &tls.url,
        "--duration",
        "0.3",
    ];
    let ended = run(&[&["bench"], &args[..]].concat());
    assert_eq!(shape(&ended.exited(0).stdout), shape(&output(documented)));
}

#[test]
fn the_two_versions_of_one_server_are_compared_in_turns() {
    let tls = Server::start(&[]);
    let clear = Server::start(&["--cleartext"]);
    let pid = clear.running.pid().to_string();
    for (url, options) in [
        (&tls.url, &["--insecure"][..]),
        (&clear.url, &["--server-pid", &pid]),
    ] {
        let load = ["--messages", "20", "--compare-http1", "--repeats", "2"];
        let args = [&load[..], options].concat();
        let report = bench(url, &args);
        let report = &report.exited(0).stdout;
        for shown in [
            &format!("1: {url}/ over HTTP/2\n   2 WebSockets on 1 connection (2 over HTTP/2)\n"),
            &format!("2: {url}/ over HTTP/1.1\n   2 WebSockets on 2 connections (0 over HTTP/2)\n"),
            "\nmessages/s  ",
        ] {
            assert!(report.contains(shown), "no {shown}: {report}");
        }
        let has_pid = cfg!(target_os = "linux") && options.contains(&pid.as_str());
        let all = object(&bench(url, &[&args[..], &["--json"]].concat()));
        for (side, sockets) in [("first", 2), ("second", 0)] {
            assert_eq!(all[side]["url"], format!("{url}/"));
            let runs = all[side]["runs"].as_array().expect("a list");
            assert_eq!(runs.len(), 2);
            assert!(runs.iter().all(|run| run["over_http2"] == sockets), "{all}");
            let is_measured = |run: &Value| run["server_cpu_seconds"].is_number();
            assert!(runs.iter().all(|run| is_measured(run) == has_pid), "{all}");
        }
        assert!(all["ratios"]["p50"]["median"].is_number(), "{all}");
    }
    for wrong in [&["--http1"][..], &["--compare", &clear.url]] {
        let args = [&["--compare-http1"], wrong].concat();
        bench(&clear.url, &args).exited(2);
    }
    bench(&clear.url, &["--repeats", "2"]).exited(2);
}

#[test]
fn a_server_without_http2_cannot_be_compared_with_itself() {
    let server = Server::start(&["--cleartext", "--no-extended-connect"]);
    let ended = bench(&server.url, &["--messages", "2", "--compare-http1"]);
    let named = format!("h2ws: {}/ over HTTP/2: ", server.url);
    ended.exited(1).stderr_has(&named);
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_comparison_names_the_server_that_fails() {
    let first = Server::start(&["--cleartext"]);
    let compare = |url: &str| bench(&first.url, &["--messages", "2", "--compare", url]);
    let dead = compare("ws://127.0.0.1:1/");
    dead.exited(1).stderr_has("h2ws: ws://127.0.0.1:1/: ");
    assert_eq!(dead.stdout, "");
    let wrong = compare("ftp://user:secret@host/");
    wrong.exited(2).stderr_has("--compare: ");
    assert!(!wrong.stderr.contains("secret"), "{wrong:?}");
}
