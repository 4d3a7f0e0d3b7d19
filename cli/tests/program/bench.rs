//! `h2ws bench`.

use serde_json::Value;

use crate::process::{Server, run};

#[test]
fn json_is_one_object_with_the_figures() {
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
    let bench: Value = serde_json::from_str(&ended.exited(0).stdout).expect("one object");
    for (figure, value) in [
        ("sockets", 20),
        ("connections", 2),
        ("over_http2", 20),
        ("size", 100),
        ("in_flight", 4),
        ("messages", 200),
        ("failed", 0),
    ] {
        assert_eq!(bench[figure], value, "{figure}: {bench}");
    }
    for figure in [
        "open_seconds",
        "opened_per_second",
        "seconds",
        "messages_per_second",
        "bytes_per_second",
    ] {
        assert!(bench[figure].as_f64() > Some(0.0), "{figure}: {bench}");
    }
    let latency: Vec<_> = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"]
        .iter()
        .map(|figure| bench["latency"][*figure].as_u64().expect(figure))
        .collect();
    assert!(latency.is_sorted(), "{bench}");
    if cfg!(target_os = "linux") {
        for figure in [
            "client_bytes_per_idle_socket",
            "server_bytes_per_idle_socket",
        ] {
            assert!(bench[figure].is_number(), "{figure}: {bench}");
        }
    }
}

#[test]
fn http1_sockets_have_a_connection_each() {
    let server = Server::start(&["--cleartext"]);
    let args = [
        "bench",
        &server.url,
        "--sockets=3",
        "--messages=2",
        "--json",
    ];
    let bench: Value = serde_json::from_str(&run(&args).exited(0).stdout).expect("one object");
    assert_eq!(
        (&bench["connections"], &bench["over_http2"]),
        (&3.into(), &0.into())
    );
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    run(&["bench", "ws://127.0.0.1:1", "--messages=1"])
        .exited(1)
        .says("cannot connect");
}
