//! Operating `h2ws bridge`: reload, drain, metrics, access log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use h2ws::{Client, CloseCode, HttpVersion, Message, WebSocket};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::in_process::{assert_echo, client, until};
use crate::process::{Scratch, Server, h2ws, run};

/// Starts an echo server that accepts this subprotocol, by which the tests identify it.
fn backend(name: &str) -> Server {
    Server::start(&["--cleartext", "--subprotocol", name])
}

pub(crate) async fn open(client: &Client, url: &str) -> WebSocket {
    let request = client.request(url).subprotocol("one").subprotocol("two");
    request.connect().await.expect("open")
}

/// A bridge with a configuration file that can be replaced.
struct Bridge {
    files: Scratch,
    server: Server,
}

impl Bridge {
    fn start(routes: &str, args: &[&str]) -> Self {
        let files = Scratch::new();
        let file = files.file("bridge.toml", &Self::text(routes));
        let server = Server::bridge(&[&["--config", &file], args].concat());
        Self { files, server }
    }

    fn text(routes: &str) -> String {
        format!("cleartext = true\n{routes}")
    }

    fn reload(&self, routes: &str) {
        self.files.file("bridge.toml", &Self::text(routes));
        self.server.running.signal("HUP");
    }

    fn url(&self) -> &str {
        &self.server.url
    }
}

fn to(backend: &Server) -> String {
    format!("[[route]]\nto = \"{}\"\n", backend.url)
}

/// Sends a GET request and returns the response's status and body.
pub(crate) fn get(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("a URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut tcp = TcpStream::connect(address).expect("a connection");
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("an answer");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.expect("a status"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_to_new_sockets_and_keeps_open_ones() {
    let (one, two) = (backend("one"), backend("two"));
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let bridge = Bridge::start(&to(&one), &[]);
        let client = client(version);
        let mut old = open(&client, bridge.url()).await;
        assert_eq!(old.subprotocol(), Some("one"));
        bridge.reload(&to(&two));
        bridge.server.running.wait_for_stderr("reloaded");
        let mut new = open(&client, bridge.url()).await;
        assert_eq!(new.subprotocol(), Some("two"));
        assert_echo(&mut old, "still").await;
        assert_echo(&mut new, "here").await;

        bridge.reload("[[route]]\nto = \"gopher://a\"\nhots = \"b\"\n");
        bridge
            .server
            .running
            .wait_for_stderr("the old configuration stays in use");
        let stderr = bridge.server.running.stderr_so_far();
        for mistake in [
            "bridge.toml:3: gopher://a",
            "bridge.toml:4: unknown key \"hots\"; did you mean host? expected one of ",
        ] {
            assert!(stderr.contains(mistake), "{stderr}");
        }
        let kept = open(&client, bridge.url()).await;
        assert_eq!(kept.subprotocol(), Some("two"));
        assert_echo(&mut old, "still").await;
        old.close(None).await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loads_the_certificate_again() {
    let one = backend("one");
    let files = Scratch::new();
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        files.file("cert.pem", &made.cert.pem());
        files.file("key.pem", &made.signing_key.serialize_pem());
        made.cert.der().clone()
    };
    let trusting = |certificate| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        let builder = Client::builder().tls(config.with_no_client_auth());
        builder.build().expect("a client")
    };
    let first = write();
    let text = format!(
        "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{}",
        to(&one)
    );
    let file = files.file("bridge.toml", &text);
    let bridge = Server::bridge(&["--config", &file]);
    let old = trusting(first);
    let mut socket = open(&old, &bridge.localhost()).await;
    let renewed = trusting(write());
    assert!(renewed.connect(&bridge.localhost()).await.is_err());
    bridge.running.signal("HUP");
    bridge.running.wait_for_stderr("reloaded");
    let mut new = open(&renewed, &bridge.localhost()).await;
    assert_echo(&mut new, "new").await;
    assert_echo(&mut socket, "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_served_and_a_draining_bridge_is_not_ready() {
    let one = backend("one");
    let routes = format!(
        "metrics = \"127.0.0.1:0\"\n{}name = \"chat\"\npath = \"/chat\"\n",
        to(&one)
    );
    let mut bridge = Bridge::start(&routes, &[]);
    let line = bridge.server.running.line();
    let metrics = line.trim_end().strip_prefix("metrics at ");
    let metrics = metrics.expect("the URL of the metrics").to_owned();
    let admin = metrics.strip_suffix("/metrics").expect("their path");
    assert_eq!(get(&format!("{admin}/healthz")).0, 200);
    assert_eq!(get(&format!("{admin}/readyz")).0, 200);
    assert_eq!(get(&format!("{admin}/other")).0, 404);
    let address = admin
        .strip_prefix("http://")
        .expect("its scheme")
        .to_owned();
    let health = |more: &[&str]| run(&[&["health", &address], more].concat());
    assert_eq!(health(&[]).exited(0).stdout, "alive\n");
    assert_eq!(health(&["--ready"]).exited(0).stdout, "ready\n");

    let client = client(HttpVersion::Http2);
    let chat = format!("{}/chat", bridge.url());
    let mut socket = open(&client, &chat).await;
    assert_echo(&mut socket, "hello").await;
    let refused = client.connect(bridge.url()).await;
    assert_eq!(
        refused
            .expect_err("no route")
            .rejected_response()
            .expect("an answer")
            .status,
        404
    );
    let has = |line: &str| {
        let (status, text) = get(&metrics);
        assert_eq!(status, 200);
        assert!(text.ends_with("# EOF\n"), "{text}");
        text.lines().any(|one| one == line)
    };
    let server = one.url.clone();
    for line in [
        "h2ws_bridge_sockets{route=\"chat\"} 1",
        "h2ws_bridge_requests_total{route=\"chat\",status=\"200\"} 1",
        "h2ws_bridge_requests_total{route=\"\",status=\"404\"} 1",
        "h2ws_bridge_answer_seconds_count{route=\"chat\"} 1",
        &format!("h2ws_bridge_upstream_fit{{route=\"chat\",upstream=\"{server}\",address=\"\"}} 1"),
        &format!(
            "h2ws_bridge_upstream_sockets{{route=\"chat\",upstream=\"{server}\",address=\"\"}} 1"
        ),
        "h2ws_bridge_draining 0",
    ] {
        assert!(has(line), "no {line}: {}", get(&metrics).1);
    }
    socket.close(None).await.expect("closed");
    until(|| has("h2ws_bridge_sockets{route=\"chat\"} 0")).await;
    for line in [
        "h2ws_bridge_sockets_closed_total{route=\"chat\",by=\"client\",how=\"close\"} 1",
        "h2ws_bridge_socket_seconds_count{route=\"chat\"} 1",
        "h2ws_bridge_connections{side=\"client\",version=\"2\"} 1",
        "h2ws_bridge_handshakes_total{side=\"client\",version=\"2\",result=\"accepted\"} 1",
        "h2ws_bridge_handshakes_total{side=\"client\",version=\"2\",result=\"refused\"} 1",
        "h2ws_bridge_handshakes_total{side=\"upstream\",version=\"1.1\",result=\"accepted\"} 1",
        // A masked frame of five bytes and a Close frame; an unmasked one, and one.
        "h2ws_bridge_bytes_total{route=\"chat\",direction=\"up\"} 17",
        "h2ws_bridge_bytes_total{route=\"chat\",direction=\"down\"} 9",
    ] {
        assert!(has(line), "no {line}: {}", get(&metrics).1);
    }

    // A raw stream does not answer the Close frame, so the drain waits.
    let mut held = client.request(&chat).connect_raw().await.expect("open");
    bridge.server.running.signal("TERM");
    let mut close = [0; 4];
    held.read_exact(&mut close).await.expect("a Close frame");
    assert_eq!(close[2..], 1001_u16.to_be_bytes());
    until(|| get(&format!("{admin}/readyz")) == (503, "draining\n".to_owned())).await;
    assert_eq!(get(&format!("{admin}/healthz")).0, 200);
    assert!(has("h2ws_bridge_draining 1"));
    health(&[]).exited(0);
    health(&["--ready"])
        .exited(1)
        .stderr_has("/readyz: 503 Service Unavailable: draining");
    drop(held);
    bridge.server.ended().exited(0);
}

/// During the drain delay the bridge is not ready but still accepts; after it, the drain begins.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_accepted_during_the_drain_delay() {
    let one = backend("one");
    let routes = format!("metrics = \"127.0.0.1:0\"\n{}", to(&one));
    for (file, args, ends) in [
        ("drain_delay = \"1h\"\n", &[][..], false),
        ("drain_delay = \"1h\"\n", &["--drain-delay", "0.2"], true),
    ] {
        let mut bridge = Bridge::start(&format!("{file}{routes}"), args);
        let line = bridge.server.running.line();
        let admin = line.trim_end().strip_prefix("metrics at ");
        let admin = admin.and_then(|url| url.strip_suffix("/metrics"));
        let ready = format!("{}/readyz", admin.expect("the URL of the metrics"));
        let client = client(HttpVersion::Http1);
        let mut old = open(&client, bridge.url()).await;
        bridge.server.running.signal("TERM");
        if ends {
            assert!(old.next().await.is_none());
            assert_eq!(old.close_code(), Some(CloseCode::GOING_AWAY));
            drop(old);
            bridge.server.ended().exited(0);
        } else {
            until(|| get(&ready).0 == 503).await;
            let mut new = open(&client, bridge.url()).await;
            assert_echo(&mut new, "new").await;
            assert_echo(&mut old, "old").await;
            bridge.server.running.signal("TERM");
            bridge
                .server
                .ended()
                .exited(1)
                .stderr_has("stopped at once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_as_json_has_the_documented_keys() {
    let one = backend("one");
    let routes = format!("{}name = \"chat\"\npath = \"/chat/*\"\n", to(&one));
    let bridge = Bridge::start(&routes, &["--log-format", "json"]);
    let client = client(HttpVersion::Http2);
    let mut socket = open(&client, &format!("{}/chat/room?token=secret", bridge.url())).await;
    assert_echo(&mut socket, "hello").await;
    socket.close(None).await.expect("closed");
    assert!(
        client
            .connect(&format!("{}/other", bridge.url()))
            .await
            .is_err()
    );
    bridge.server.running.signal("TERM");
    let server = one.url.clone();
    let authority = bridge.url().replace("ws://", "");
    let ended = bridge.server.ended();
    ended.exited(0);
    assert!(!ended.stderr.contains("secret"), "{ended:?}");
    let mut lines: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["target"] == "h2ws::access")
        .collect();
    // The order varies: a line is written at the very end, for which the client does not wait.
    lines.sort_by_key(|line| line["path"].to_string());
    let [closed, refused] = &lines[..] else {
        panic!("not two lines: {lines:?}");
    };
    for (key, value) in [
        ("level", "INFO"),
        ("authority", &authority),
        ("path", "/chat/room"),
        ("route", "chat"),
        ("upstream", &server),
        ("closed", "close"),
        ("closed_by", "client"),
    ] {
        assert_eq!(closed[key], value, "{closed}");
    }
    for (key, value) in [
        ("status", 200),
        ("messages_up", 1),
        ("messages_down", 1),
        ("bytes_up", 17),
        ("bytes_down", 9),
        ("code", 1005),
    ] {
        assert_eq!(closed[key], value, "{closed}");
    }
    assert!(
        closed["peer"]
            .as_str()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );
    for key in ["answer_ms", "first_byte_ms", "duration_ms"] {
        assert!(closed[key].is_u64(), "{key}: {closed}");
    }
    assert!(closed["timestamp"].is_string());
    assert_eq!(refused["status"], 404, "{refused}");
    assert_eq!(refused["closed"], "rejected", "{refused}");
    assert_eq!(refused["route"], Value::Null, "{refused}");
    // A template may have all of them.
    let keys = closed.as_object().expect("an object").keys();
    let keys = keys.filter(|key| !["timestamp", "level", "target"].contains(&key.as_str()));
    let template: String = keys.map(|key| format!("{{{key}}} ")).collect();
    let text = format!("access_log = '{template}'\n[[route]]\nto = \"ws://a\"\n");
    let file = Scratch::new();
    run(&["bridge", "--config", &file.file("f", &text), "--check"]).exited(0);
}

/// What a client sends cannot end the quotes around it, or the line.
#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_the_fields_of_a_template() {
    let one = backend("one");
    let template = "{time} {client} \"{user_agent}\" {message} {{{status}}} {code} {subprotocol} {closed_by}/{reason}";
    let text = |format: &str| format!("access_log = '{format}'\n{}", to(&one));
    let bridge = Bridge::start(&text(template), &[]);
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let agent = "a\" 200 \"b\\\tc";
        let request = client(version);
        let request = request.request(bridge.url()).header("user-agent", agent);
        let request = request.subprotocol("one");
        let mut socket = request.connect().await.expect("open");
        assert_echo(&mut socket, "hello").await;
        socket.close(None).await.expect("closed");
    }
    bridge.server.running.wait_for_stderr("{101}");
    bridge.server.running.wait_for_stderr("{200}");
    bridge.reload(&text("none"));
    bridge.server.running.wait_for_stderr("reloaded");
    let mut socket = open(&client(HttpVersion::Http1), bridge.url()).await;
    socket.close(None).await.expect("closed");
    bridge.server.running.signal("TERM");
    let ended = bridge.server.ended();
    for status in ["101", "200"] {
        let line = format!(
            " 127.0.0.1 \"a\\\" 200 \\\"b\\\\\\tc\" socket {{{status}}} 1005 one client/closed by a Close frame"
        );
        let found = ended.stderr.lines().filter(|found| found.ends_with(&line));
        assert_eq!(found.count(), 1, "no {line}: {ended:?}");
    }
    assert_eq!(ended.stderr.matches("1005").count(), 2, "{ended:?}");
    assert!(!ended.stderr.contains("h2ws::access"), "{ended:?}");
}

/// Reloads lose no message of busy WebSockets, and a drain closes each between two messages, with
/// 1001.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_and_a_drain_under_load_lose_nothing() {
    const SOCKETS: usize = 20;
    const AHEAD: u64 = 8;
    let (one, two) = (backend("one"), backend("two"));
    let bridge = Bridge::start(&to(&one), &[]);
    let echoes = Arc::new(AtomicU64::new(0));
    let mut talks = JoinSet::new();
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let client = client(version);
        for _ in 0..SOCKETS / 2 {
            let mut socket = open(&client, bridge.url()).await;
            let echoes = echoes.clone();
            talks.spawn(async move {
                let (mut sent, mut received) = (0_u64, 0_u64);
                let closed = loop {
                    while sent < received + AHEAD {
                        // Fails once the Close frame has arrived.
                        let message = Message::text(sent.to_string());
                        if socket.feed(message).await.is_err() {
                            break;
                        }
                        sent += 1;
                    }
                    let _ = socket.flush().await;
                    match socket.next().await {
                        Some(Ok(echo)) => assert_eq!(echo, Message::text(received.to_string())),
                        closed => break closed,
                    }
                    received += 1;
                    echoes.fetch_add(1, Ordering::Relaxed);
                };
                assert!(closed.is_none(), "{closed:?}");
                (received, socket.close_code())
            });
        }
    }
    let progress = async || {
        let enough = echoes.load(Ordering::Relaxed) + 50 * SOCKETS as u64;
        until(|| echoes.load(Ordering::Relaxed) >= enough).await;
    };
    for reload in 1..=4 {
        progress().await;
        bridge.reload(&to(if reload % 2 == 0 { &one } else { &two }));
        let reloads = || {
            bridge
                .server
                .running
                .stderr_so_far()
                .matches("reloaded")
                .count()
        };
        until(|| reloads() == reload).await;
    }
    progress().await;
    bridge.server.running.signal("TERM");
    while let Some(talk) = talks.join_next().await {
        let (received, code) = talk.expect("no message is lost");
        assert!(received > 0);
        assert_eq!(code, Some(CloseCode::GOING_AWAY));
    }
    bridge.server.ended().exited(0);
}

#[test]
fn with_log_format_json_every_line_is_json() {
    // Without --cert, so that there is a notice about the self-signed certificate.
    let files = Scratch::new();
    let text = "log_format = \"json\"\n[[route]]\nto = \"ws://127.0.0.1:1\"\n";
    let file = files.file("bridge.toml", text);
    for args in [
        &["--to", "ws://127.0.0.1:1", "--log-format", "json"][..],
        &["--config", &file],
    ] {
        let more = [
            "--metrics",
            "127.0.0.1:0",
            "--redirect-https",
            "127.0.0.1:0",
        ];
        let bridge = Server::bridge(&[args, &more, &["-v"]].concat());
        // Spans of both versions, to which fields are added later.
        for version in ["--http1", "--http2"] {
            run(&["connect", "--insecure", version, &bridge.url]).exited(1);
        }
        bridge.running.wait_for_stderr("\"stream\":1");
        let taken = bridge.url.replace("wss://", "");
        let failed = run(&[&["bridge", "--listen", &taken], args].concat());
        failed.exited(1).stderr_has("cannot listen");
        bridge.running.signal("HUP");
        bridge.running.signal("TERM");
        let ended = bridge.ended();
        ended
            .exited(0)
            .stderr_has("self-signed")
            .stderr_has("draining");
        let last = ended.stderr.lines().next_back().unwrap_or_default();
        assert!(last.contains("\"message\":\"stopped\""), "{last}");
        let said = [&ended.stdout, &ended.stderr, &failed.stderr].map(|text| text.lines());
        for line in said.into_iter().flatten() {
            let line: Value = serde_json::from_str(line).expect(line);
            for key in ["timestamp", "level", "message", "target"] {
                assert!(line[key].is_string(), "{key}: {line}");
            }
        }
        let messages = ended.stdout.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect(line);
            assert!(
                line["url"]
                    .as_str()
                    .is_some_and(|url| url.contains("://127.0.0.1:"))
            );
            line["message"].as_str().unwrap_or_default().to_owned()
        });
        let messages: Vec<_> = messages.collect();
        assert_eq!(messages, ["redirecting to https", "serving metrics"]);
    }
    // What a check prints is for people.
    let text = "log_format = \"json\"\n[[route]]\nto = \"ws+unix:/nowhere:/\"\n";
    let file_with_notice = files.file("notice.toml", text);
    for format in [&[][..], &["--log-format", "json"]] {
        let checked = run(&[
            &["bridge", "--check", "--config", &file_with_notice],
            format,
        ]
        .concat());
        checked.exited(0);
        assert_eq!(checked.stdout, "no errors, 1 route\n");
        assert!(checked.stderr.starts_with("h2ws: "), "{checked:?}");
        assert_eq!(checked.stderr.lines().count(), 1, "{checked:?}");
    }
    // The option takes precedence.
    let bridge = Server::bridge(&["--config", &file, "--log-format", "text"]);
    bridge.running.wait_for_stderr("h2ws: no --cert");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_without_websockets_is_logged_with_its_answer() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let upstream = upstream.expect("a free port");
    let url = format!("ws://{}", upstream.local_addr().expect("an address"));
    let bridge = Server::bridge(&["--to", &url, "--cleartext"]);
    let answered = tokio::spawn(async move {
        let (mut io, _) = upstream.accept().await.expect("a connection");
        let mut request = [0; 4096];
        let _ = io.read(&mut request).await.expect("a request");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        io.write_all(answer).await.expect("answered");
        io
    });
    let error = client(HttpVersion::Http2).connect(&bridge.url).await;
    let refusal = error.expect_err("refused");
    assert_eq!(refusal.rejected_response().expect("an answer").status, 502);
    let _io = answered.await.expect("no panic");
    bridge
        .running
        .wait_for_stderr(&format!("{url} error=\"the server answered 200 OK\""));
}

/// Each key that needs a restart is named with its line, and everything else is applied.
#[test]
fn a_reload_names_what_needs_a_restart_with_its_line() {
    let text = |limit: u32, name: &str, more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\ncleartext = true\n{more}[[listener]]\n\
             listen = \"127.0.0.1:0\"\nmax_connections = {limit}\n[limits]\n\
             max_connections = {limit}\n[tcp]\nkeepalive_idle = \"{limit}s\"\n\
             [[route]]\nname = \"{name}\"\nto = \"ws://127.0.0.1:1\"\n"
        )
    };
    let files = Scratch::new();
    let file = files.file("bridge.toml", &text(20, "old", "drain_delay = \"1s\"\n"));
    let bridge = Server::start_with(&mut h2ws(&["bridge", "--config", &file]));
    files.file("bridge.toml", &text(30, "new", "log_format = \"json\"\n"));
    bridge.running.signal("HUP");
    bridge.running.wait_for_stderr(
        "not applied before a restart: log_format (line 3), drain_delay (removed), tcp (line 9), \
         limits.max_connections (line 8), max_connections of the [[listener]] on line 4; \
         all other changes are",
    );
    bridge.running.wait_for_stderr("reloaded");
    let url = bridge.url.replacen("ws", "http", 1);
    get(&format!("{url}/"));
    bridge.running.wait_for_stderr("route=new");
}

#[test]
fn health_says_when_it_asks_another_port() {
    let other = Server::start(&["--cleartext"]);
    let secure = Server::start(&[]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mail = silent.local_addr().expect("an address");
    let mail = format!("smtp://{mail}");
    let greeting = std::thread::spawn(move || {
        let (mut tcp, _) = silent.accept().expect("a connection");
        tcp.write_all(b"220 mail ready\r\n").expect("sent");
        let _ = tcp.read(&mut [0; 100]);
    });
    for (url, what) in [
        (&mail, "does not answer as HTTP"),
        (&other.url, "404 Not Found"),
        (
            &secure.url,
            "400 Bad Request: this port speaks TLS; use https:// or wss://",
        ),
    ] {
        let address = url.split("://").nth(1).expect("an address");
        let ended = run(&["health", address]);
        ended
            .exited(1)
            .stderr_has(what)
            .stderr_has("is it the address of --metrics?");
    }
    greeting.join().expect("no panic");
}

#[test]
fn a_taken_port_of_the_metrics_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(&[
        "bridge",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "ws://a",
        "--metrics",
        &address,
    ]);
    ended
        .exited(1)
        .stderr_has(&format!("metrics: cannot listen on {address}: "));
}
