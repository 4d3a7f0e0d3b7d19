//! `h2ws bridge`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use futures_util::StreamExt;
use h2ws::{Client, CloseCode, HttpVersion, Message};

use crate::process::{Server, h2ws, run, run_with};

/// All combinations of TLS and HTTP version on both sides: the transport of the client does not
/// depend on that of the upstream.
#[test]
fn every_transport_to_every_upstream() {
    let plain = Server::start(&["--cleartext"]);
    let secure = Server::start(&[]);
    let insecure = secure.localhost();
    for to in [
        &["--to", &plain.url][..],
        &["--to", &plain.url, "--upstream-http2"],
        &["--to", &insecure, "--upstream-insecure"],
        &["--to", &insecure, "--upstream-insecure", "--upstream-http1"],
    ] {
        for (listen, connect, carrier) in [
            (&[][..], &["--insecure"][..], "HTTP/2"),
            (&[], &["--insecure", "--http1"], "HTTP/1.1"),
            (&["--cleartext"], &["--http2"], "HTTP/2"),
            (&["--cleartext"], &[], "HTTP/1.1"),
        ] {
            let bridge = Server::bridge(&[to, listen].concat());
            let url = bridge.localhost();
            let mut connect = h2ws(&[&["connect", &url[..]], connect].concat());
            let ended = run_with(&mut connect, "hello\n");
            ended.exited(0).stderr_has(&format!("open over {carrier} "));
            assert_eq!(ended.stdout, "hello\n", "{to:?} {listen:?}");
        }
    }
}

#[test]
fn tcp_upstreams_require_allowed_origins() {
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = format!("tcp://{}", target.local_addr().expect("an address"));
    run(&["bridge", "--to", &to])
        .exited(2)
        .stderr_has("--allow-any-origin");
    run(&["bridge", "--to", &to, "--allow-origin", "not an origin"])
        .exited(2)
        .stderr_has("--allow-origin: \"not an origin\" is not an origin such as");
    run(&["bridge", "--to", "tcp://127.0.0.1", "--allow-any-origin"])
        .exited(2)
        .stderr_has("a tcp upstream needs a port; expected tcp://host:port");
    run(&["bridge", "--to", "gopher://127.0.0.1"])
        .exited(2)
        .stderr_has("invalid upstream gopher://127.0.0.1: unsupported scheme");

    let bridge = Server::bridge(&[
        "--cleartext",
        "--to",
        &to,
        "--allow-origin",
        "https://a.test",
    ]);
    let refused = run(&["connect", &bridge.url, "--origin", "https://b.test"]);
    refused.exited(1).stderr_has("403");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_bytes_are_carried_in_binary_messages() {
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = format!("tcp://{}", target.local_addr().expect("an address"));
    let echo = thread::spawn(move || {
        let (mut io, _) = target.accept().expect("a connection");
        let mut line = [0; 6];
        io.read_exact(&mut line).expect("a line");
        io.write_all(&line).expect("sent");
        io.shutdown(Shutdown::Write).expect("ended");
    });
    let bridge = Server::bridge(&["--cleartext", "--to", &to, "--allow-any-origin"]);
    let client = Client::builder().version(HttpVersion::Http2).build();
    let client = client.expect("a client");
    let mut socket = client.connect(&bridge.url).await.expect("open");
    for part in [&b"PI"[..], b"NG\r\n"] {
        socket.send(Message::binary(part)).await.expect("sent");
    }
    let mut bytes = Vec::new();
    while let Some(message) = socket.next().await {
        bytes.extend(message.expect("no error").into_data());
    }
    assert_eq!(bytes, b"PING\r\n");
    assert_eq!(socket.close_code(), Some(CloseCode::NORMAL));
    echo.join().expect("no panic");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_closes_sockets_with_1001_and_logs_each() {
    let backend = Server::start(&["--cleartext"]);
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let bridge = Server::bridge(&["--cleartext", "--to", &backend.url]);
        let client = Client::builder()
            .version(version)
            .build()
            .expect("a client");
        let url = format!("{}/room?token=secret", bridge.url);
        let mut socket = client.connect(&url).await.expect("open");
        socket.send(Message::text("in")).await.expect("sent");
        let echo = socket.next().await.expect("an echo").expect("no error");
        assert_eq!(echo, Message::text("in"));
        bridge.running.signal("TERM");
        assert!(socket.next().await.is_none(), "{version:?}");
        assert_eq!(socket.close_code(), Some(CloseCode::GOING_AWAY));
        drop(socket);
        let ended = bridge.ended();
        ended.exited(0);
        let lines: Vec<_> = ended.stderr.lines().collect();
        let lines: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("access"))
            .collect();
        assert_eq!(lines.len(), 1, "{ended:?}");
        for part in [
            "path=/room ",
            "closed_by=bridge",
            "closed=close ",
            "reason=\"closed by a Close frame\"",
            "code=1001",
            &format!("upstream={} ", backend.url),
        ] {
            assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
        }
        assert!(!ended.stderr.contains("secret"), "{ended:?}");
    }
}

#[test]
fn an_unreachable_upstream_is_502() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = format!("ws://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let bridge = Server::bridge(&["--cleartext", "--to", &to]);
    for version in ["--http1", "--http2"] {
        run(&["connect", &bridge.url, version])
            .exited(1)
            .stderr_has("502");
    }
}
