//! `h2ws connect`.

use futures_util::StreamExt;
use h2ws::{CloseCode, CloseFrame};

use crate::in_process::server;
use crate::process::{Ended, Server, h2ws, run, run_with, start_with};

fn connect(url: &str, args: &[&str], input: &str) -> Ended {
    run_with(h2ws(&["connect", url]).args(args), input)
}

#[test]
fn lines_go_out_and_messages_come_back() {
    let tls = Server::start(&[]);
    let clear = Server::start(&["--cleartext"]);
    let table: [(&str, &[&str], &str); 6] = [
        (&tls.url, &["--insecure"], "HTTP/2"),
        (&tls.url, &["--insecure", "--http2"], "HTTP/2"),
        (&tls.url, &["--insecure", "--http1"], "HTTP/1.1"),
        (&clear.url, &[], "HTTP/1.1"),
        (&clear.url, &["--http1"], "HTTP/1.1"),
        (&clear.url, &["--http2"], "HTTP/2"),
    ];
    for (url, args, carrier) in table {
        let ended = connect(url, args, "one\n\nthree: čtyři\n");
        ended
            .exited(0)
            .stderr_has(&format!("open over {carrier} connection"));
        assert_eq!(ended.stdout, "one\n\nthree: čtyři\n", "{url} {args:?}");
    }
    let https = tls.url.replace("wss://", "https://");
    connect(&https, &["--insecure"], "x")
        .exited(0)
        .stderr_has("HTTP/2");
    let no_scheme = tls.url.replace("wss://", "");
    connect(&no_scheme, &["--insecure"], "x")
        .exited(0)
        .stderr_has("HTTP/2");
}

/// Longer than the windows, so it is sent in pieces while the echo is being received.
#[test]
fn a_long_line_is_echoed_in_one_piece() {
    let server = Server::start(&["--cleartext"]);
    let line = "x".repeat(1_000_000) + "\n";
    for version in ["--http1", "--http2"] {
        let ended = connect(&server.url, &[version, "--wait", "60"], &line);
        ended.exited(0);
        assert!(ended.stdout == line, "{} bytes", ended.stdout.len());
    }
}

#[test]
fn http1_is_used_for_a_server_without_extended_connect() {
    let server = Server::start(&["--no-extended-connect"]);
    let ended = connect(&server.url, &["--insecure"], "hello\n");
    ended.exited(0).stderr_has("open over HTTP/1.1 connection");
    assert_eq!(ended.stdout, "hello\n");
    connect(&server.url, &["--insecure", "--http2"], "")
        .exited(1)
        .stderr_has("WebSockets over HTTP/2");
}

#[test]
fn a_rejection_is_a_failure_with_its_status() {
    let server = Server::start(&["--cleartext", "--allow-origin", "https://ok.example"]);
    for version in ["--http1", "--http2"] {
        let from = |origin| connect(&server.url, &[version, "--origin", origin], "in\n");
        from("https://evil.example").exited(1).stderr_has("403");
        assert_eq!(from("https://ok.example").exited(0).stdout, "in\n");
    }
}

#[test]
fn the_selected_subprotocol_is_reported() {
    let server = Server::start(&["--cleartext", "--subprotocol", "chat"]);
    for version in ["--http1", "--http2"] {
        let args = [version, "--subprotocol", "other", "--subprotocol", "chat"];
        connect(&server.url, &args, "")
            .exited(0)
            .stderr_has("subprotocol chat");
    }
}

#[test]
fn header_fields_reach_the_server() {
    let (_runtime, url) = server(|request| async move {
        let token = request.headers().get("x-token").cloned();
        if token.is_some_and(|token| token == "a: b") {
            if let Ok(mut socket) = request.accept().await {
                socket.next().await;
            }
        } else {
            request.reject(http::StatusCode::UNAUTHORIZED);
        }
    });
    connect(&url, &[], "").exited(1).stderr_has("401");
    connect(&url, &["-H", "X-Token: a: b"], "")
        .exited(0)
        .stderr_has("open over");
    connect(&url, &["-H", "Sec-WebSocket-Key: mine"], "").exited(2);
}

#[test]
fn the_peers_close_code_decides_the_exit_status() {
    let (_runtime, url) = server(|request| async move {
        let code = match request.path() {
            "/done" => CloseCode::NORMAL,
            "/failed" => CloseCode::INTERNAL_ERROR,
            // Dropped: no Close frame.
            _ => return drop(request.accept().await),
        };
        if let Ok(mut socket) = request.accept().await {
            let _ = socket.close(CloseFrame::new(code, "because")).await;
        }
    });
    for version in ["--http1", "--http2"] {
        // The program waits for an answer to "x", so it is the peer that closes.
        let connect = |path: &str| {
            let url = format!("{url}{path}");
            run_with(
                &mut h2ws(&["connect", &url, version, "--wait", "60"]),
                "x\n",
            )
        };
        connect("done")
            .exited(0)
            .stderr_has("closed by the peer: 1000 because");
        connect("failed").exited(1).stderr_has("code 1011");
        connect("cut").exited(1);
    }
}

#[test]
fn a_refused_connection_is_a_failure() {
    connect("ws://127.0.0.1:1", &[], "")
        .exited(1)
        .stderr_has("cannot connect");
}

#[test]
fn proxies_are_taken_from_the_environment_and_the_command_line() {
    // Port 1 is closed.
    let closed = "http://me:hunter2@127.0.0.1:1";
    let with = |args: &[&str], url: &str| {
        let mut command = h2ws(&["-vv", "connect", url]);
        let ended = run_with(command.args(args).env("http_proxy", closed), "hello\n");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
        ended
    };
    let server = Server::start(&["--cleartext"]);
    with(&[], "ws://origin.test/")
        .exited(1)
        .stderr_has("proxy: cannot connect");
    with(&[], &server.url).exited(0);
    with(&["--proxy", closed], &server.url)
        .exited(1)
        .stderr_has("proxy: cannot connect");
    with(&["--no-proxy"], &server.url).exited(0);
    with(&["--proxy", "gopher://me:hunter2@a"], &server.url)
        .exited(2)
        .stderr_has("--proxy: invalid proxy URL: the scheme must be http");
}

#[test]
fn an_untrusted_certificate_is_rejected() {
    let server = Server::start(&[]);
    connect(&server.localhost(), &[], "secret\n")
        .exited(1)
        .stderr_has("certificate")
        .stderr_has("--insecure");
}

#[test]
fn wss_to_a_server_without_tls_suggests_ws() {
    let server = Server::start(&["--cleartext"]);
    let url = server.url.replace("ws://", "wss://");
    connect(&url, &["--insecure"], "")
        .exited(1)
        .stderr_has("write a ws:// URL");
    let probed = run(&["probe", "--insecure", &url]);
    probed.exited(1);
    assert!(probed.stdout.contains("write a ws:// URL"), "{probed:?}");
}

#[test]
fn an_interrupt_works_while_the_server_does_not_read() {
    let (_runtime, url) = server(|request| async move {
        let _unread = request.accept().await.expect("a client");
        std::future::pending::<()>().await;
    });
    let line = "x".repeat(64 << 20) + "\n";
    for version in ["--http1", "--http2"] {
        let running = start_with(&mut h2ws(&["connect", version, &url]), &line);
        running.wait_for_stderr("open over");
        // Gives the program time to start sending the line.
        std::thread::sleep(std::time::Duration::from_millis(300));
        running.signal("INT");
        running.ended();
    }
}
