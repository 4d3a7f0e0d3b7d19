//! `h2ws connect`.

use std::net::SocketAddr;

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{CloseCode, CloseFrame};

use crate::process::{Ended, Server, h2ws, run, run_with, start_with};

fn connect(url: &str, args: &[&str], input: &str) -> Ended {
    run_with(h2ws(&["connect", url]).args(args), input)
}

/// A server in this process, for what `serve` does not do.
fn server<F>(handler: fn(WebSocketRequest) -> F) -> (tokio::runtime::Runtime, SocketAddr)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = runtime.block_on(async {
        let server = h2ws::Server::builder().bind("127.0.0.1:0").await;
        let server = server.expect("a free port");
        let address = server.local_addr().expect("an address");
        tokio::spawn(server.serve(handler).into_future());
        address
    });
    (runtime, address)
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
            .says(&format!("open over {carrier} connection"));
        assert_eq!(ended.stdout, "one\n\nthree: čtyři\n", "{url} {args:?}");
    }
    let https = tls.url.replace("wss://", "https://");
    connect(&https, &["--insecure"], "x")
        .exited(0)
        .says("HTTP/2");
}

/// The server feeds its echo and reads on; longer messages leave in pieces.
#[test]
fn a_long_line_comes_back_whole() {
    let server = Server::start(&["--cleartext"]);
    let line = "x".repeat(1_000_000) + "\n";
    for version in ["--http1", "--http2"] {
        let ended = connect(&server.url, &[version, "--wait", "60"], &line);
        ended.exited(0);
        assert!(ended.stdout == line, "{} bytes", ended.stdout.len());
    }
}

#[test]
fn a_server_without_the_capability_is_spoken_to_in_http1() {
    let server = Server::start(&["--no-extended-connect"]);
    let ended = connect(&server.url, &["--insecure"], "hello\n");
    ended.exited(0).says("open over HTTP/1.1 connection");
    assert_eq!(ended.stdout, "hello\n");
    connect(&server.url, &["--insecure", "--http2"], "")
        .exited(1)
        .says("does not take WebSockets over HTTP/2");
}

#[test]
fn a_refusal_is_a_failure_with_its_status() {
    let server = Server::start(&["--cleartext", "--allow-origin", "https://ok.example"]);
    for version in ["--http1", "--http2"] {
        let from = |origin| connect(&server.url, &[version, "--origin", origin], "in\n");
        from("https://evil.example").exited(1).says("403");
        assert_eq!(from("https://ok.example").exited(0).stdout, "in\n");
    }
}

#[test]
fn subprotocols_are_agreed_on() {
    let server = Server::start(&["--cleartext", "--subprotocol", "chat"]);
    for version in ["--http1", "--http2"] {
        let args = [version, "--subprotocol", "other", "--subprotocol", "chat"];
        connect(&server.url, &args, "")
            .exited(0)
            .says("subprotocol chat");
    }
}

#[test]
fn header_fields_reach_the_server() {
    let (_runtime, address) = server(|request| async move {
        let token = request.headers().get("x-token").cloned();
        if token.is_some_and(|token| token == "a: b") {
            if let Ok(mut socket) = request.accept().await {
                socket.next().await;
            }
        } else {
            request.reject(http::StatusCode::UNAUTHORIZED);
        }
    });
    let url = format!("ws://{address}/");
    connect(&url, &[], "").exited(1).says("401");
    connect(&url, &["-H", "X-Token: a: b"], "")
        .exited(0)
        .says("open over");
    connect(&url, &["-H", "Sec-WebSocket-Key: mine"], "").exited(2);
}

#[test]
fn how_the_peer_ends_decides_the_exit_status() {
    let (_runtime, address) = server(|request| async move {
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
        // An answer to "x" is waited for, so only the peer ends it.
        let connect = |path: &str| {
            let url = format!("ws://{address}{path}");
            run_with(
                &mut h2ws(&["connect", &url, version, "--wait", "60"]),
                "x\n",
            )
        };
        connect("/done")
            .exited(0)
            .says("closed by the peer: 1000 because");
        connect("/failed").exited(1).says("code 1011");
        connect("/cut").exited(1);
    }
}

#[test]
fn what_cannot_be_reached_is_a_failure() {
    connect("ws://127.0.0.1:1", &[], "")
        .exited(1)
        .says("cannot connect");
}

#[test]
fn proxies_are_taken_from_the_environment_and_the_command_line() {
    // Nobody listens at port 1.
    let nobody = "http://me:hunter2@127.0.0.1:1";
    let with = |args: &[&str], url: &str| {
        let mut command = h2ws(&["-vv", "connect", url]);
        let ended = run_with(command.args(args).env("http_proxy", nobody), "hello\n");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
        ended
    };
    let server = Server::start(&["--cleartext"]);
    with(&[], "ws://origin.test/")
        .exited(1)
        .says("proxy: cannot connect");
    with(&[], &server.url).exited(0);
    with(&["--proxy", nobody], &server.url)
        .exited(1)
        .says("proxy: cannot connect");
    with(&["--no-proxy"], &server.url).exited(0);
    with(&["--proxy", "gopher://me:hunter2@a"], &server.url)
        .exited(2)
        .says("proxy: the URL's scheme");
}

#[test]
fn an_unknown_certificate_is_refused() {
    let server = Server::start(&[]);
    connect(&server.localhost(), &[], "secret\n")
        .exited(1)
        .says("certificate")
        .says("--insecure");
}

#[test]
fn tls_with_a_server_that_has_none_is_told_from_other_failures() {
    let server = Server::start(&["--cleartext"]);
    let url = server.url.replace("ws://", "wss://");
    connect(&url, &["--insecure"], "")
        .exited(1)
        .says("is it a ws:// URL?");
    let probed = run(&["probe", "--insecure", &url]);
    probed.exited(1);
    assert!(probed.stdout.contains("is it a ws:// URL?"), "{probed:?}");
}

#[test]
fn a_line_that_the_server_does_not_take_does_not_hold_up_an_interrupt() {
    let (_runtime, address) = server(|request| async move {
        let _unread = request.accept().await.expect("a client");
        std::future::pending::<()>().await;
    });
    let url = format!("ws://{address}");
    let line = "x".repeat(64 << 20) + "\n";
    for version in ["--http1", "--http2"] {
        let running = start_with(&mut h2ws(&["connect", version, &url]), &line);
        running.says("open over");
        // The line is on its way by then, or the interrupt is too easy.
        std::thread::sleep(std::time::Duration::from_millis(300));
        running.signal("INT");
        running.ended();
    }
}
