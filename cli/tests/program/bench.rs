//! `h2ws bench`.

use serde_json::Value;

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
