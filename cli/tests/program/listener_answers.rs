//! What a listener answers by itself: each answer is a line of the access log and is counted, like
//! those of the routes.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::bridge_operations::get;
use crate::certificates::authority;
use crate::process::{Scratch, Server, h2ws, run};

/// Sends a request and returns all of the answer.
fn ask(address: &str, path: &str, fields: &str) -> String {
    let mut tcp = TcpStream::connect(address).expect("a connection");
    let request =
        format!("GET /{path}?secret HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    let request = match fields {
        "" => request,
        _ => request.replace("connection: close\r\n", "connection: upgrade\r\n"),
    };
    tcp.write_all(format!("{request}{fields}\r\n").as_bytes())
        .expect("sent");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("an answer");
    answer
}

const WEBSOCKET: &str = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn answers_without_tls_are_logged_and_counted() {
    let files = Scratch::new();
    authority(&files, "ours", "localhost");
    let text = "metrics = \"127.0.0.1:0\"\naccess_log = \"json\"\nlisten = \"127.0.0.1:0\"\n\
                [tls]\ncert = \"ours-leaf.pem\"\nkey = \"ours-leaf.key\"\n\
                [[listener]]\nlisten = \"127.0.0.1:0\"\nredirect_https = true\n\
                [[route]]\nto = \"ws://127.0.0.1:1\"\n";
    let file = files.file("bridge.toml", text);
    let mut bridge = Server::start_with(&mut h2ws(&["bridge", "--config", &file]));
    let tls = bridge.url.strip_prefix("wss://").expect("TLS").to_owned();
    let (_, port) = tls.rsplit_once(':').expect("a port");
    let mut line = |prefix: &str| {
        let line = bridge.running.line();
        let rest = line.trim_end().strip_prefix(prefix).expect("the line");
        rest.to_owned()
    };
    let redirect = line("redirecting http://").replace(" to https", "");
    let metrics = line("metrics at ");

    for (address, fields, status, text, message, closed) in [
        (
            &tls,
            "",
            400,
            "this port speaks TLS; use https:// or wss://",
            "rejected",
            "rejected",
        ),
        (
            &tls,
            WEBSOCKET,
            400,
            "this port speaks TLS; use https:// or wss://",
            "rejected",
            "rejected",
        ),
        (&redirect, "", 308, "use https", "redirected", "answered"),
        (
            &redirect,
            WEBSOCKET,
            403,
            "WebSockets need TLS here; use wss://127.0.0.1:",
            "rejected",
            "rejected",
        ),
    ] {
        let path = format!("{status}-{}", fields.len());
        let answer = ask(address, &path, fields);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
        if text.ends_with(':') {
            assert!(answer.contains(&format!("{text}{port}\n")), "{answer}");
        }
        let wanted = format!("\"path\":\"/{path}\"");
        bridge.running.wait_for_stderr(&wanted);
        let log = bridge.running.stderr_so_far();
        let logged = log
            .lines()
            .rev()
            .find(|line| line.contains(&wanted))
            .expect("a line");
        let logged: Value = serde_json::from_str(logged).expect("JSON");
        assert_eq!(logged["status"], status, "{logged}");
        assert_eq!(logged["message"], message, "{logged}");
        assert_eq!(logged["closed"], closed, "{logged}");
        assert_eq!(logged["authority"], *address, "{logged}");
        assert!(logged["reason"].is_string(), "{logged}");
    }
    let text = get(&metrics).1;
    for line in [
        "requests_total{route=\"\",status=\"400\"} 1",
        "requests_total{route=\"\",status=\"403\"} 1",
        "http_requests_total{route=\"\",status=\"400\"} 1",
        "http_requests_total{route=\"\",status=\"308\"} 1",
    ] {
        let line = format!("h2ws_bridge_{line}");
        assert!(text.lines().any(|one| one == line), "no {line}: {text}");
    }
    // What our own client makes of it.
    for address in [&tls, &redirect] {
        let ended = run(&["connect", &format!("ws://{address}/")]);
        ended.exited(1).stderr_has("wss://");
    }
}
