//! The options of `h2ws connect` in pipes.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{CloseCode, CloseFrame, Message, WebSocketConfig};

use crate::in_process::server;
use crate::process::{Running, Server, h2ws, run, run_with, start_with};

const VERSIONS: [&str; 2] = ["--http1", "--http2"];

/// Echoes with a mark in front, which tells text from binary messages.
async fn marks(request: WebSocketRequest) {
    let mut socket = request.accept().await.expect("open");
    while let Some(Ok(message)) = socket.next().await {
        let answer = match message {
            Message::Text(text) => Message::text(format!("text {}", text.as_str())),
            message => {
                let bytes = message.into_data();
                Message::binary([&b"binary "[..], &bytes].concat())
            }
        };
        if socket.send(answer).await.is_err() {
            break;
        }
    }
}

/// Runs `connect` in a shell, for output that is not UTF-8. Returns what `sh` printed.
fn shell(line: &str, url: &str) -> String {
    let mut sh = Command::new("sh");
    sh.args(["-c", line])
        .env("H2WS", env!("CARGO_BIN_EXE_h2ws"))
        .env("URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Running::start(&mut sh).ended().exited(0).stdout.clone()
}

#[test]
fn binary_messages_carry_bytes_as_they_are() {
    let server = Server::start(&["--cleartext"]);
    for version in VERSIONS {
        let line = format!(
            "head -c 300000 /dev/urandom >$0.in && \
             \"$H2WS\" connect --binary {version} \"$URL\" <$0.in | cmp - $0.in && echo same; rm $0.in"
        );
        let name = std::env::temp_dir().join(format!("h2ws-binary-{}", std::process::id()));
        let line = line.replace("$0", &name.display().to_string());
        assert_eq!(shell(&line, &server.url), "same\n");
        // All of stdin is one message.
        let (_runtime, url) = crate::in_process::server(marks);
        let line = format!(
            "head -c 200000 /dev/zero | \"$H2WS\" connect -1 --binary {version} \"$URL\" | wc -c"
        );
        assert_eq!(shell(&line, &url).trim(), "200007");
    }
}

#[test]
fn base64_stands_for_binary_messages() {
    let (_runtime, url) = server(marks);
    for version in VERSIONS {
        let ended = run_with(
            &mut h2ws(&["connect", version, "--base64", &url]),
            "/wA=\n\n",
        );
        // "binary \xff\0", "binary ".
        assert_eq!(ended.exited(0).stdout, "YmluYXJ5IP8A\nYmluYXJ5IA==\n");
    }
}

#[test]
fn what_cannot_be_sent_names_its_line_after_the_answers_to_those_before() {
    let (_runtime, url) = server(marks);
    for (option, input, output, error) in [
        (
            "--base64",
            "YQ==\n?\nYg==\n",
            "YmluYXJ5IGE=\n",
            "line 2 of stdin: not base64",
        ),
        (
            "--http2",
            "one\ntwo\n\\377\nfour\n",
            "text one\ntext two\n",
            "line 3 of stdin: not UTF-8 (--binary sends any bytes)",
        ),
    ] {
        let line = format!("printf '{input}' | \"$H2WS\" connect {option} \"$URL\" 2>&1; echo $?");
        let shown = shell(&line, &url);
        assert!(shown.contains(output), "{shown}");
        assert!(shown.contains(error), "{shown}");
        assert!(shown.ends_with("\n1\n"), "{shown}");
        assert!(!shown.contains("four"), "{shown}");
    }
}

#[test]
fn one_message_goes_out_and_one_comes_back() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        while let Some(Ok(message)) = socket.next().await {
            for _ in 0..3 {
                let _ = socket.send(message.clone()).await;
            }
        }
    });
    for version in VERSIONS {
        let connect = |args: &[&str], input| {
            run_with(
                h2ws(&["connect", version, "--one-message", &url]).args(args),
                input,
            )
        };
        assert_eq!(connect(&[], "a\nb\n").exited(0).stdout, "a\n");
        assert_eq!(connect(&["-x", "-c"], "b\n").exited(0).stdout, "-c\n");
        let silent = connect(&["--wait", "0.1"], "");
        silent.exited(1).stderr_has("no message arrived");
    }
}

#[test]
fn executed_messages_replace_stdin() {
    let (_runtime, url) = server(marks);
    for version in VERSIONS {
        let args = ["connect", version, "-x", "a\nb", "--execute", "", &url];
        let ended = run_with(&mut h2ws(&args), "unread\n");
        assert_eq!(ended.exited(0).stdout, "text a\nb\ntext \n");
    }
    let binary = run(&["connect", "--binary", "-x", "a", &url]);
    assert_eq!(binary.exited(0).stdout, "binary a");
}

#[test]
fn without_a_wait_it_stays_until_the_server_closes() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        for news in ["one", "two"] {
            let _ = socket.send(news).await;
        }
        let _ = socket.close(CloseFrame::from(CloseCode::NORMAL)).await;
    });
    for version in VERSIONS {
        let ended = run(&["connect", version, "--wait", "none", &url]);
        assert_eq!(ended.exited(0).stdout, "one\ntwo\n");
    }
}

#[test]
fn a_lost_websocket_is_opened_again() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let (_runtime, url) = server(|request| async move {
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        if number == 1 {
            return request.reject(http::StatusCode::SERVICE_UNAVAILABLE);
        }
        let mut socket = request.accept().await.expect("open");
        let _ = socket.send(format!("number {number}")).await;
        let subscription = socket.next().await.expect("open").expect("a message");
        let _ = socket.send(subscription).await;
        let code = if number == 0 {
            CloseCode::SERVICE_RESTART
        } else {
            CloseCode::NORMAL
        };
        let _ = socket.close(CloseFrame::from(code)).await;
    });
    let args = ["connect", "--reconnect", "-x", "news", "--wait", "none"];
    let ended = run_with(h2ws(&args).arg(&url), "");
    ended
        .exited(0)
        .stderr_has("code 1012")
        .stderr_has("trying again in ")
        .stderr_has("503")
        .stderr_has("closed by the peer: 1000");
    assert_eq!(ended.stdout, "number 0\nnews\nnumber 2\nnews\n");
}

#[test]
fn a_websocket_that_may_reconnect_carries_long_lines_and_ends_as_others_do() {
    let server = Server::start(&["--cleartext"]);
    let line = "x".repeat(1_000_000) + "\n";
    for version in VERSIONS {
        let args = ["connect", "--reconnect", version, &server.url];
        let ended = run_with(h2ws(&args).args(["--wait", "60"]), &line);
        ended.exited(0).stderr_has("open over");
        assert!(ended.stdout == line, "{} bytes", ended.stdout.len());
        let waiting = start_with(
            &mut h2ws(&["connect", "--reconnect", "ws://127.0.0.1:1"]),
            "",
        );
        waiting.wait_for_stderr("trying again in ");
        waiting.signal("INT");
        waiting.ended().exited(130);
    }
    let (_runtime, url) = crate::in_process::server(|request| async move {
        request.reject(http::StatusCode::FORBIDDEN);
    });
    run(&["connect", "--reconnect", &url])
        .exited(1)
        .stderr_has("403");
}

#[test]
fn connect_to_replaces_only_the_address() {
    let (_runtime, url) = server(|request| async move {
        let host = request.headers().get("host").cloned();
        let host = host.or_else(|| request.uri().authority()?.as_str().parse().ok());
        let mut socket = request.accept().await.expect("open");
        let host = host.expect("a host");
        let _ = socket.send(host.to_str().expect("text")).await;
        socket.next().await;
    });
    let place = url.trim_start_matches("ws://").trim_end_matches('/');
    let port = place.rsplit(':').next().expect("a port");
    for version in VERSIONS {
        for reconnect in [&[][..], &["--reconnect"]] {
            for place in [place, &format!("localhost:{port}")] {
                let args = ["connect", version, "-1", "ws://elsewhere.invalid/"];
                let ended = run(&[&args[..], reconnect, &["--connect-to", place]].concat());
                assert_eq!(ended.exited(0).stdout, "elsewhere.invalid\n");
            }
        }
    }
    run(&["connect", &url, "--connect-to", "nowhere.invalid:1"])
        .exited(1)
        .stderr_has("cannot resolve nowhere.invalid");
}

#[test]
fn time_limits_are_those_of_the_options() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", silent.local_addr().expect("an address"));
    for version in VERSIONS {
        let ended = run(&["connect", version, "--timeout", "0.1", &url]);
        ended.exited(1);
        // Over HTTP/2 the limit for SETTINGS may be the one that is reached.
        let found = ["timed out", "no SETTINGS in time"];
        let found = found.map(|text| ended.stderr.contains(text));
        assert!(found.contains(&true), "{ended:?}");
    }
}

#[test]
fn pings_are_sent_at_the_interval() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = runtime.block_on(async {
        let socket = WebSocketConfig::default().control_messages(true);
        let server = h2ws::Server::builder().socket(socket).bind("127.0.0.1:0");
        let server = server.await.expect("a free port");
        let address = server.local_addr().expect("an address");
        // Closes after the first Ping.
        let handler = |request: WebSocketRequest| async move {
            let mut socket = request.accept().await.expect("open");
            while let Some(Ok(message)) = socket.next().await {
                if matches!(message, Message::Ping(_)) {
                    let _ = socket.close(CloseFrame::from(CloseCode::NORMAL)).await;
                }
            }
        };
        tokio::spawn(server.serve(handler).into_future());
        format!("ws://{address}/")
    });
    for version in VERSIONS {
        let args = [
            "connect",
            version,
            "--ping-interval",
            "0.05",
            "--wait",
            "none",
        ];
        let ended = run(&[&args[..], &[&url]].concat());
        ended.exited(0).stderr_has("closed by the peer: 1000");
    }
}

#[test]
fn wrong_values_exit_2_before_connecting() {
    for (args, what) in [
        (&["--connect-to", "a"][..], "expected HOST:PORT, such as"),
        (&["--connect-to", "a:1:b:2"], "expected HOST:PORT, such as"),
        (&["--timeout", "0"], "from 0.001 to 1000000"),
        (&["--timeout", "none"], "from 0.001 to 1000000"),
        (&["--ping-interval", "0"], "from 0.001 to 1000000"),
        (&["--ping-interval", "-1"], "ping-interval"),
        (&["--wait", "x"], "from 0 to 1000000, or none"),
        (&["--base64", "-x", "?"], "--execute: not base64"),
        (&["--base64", "--binary"], "cannot be used with"),
        (
            &["--one-message", "-x", "a", "-x", "b"],
            "--one-message sends one message, not 2",
        ),
        (&["-x"], "--execute <MESSAGE>"),
    ] {
        let ended = run(&[&["connect", "ws://127.0.0.1:1"], args].concat());
        ended.exited(2).stderr_has(what);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

/// Over HTTP/2, whose window the line fills; over HTTP/1.1 it could wait in the system's buffers.
#[test]
fn the_wait_begins_when_all_has_been_sent() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        // Longer than the client waits.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        while let Some(Ok(message)) = socket.next().await {
            let length = message.len().to_string();
            let _ = socket.send(length).await;
        }
    });
    let line = "x".repeat(1_000_000);
    let args = ["connect", "--http2", "--wait", "1.5", &url];
    assert_eq!(
        run_with(&mut h2ws(&args), &line).exited(0).stdout,
        "1000000\n"
    );
}
