//! What the program says when something cannot be done: where, why, and what to
//! try; and what a server's operator reads of it.

use std::net::TcpListener;

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;

use crate::certificates::{authority, connect};
use crate::process::{Ended, Scratch, Server, h2ws, run, run_with};

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn errors_name_the_place_and_what_to_try() {
    let nobody = nobody();
    let tls = Server::start(&[]);
    let clear = Server::start(&["--cleartext"]);
    let to_tls = tls.url.replace("wss://", "ws://");
    let to_clear = clear.url.replace("ws://", "wss://");
    let refused = format!("ws://{nobody}/");
    let refused_place = format!("cannot connect to {nobody}: ");
    let named = refused.replace("127.0.0.1", "localhost");
    let proxied = format!("http://{nobody}");
    let wss = "it is a wss:// URL";
    let table: [(&[&str], &str); 8] = [
        (&[&refused], &refused_place),
        (&[&named], &nobody),
        (
            &["ws://nowhere.invalid/"],
            "cannot connect to nowhere.invalid: ",
        ),
        (&[&refused, "--proxy", &proxied], &refused_place),
        (&[&to_tls, "--http1"], wss),
        (&[&to_tls, "--http2"], wss),
        (&[&to_clear], "is it a ws:// URL?"),
        (&[&tls.url], "its issuer is unknown here (--insecure"),
    ];
    for (args, says) in table {
        for command in ["connect", "bench"] {
            let ended = run(&[&[command], args].concat());
            ended.exited(1).says(says);
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_once() {
    let files = Scratch::new();
    let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).expect("a pair");
    let cert = files.file("cert.pem", &made.cert.pem());
    let key = files.file("key.pem", &made.signing_key.serialize_pem());
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let ended = connect(&server.localhost(), &["--cacert", &cert]);
    ended.exited(1).says("other.test").says("--insecure");
    let times = ended
        .stderr
        .matches("certificate not valid for name")
        .count();
    assert_eq!(times, 1, "{ended:?}");
}

/// At the level that services log at.
#[cfg(unix)]
#[test]
fn a_server_logs_what_it_refuses() {
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
    // A client may ask again where it was misdirected.
    let misdirected = lines.iter().filter(|line| line.contains("status=421"));
    assert!(misdirected.count() >= 2, "{ended:?}");
    for version in ["HTTP/1.1", "HTTP/2.0"] {
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
            "closed_by=server closed=refused",
            "reason=\"this origin may not open a WebSocket here\"",
        ] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
}

/// The client's, and the server's by the client; not every broken connection.
#[cfg(unix)]
#[test]
fn a_server_logs_refused_certificates() {
    let files = Scratch::new();
    let [ca, _, _] = authority(&files, "ca", "me");
    let logged = |server: Server, act: &dyn Fn(&str)| {
        act(&server.url);
        server.running.says("h2ws::access: connection");
        server.running.signal("TERM");
        server.ended()
    };
    let asks = logged(Server::start(&["--client-ca", &ca]), &|url| {
        connect(url, &["--insecure"]).exited(1);
    });
    asks.says("closed_by=server closed=refused reason=\"TLS handshake: ");
    let shows = logged(Server::start(&[]), &|url| {
        connect(url, &["--cacert", &ca]).exited(1);
    });
    shows.says("closed_by=client closed=refused reason=\"TLS handshake: ");
}

/// A server in this process, for what `serve` does not do.
fn server<F>(handler: fn(WebSocketRequest) -> F) -> (tokio::runtime::Runtime, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = runtime.block_on(async {
        let server = h2ws::Server::builder().bind("127.0.0.1:0").await;
        let server = server.expect("a free port");
        let address = server.local_addr().expect("an address");
        tokio::spawn(server.serve(handler).into_future());
        format!("ws://{address}/")
    });
    (runtime, url)
}

fn bench(url: &str, args: &[&str]) -> Ended {
    run_with(h2ws(&["bench", url, "--sockets", "2"]).args(args), "")
}

/// Whether it was to run for a time or for so many messages.
#[test]
fn a_bench_soon_says_that_a_server_does_not_echo() {
    let (_runtime, url) = server(|request| async move {
        let mut socket = request.accept().await.expect("open");
        while let Some(Ok(_)) = socket.next().await {}
    });
    for args in [&["--messages", "5"][..], &["--duration", "600"]] {
        bench(&url, args)
            .exited(1)
            .says("no answer in 2s: does the server echo what it is sent?")
            .says("2 of 2 sockets failed: no answer");
    }
}
