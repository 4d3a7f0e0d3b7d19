//! The listeners of `serve` and `bridge`: several, on Unix sockets, behind the PROXY protocol, passed
//! by systemd, and shared with the next process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::Duration;

use h2ws::{Client, HttpVersion};

use crate::in_process::{assert_echo, client, until};
use crate::process::{Running, Scratch, Server, h2ws, run, run_with};

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

async fn echoes(client: &Client, url: &str) {
    let mut socket = client.connect(url).await.expect("open");
    assert_echo(&mut socket, "hello").await;
    socket.close(None).await.expect("closed");
}

/// Returns a client whose connections go to a Unix socket.
fn on_unix(version: HttpVersion, path: &str) -> Client {
    let path = path.to_owned();
    let builder = Client::builder().version(version).connector(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await }
    });
    builder.build().expect("a client")
}

/// From client to server by Unix sockets alone: `connect`, the bridge, and the server behind it, which
/// starts last.
#[test]
fn a_bridge_forwards_from_a_unix_socket_to_another() {
    let files = Scratch::new();
    let (front, back) = (files.path("front"), files.path("back"));
    let (front_url, back_url) = (format!("ws+unix:{front}"), format!("ws+unix:{back}"));
    let listen = format!("unix:{front}");
    let options = [
        "bridge",
        "--cleartext",
        "--listen",
        &listen,
        "--to",
        &back_url,
    ];
    let bridge = Server::start_with(&mut h2ws(&options));
    assert_eq!(bridge.url, front_url);
    let absent = format!("the socket {back} does not exist");
    bridge.running.wait_for_stderr(&absent);
    let server = Server::start_with(&mut h2ws(&[
        "serve",
        "--cleartext",
        "--listen",
        &format!("unix:{back}"),
    ]));
    assert_eq!(server.url, back_url);
    for version in ["--http1", "--http2"] {
        let url = format!("{front_url}:/chat?a=:/b");
        let connected = run_with(&mut h2ws(&["connect", version, &url]), "hello\n");
        connected.exited(0);
        assert!(connected.stdout.contains("hello"), "{connected:?}");
    }
    let probed = run(&["probe", &front_url]);
    assert!(probed.stdout.contains("Unix socket"), "{probed:?}");
}

/// Returns a client whose connections begin with these bytes.
fn after(version: HttpVersion, address: &str, header: &'static [u8]) -> Client {
    use tokio::io::AsyncWriteExt;

    let address = address.to_owned();
    let builder = Client::builder().version(version).connector(move |_| {
        let address = address.clone();
        async move {
            let mut tcp = tokio::net::TcpStream::connect(address).await?;
            tcp.write_all(header).await?;
            Ok::<_, std::io::Error>(tcp)
        }
    });
    builder.build().expect("a client")
}

fn listening(running: &mut Running) -> String {
    let line = running.line();
    let url = line.trim_end().strip_prefix("listening on ");
    url.unwrap_or_else(|| panic!("{line:?}")).to_owned()
}

fn ask(address: &str, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).expect("a connection");
    tcp.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn several_listeners_serve_at_the_same_time() {
    let files = Scratch::new();
    let path = files.path("s.sock");
    let unix = format!("unix:{path}");
    let mut server = Server::start(&["--cleartext", "--listen", "localhost:0", "--listen", &unix]);
    let mut urls = vec![server.url.clone()];
    loop {
        urls.push(listening(&mut server.running));
        if urls.last().is_some_and(|url| url.starts_with("ws+unix:")) {
            break;
        }
    }
    assert_eq!(urls.last(), Some(&format!("ws+unix:{path}")));
    for version in VERSIONS {
        for url in &urls[..urls.len() - 1] {
            echoes(&client(version), url).await;
        }
        echoes(&on_unix(version, &path), "ws://any.test/").await;
    }
    server.running.signal("TERM");
    server.ended().exited(0);
    assert!(!std::path::Path::new(&path).exists(), "it removes its file");
}

#[test]
fn a_unix_socket_replaces_only_what_a_dead_process_left() {
    let files = Scratch::new();
    let stale = files.path("stale.sock");
    drop(UnixListener::bind(&stale).expect("bound"));
    let unix = format!("unix:{stale}");
    let server = Server::start_with(&mut h2ws(&["serve", "--cleartext", "--listen", &unix]));
    assert_eq!(server.url, format!("ws+unix:{stale}"));

    let second = run(&["serve", "--cleartext", "--listen", &unix]);
    second
        .exited(1)
        .stderr_has("a running process listens there");
    let file = std::fs::metadata(&stale).expect("it is kept");
    assert!(file.file_type().is_socket());

    let plain = files.file("plain", "kept");
    let error = run(&["serve", "--cleartext", "--listen", &format!("unix:{plain}")]);
    error.exited(1).stderr_has("a file that is not a socket");
    assert_eq!(std::fs::read_to_string(&plain).expect("kept"), "kept");

    let long = format!("unix:/{}", "a".repeat(200));
    run(&["serve", "--cleartext", "--listen", &long])
        .exited(2)
        .stderr_has("at most 107 bytes");
    let nowhere = format!("unix:{}/no/s", files.path(""));
    run(&["serve", "--cleartext", "--listen", &nowhere])
        .exited(1)
        .stderr_has("No such file");
}

#[test]
fn a_redirecting_listener_answers_308_and_refuses_sockets() {
    let mut server = Server::start(&["--redirect-https", "127.0.0.1:0"]);
    let line = server.running.line();
    let plain = line.trim_end().strip_prefix("redirecting http://");
    let plain = plain.and_then(|line| line.strip_suffix(" to https"));
    let plain = plain.unwrap_or_else(|| panic!("{line:?}"));
    let port = server.url.rsplit_once(':').expect("a port").1;
    let host = "host: h.test:80\r\nconnection: close\r\n";
    let answer = ask(plain, &format!("GET /a?b HTTP/1.1\r\n{host}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    let location = format!("location: https://h.test:{port}/a?b\r\n");
    assert!(answer.contains(&location), "{answer}");
    let upgrade = "host: h.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut tcp = TcpStream::connect(plain).expect("a connection");
    let request = format!("GET / HTTP/1.1\r\n{upgrade}\r\n");
    tcp.write_all(request.as_bytes()).expect("sent");
    let mut status = [0; 12];
    tcp.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 403");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_is_the_one_of_the_proxy_header() {
    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
    const V2: &[u8] = &[
        13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0,
        1, 48, 57, 1, 187,
    ];
    let backend = Server::start(&["--cleartext"]);
    let bridge = Server::bridge(&[
        "--cleartext",
        "--to",
        &backend.url,
        "--proxy-protocol",
        "127.0.0.0/8",
    ]);
    let address = bridge.url.strip_prefix("ws://").expect("cleartext");
    for version in VERSIONS {
        for header in [V1, V2] {
            echoes(&after(version, address, header), &bridge.url).await;
        }
        let lines = || {
            let log = bridge.running.stderr_so_far();
            log.lines()
                .filter(|line| line.contains("192.0.2.7"))
                .count()
        };
        let most = if version == HttpVersion::Http1 { 2 } else { 4 };
        until(|| lines() >= most).await;
        let refused = client(version).connect(&bridge.url).await;
        refused.expect_err("no header");
    }
    bridge
        .running
        .wait_for_stderr("PROXY protocol: it does not begin with a header");

    // The opposite: a load balancer that sends headers to a listener that expects none.
    for args in [&["--cleartext"][..], &[]] {
        let plain = Server::start(args);
        let (_, address) = plain.url.split_once("://").expect("a URL");
        for header in [V1, V2] {
            let refused = after(HttpVersion::Http1, address, header)
                .connect(&plain.url)
                .await;
            refused.expect_err("a header is not HTTP");
        }
        plain.running.wait_for_stderr(
            "PROXY protocol: it begins with a header, which this listener does not expect",
        );
    }

    let other = Server::start(&["--cleartext", "--proxy-protocol", "192.0.2.0/24"]);
    let address = other.url.strip_prefix("ws://").expect("cleartext");
    for version in VERSIONS {
        let refused = after(version, address, V1).connect(&other.url).await;
        refused.expect_err("it is from another network");
    }
    other
        .running
        .wait_for_stderr("not in a network of proxy_protocol");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_the_file_have_keys_of_their_own() {
    let files = Scratch::new();
    let backend = Server::start(&["--cleartext"]);
    let path = files.path("b.sock");
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[[listener]]\nlisten = \"unix:{path}\"\ncleartext = true\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\nredirect_https = true\n[[route]]\nto = \"{}\"\n",
        backend.url
    );
    let file = files.file("bridge.toml", &text);
    run(&["bridge", "--config", &file, "--check"]).exited(0);
    let mut bridge = Server::start_with(&mut h2ws(&["bridge", "--config", &file]));
    assert!(bridge.url.starts_with("wss://"), "{}", bridge.url);
    assert_eq!(listening(&mut bridge.running), format!("ws+unix:{path}"));
    assert!(bridge.running.line().starts_with("redirecting http://"));
    for version in VERSIONS {
        echoes(&on_unix(version, &path), "ws://any.test/").await;
    }
    let moved = text.replace("b.sock", "c.sock");
    files.file("bridge.toml", &moved);
    bridge.running.signal("HUP");
    bridge
        .running
        .wait_for_stderr("not applied before a restart: listen of the [[listener]] on line 2; ");
    echoes(&on_unix(HttpVersion::Http1, &path), "ws://any.test/").await;
}

#[test]
fn errors_of_listeners_are_reported_with_their_line() {
    let files = Scratch::new();
    for (line, text, what) in [
        (
            1,
            "listen = [\"127.0.0.1:1\", \"x\"]\n",
            "expected an address",
        ),
        (
            2,
            "listen = [\"127.0.0.1:1\",\n \"127.0.0.1:1\"]\n",
            "is used on line 1 too",
        ),
        (
            1,
            "[[listener]]\ncleartext = true\n",
            "[[listener]] requires listen",
        ),
        (
            2,
            "[[listener]]\nlisten = \"unix:\"\n",
            "the path of a socket",
        ),
        (1, "proxy_protocol = \"10.0.0.1/8\"\n", "write 10.0.0.0/8"),
        (
            3,
            "[[listener]]\nlisten = \"systemd\"\nproxy_protocol = [\"a\"]\n",
            "a network such as",
        ),
        (1, "reuse_port = 1\n", "must be true or false"),
        (
            3,
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nredirect = true\n",
            "unknown key \"redirect\"",
        ),
        (
            3,
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nmax_connections = 0\n",
            "from 1 to",
        ),
        (
            1,
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nredirect_https = true\ncleartext = false\n",
            "redirect_https = true cannot be used with TLS",
        ),
    ] {
        let text = format!("{text}[[route]]\nto = \"ws://127.0.0.1:1\"\n");
        let file = files.file("bridge.toml", &text);
        let checked = run(&["bridge", "--config", &file, "--check"]);
        checked
            .exited(2)
            .stderr_has(what)
            .stderr_has(&format!("{file}:{line}: "));
    }
}

/// Runs the program with a listening socket as its descriptor 3, as systemd does.
fn activated(socket: impl Into<OwnedFd>, args: &[&str]) -> Command {
    let mut command = h2ws(args);
    let program = command.get_program().to_owned();
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" \"$@\" 3<&0 </dev/null";
    command = Command::new("sh");
    command.args(["-c", script]).arg(program).args(args);
    command
        .env_remove("RUST_LOG")
        .stdin(socket.into())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_systemd_passed_outlives_the_process() {
    let files = Scratch::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("ws://{}", tcp.local_addr().expect("an address"));
    for listen in ["systemd", "systemd:web"] {
        let socket = tcp.try_clone().expect("another descriptor");
        let args = ["serve", "--cleartext", "--listen", listen];
        let server = Server::start_with(&mut activated(socket, &args));
        assert_eq!(server.url, url);
        for version in VERSIONS {
            echoes(&client(version), &server.url).await;
        }
        server.running.signal("TERM");
        server.ended().exited(0);
    }
    let path = files.path("s.sock");
    let unix = UnixListener::bind(&path).expect("bound");
    let args = ["serve", "--cleartext", "--listen", "systemd"];
    let server = Server::start_with(&mut activated(unix.try_clone().expect("another"), &args));
    assert_eq!(server.url, format!("ws+unix:{path}"));
    for version in VERSIONS {
        echoes(&on_unix(version, &path), "ws://any.test/").await;
    }
    server.running.signal("TERM");
    server.ended().exited(0);
    assert!(
        std::path::Path::new(&path).exists(),
        "the file is systemd's"
    );

    let args = ["serve", "--cleartext", "--listen", "systemd:other"];
    let ended = Running::start(&mut activated(tcp, &args)).ended();
    ended
        .exited(1)
        .stderr_has("systemd passed no such socket")
        .stderr_has("left are: web");
    run(&args).exited(1).stderr_has("left are: none");
    let args = ["serve", "--cleartext", "--listen", "systemd"];
    let datagrams = UnixDatagram::bind(files.path("d.sock")).expect("bound");
    let ended = Running::start(&mut activated(datagrams, &args)).ended();
    ended.exited(1).stderr_has("not a stream");
}

#[test]
fn systemd_is_notified_of_readiness_reloads_and_the_end() {
    let files = Scratch::new();
    let path = files.path("notify.sock");
    let notified = UnixDatagram::bind(&path).expect("bound");
    notified
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("set");
    let next = || {
        let mut buffer = [0; 4096];
        let length = notified.recv(&mut buffer).expect("a notification");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let wait_for = |wanted: &str| loop {
        let text = next();
        if text.lines().any(|line| line.starts_with(wanted)) {
            return text;
        }
        assert!(text.contains("WATCHDOG=1"), "not {wanted}: {text}");
    };
    let backend = Server::start(&["--cleartext"]);
    for args in [
        &[
            "bridge",
            "--cleartext",
            "--listen",
            "127.0.0.1:0",
            "--to",
            &backend.url,
        ][..],
        &["serve", "--cleartext", "--listen", "127.0.0.1:0"],
    ] {
        let mut command = h2ws(args);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "20000");
        let server = Server::start_with(&mut command);
        wait_for("READY=1");
        for _ in 0..3 {
            wait_for("WATCHDOG=1");
        }
        if args[0] == "bridge" {
            server.running.signal("HUP");
            let text = wait_for("RELOADING=1");
            assert!(text.contains("MONOTONIC_USEC="), "{text}");
            wait_for("READY=1");
        }
        server.running.signal("TERM");
        wait_for("STOPPING=1");
        server.ended().exited(0);
        while notified.set_nonblocking(true).is_ok() && notified.recv(&mut [0; 64]).is_ok() {}
        notified.set_nonblocking(false).expect("set");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_takes_over_the_port_while_the_first_drains() {
    let backend = Server::start(&["--cleartext"]);
    let start = |listen: &str, metrics: &str| {
        let args = [
            "bridge",
            "--cleartext",
            "--reuse-port",
            "--to",
            &backend.url,
        ];
        let args = [&args[..], &["--listen", listen, "--metrics", metrics]].concat();
        let mut server = Server::start_with(&mut h2ws(&args));
        let line = server.running.line();
        let metrics = line.trim_end().strip_prefix("metrics at http://");
        let metrics = metrics.and_then(|url| url.strip_suffix("/metrics"));
        (
            server,
            metrics.unwrap_or_else(|| panic!("{line:?}")).to_owned(),
        )
    };
    let (first, metrics) = start("127.0.0.1:0", "127.0.0.1:0");
    let address = first
        .url
        .strip_prefix("ws://")
        .expect("cleartext")
        .to_owned();
    let args = [
        "bridge",
        "--cleartext",
        "--to",
        &backend.url,
        "--listen",
        &address,
    ];
    run(&args)
        .exited(1)
        .stderr_has("start both with --reuse-port");

    let old = client(HttpVersion::Http2);
    let mut socket = old.connect(&first.url).await.expect("open");
    let (second, _) = start(&address, &metrics);
    assert_eq!(second.url, first.url);
    let url = first.url.clone();
    // Opened for the whole time of the change, each on a connection of its own.
    let opening = tokio::spawn(async move {
        let mut opened = 0;
        loop {
            for version in VERSIONS {
                if let Err(error) = client(version).connect(&url).await {
                    panic!("{version:?} after {opened}: {error}");
                }
                opened += 1;
            }
            if opened > 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_echo(&mut socket, "before").await;
    first.running.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| first.ended());
    while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
    ended.await.expect("no panic").exited(0);
    opening.await.expect("none is refused");
    let ready = ask(
        &metrics,
        "GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    for version in VERSIONS {
        echoes(&client(version), &second.url).await;
    }
}
