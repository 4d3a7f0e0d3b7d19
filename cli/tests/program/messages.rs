//! Error messages of clients (where, why, and what to try), and the log of a server that rejects
//! them.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::certificates::{authority, connect};
use crate::process::{Scratch, Server, run};

/// Returns an address on which no program listens.
fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// Returns the URL of a server that answers whatever is not TLS by an alert, as OpenSSL's does.
fn tls_alone() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            let mut peer = peer;
            // The client may be gone by then.
            let _ = peer.read(&mut [0; 1024]);
            let _ = peer.write_all(b"\x15\x03\x03\0\x02\x02\x46");
        }
    });
    url
}

/// Returns the address of a server that closes each connection at the first bytes, as some do that
/// expect something other than TLS.
fn closing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.expect("a connection");
            let _ = peer.read(&mut [0; 4096]);
        }
    });
    address
}

#[test]
fn errors_name_the_address_and_what_to_try() {
    let closed = closed_address();
    let tls = Server::start(&[]);
    let clear = Server::start(&["--cleartext"]);
    let to_tls = tls.url.replace("wss://", "ws://");
    let to_clear = clear.url.replace("ws://", "wss://");
    let refused = format!("ws://{closed}/");
    let refused_place = format!("cannot connect to {closed}: ");
    let named = refused.replace("127.0.0.1", "localhost");
    let proxied = format!("http://{closed}");
    let foreign = tls_alone();
    let wss = "try wss:// instead of ws://";
    let answer = "400 Bad Request: this port speaks TLS; use https:// or wss://";
    let no_scheme = clear.url.replace("ws://", "");
    let write_ws = "does not use TLS on this port; write a ws:// URL (wss:// is the default)";
    let closing = closing_server();
    let closed_by = "the server closed the connection; if it does not use TLS on this port, write";
    let table: [(&[&str], &str); 12] = [
        (&[&refused], &refused_place),
        (&[&named], &closed),
        (
            &["ws://nowhere.invalid/"],
            "cannot connect to nowhere.invalid: ",
        ),
        (&[&refused, "--proxy", &proxied], &refused_place),
        (&[&to_tls, "--http1"], answer),
        (&[&to_tls, "--http2"], answer),
        (&[&foreign, "--http1"], wss),
        (&[&foreign, "--http2"], wss),
        (&[&to_clear], write_ws),
        (&[&no_scheme], write_ws),
        (&[&closing], closed_by),
        (&[&tls.url], "its issuer is not trusted (use --insecure"),
    ];
    for (args, says) in table {
        for command in ["connect", "tunnel", "bench"] {
            let ended = run(&[&[command], args].concat());
            ended.exited(1).stderr_has(says);
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    }
}

#[test]
fn the_reason_for_an_invalid_certificate_appears_once() {
    let files = Scratch::new();
    let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).expect("a pair");
    let cert = files.file("cert.pem", &made.cert.pem());
    let key = files.file("key.pem", &made.signing_key.serialize_pem());
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let ended = connect(&server.localhost(), &["--cacert", &cert]);
    ended
        .exited(1)
        .stderr_has("other.test")
        .stderr_has("--insecure");
    let times = ended
        .stderr
        .matches("it is for other.test, not for localhost")
        .count();
    assert_eq!(times, 1, "{ended:?}");
}

/// At the default level.
#[cfg(unix)]
#[test]
fn a_server_logs_rejections() {
    let server = Server::start(&[
        "--cleartext",
        "--allow-origin",
        "https://ok.example",
        "--allow-host",
        "127.0.0.1:*",
    ]);
    let evil = "https://evil.example";
    let agent = "User-Agent: Nosy 1.0";
    for version in ["--http1", "--http2"] {
        let url = &server.url;
        run(&["connect", url, version, "--origin", evil, "-H", agent]).exited(1);
        let url = server.localhost();
        run(&["connect", &url, version, "--origin", "https://ok.example"]).exited(1);
    }
    server.running.signal("TERM");
    let ended = server.ended();
    let lines: Vec<_> = ended
        .stderr
        .lines()
        .filter(|l| l.contains("h2ws::access"))
        .collect();
    // A client may retry after a 421.
    let misdirected = lines.iter().filter(|line| line.contains("status=421"));
    assert!(misdirected.count() >= 2, "{ended:?}");
    for version in ["HTTP/1.1", "HTTP/2"] {
        let is_it = |line: &&&str| line.contains("status=403") && line.contains(version);
        let found: Vec<_> = lines.iter().filter(is_it).collect();
        let [line] = found[..] else {
            panic!("not one line: {ended:?}");
        };
        for part in [
            &format!("version={version} "),
            &format!("origin={evil} "),
            "user_agent=\"Nosy 1.0\"",
            "status=403",
            "closed_by=server closed=rejected",
            "reason=\"",
        ] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
}

/// A flood of refusals is counted instead of logged.
#[cfg(unix)]
#[test]
fn repeated_rejections_are_limited_and_counted() {
    let evil = ["--allow-origin", "https://ok.example", "--log-limit", "3"];
    let server = Server::start(&[&["--cleartext"][..], &evil].concat());
    let address = server.url.replace("ws://", "");
    for origin in ["https://a.example", "https://b.example"].repeat(1000) {
        let mut client =
            std::net::TcpStream::connect(address.trim_end_matches('/')).expect("connects");
        write!(
            client,
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Origin: {origin}\r\n\r\n"
        )
        .expect("sent");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 403");
    }
    server.running.signal("TERM");
    let ended = server.ended();
    let rejected = ended.stderr.matches("closed=rejected").count();
    let counts = ended
        .stderr
        .lines()
        .filter(|line| line.contains(" more in the last 10 s: rejected by server, status 403"));
    let left_out: Vec<usize> = counts
        .map(|line| {
            line.rsplit_once("lines=")
                .expect("a count")
                .1
                .trim()
                .parse()
                .expect("a number")
        })
        .collect();
    // A slow machine may take longer than one window.
    assert!(rejected < 100 && !left_out.is_empty(), "{ended:?}");
    assert_eq!(rejected + left_out.iter().sum::<usize>(), 2000, "{ended:?}");
}

/// Both those of clients and its own that clients reject.
#[cfg(unix)]
#[test]
fn a_server_logs_rejected_certificates() {
    let files = Scratch::new();
    let [ca, _, _] = authority(&files, "ca", "me");
    let logged = |server: Server, act: &dyn Fn(&str)| {
        act(&server.url);
        server.running.wait_for_stderr("h2ws::access: connection");
        server.running.signal("TERM");
        server.ended()
    };
    let asks = logged(Server::start(&["--client-ca", &ca]), &|url| {
        connect(url, &["--insecure"]).exited(1);
    });
    asks.stderr_has("closed_by=server closed=rejected reason=\"TLS handshake failed: ");
    let shows = logged(Server::start(&[]), &|url| {
        connect(url, &["--cacert", &ca]).exited(1);
    });
    shows.stderr_has("closed_by=client closed=rejected reason=\"TLS handshake failed: ");
}
