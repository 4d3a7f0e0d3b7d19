//! `h2ws serve`.

use std::net::TcpListener;
#[cfg(target_os = "linux")]
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use h2ws::{CloseCode, HttpVersion};
use tokio::io::AsyncReadExt;

use crate::in_process::{assert_echo, client};
#[cfg(target_os = "linux")]
use crate::process::with_files;
use crate::process::{Scratch, Server, h2ws, run, run_with};

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

#[test]
fn the_first_line_of_stdout_has_the_port() {
    for (args, scheme) in [(&[][..], "wss"), (&["--cleartext"], "ws")] {
        let server = Server::start(args);
        let port = server.url.strip_prefix(&format!("{scheme}://127.0.0.1:"));
        let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
        assert_ne!(port, 0);
    }
}

#[test]
fn a_port_in_use_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(&["serve", "--cleartext", "--listen", &address]);
    ended
        .exited(1)
        .stderr_has(&format!("cannot listen on {address}"));
    assert_eq!(ended.stdout, "");
}

/// Clients wait while no more files can be opened, and are accepted when others have left.
#[cfg(target_os = "linux")]
#[test]
fn running_out_of_files_warns_once_per_second_and_recovers() {
    let listen = ["serve", "--cleartext", "--listen", "127.0.0.1:0"];
    let server = Server::start_with(&mut with_files(40, &listen));
    let address = server.url.strip_prefix("ws://").expect("cleartext");
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(TcpStream::connect(address).expect("the kernel's queue has room"));
    }
    server.running.wait_for_stderr("cannot accept");
    // The server tries again whenever a connection ends.
    clients.truncate(80);
    for client in clients.drain(..20) {
        drop(client);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(clients);
    let ended = run_with(&mut h2ws(&["connect", &server.url]), "still here\n");
    assert_eq!(ended.exited(0).stdout, "still here\n");
    let stderr = server.running.stderr_so_far();
    let warnings: Vec<_> = stderr
        .lines()
        .filter(|l| l.contains("cannot accept"))
        .collect();
    let seconds = began.elapsed().as_secs() as usize;
    assert!(
        warnings.len() <= 1 + seconds,
        "in {seconds} s: {warnings:#?}"
    );
    assert!(warnings[0].contains("may open 40 files"), "{warnings:?}");
}

#[cfg(unix)]
#[test]
fn there_is_a_notice_about_a_self_signed_certificate() {
    for (args, expected) in [(&[][..], true), (&["--cleartext"], false)] {
        let server = Server::start(args);
        server.running.signal("TERM");
        let ended = server.ended();
        assert_eq!(ended.stderr.contains("self-signed"), expected, "{ended:?}");
    }
}

#[test]
fn certificates_come_from_files_and_secrets_go_to_sslkeylogfile() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let files = Scratch::new();
    let cert = files.file("cert.pem", &made.cert.pem());
    let key = files.file("key.pem", &made.signing_key.serialize_pem());
    let (server_keys, client_keys) = (files.path("server.keylog"), files.path("client.keylog"));
    let listen = ["serve", "--listen", "127.0.0.1:0"];

    let server = Server::start_with(
        h2ws(&listen)
            .args(["--cert", &cert, "--key", &key])
            .env("SSLKEYLOGFILE", &server_keys),
    );
    // Trusted by its file instead of `--insecure`, to check that the server uses this one.
    let ended = run_with(
        h2ws(&["connect", &server.localhost()])
            .env("SSL_CERT_FILE", &cert)
            .env("SSLKEYLOGFILE", &client_keys),
        "trusted\n",
    );
    ended.exited(0).stderr_has("open over HTTP/2 connection");
    assert_eq!(ended.stdout, "trusted\n");
    let logged = |path| std::fs::read_to_string(path).expect("a key log");
    let log = logged(&client_keys);
    assert!(log.contains("CLIENT_TRAFFIC_SECRET_0 "), "{log}");
    assert_eq!(sorted(&log), sorted(&logged(&server_keys)));

    let run = |cert: &str, key: &str| run(&[&listen[..], &["--cert", cert, "--key", key]].concat());
    run(&cert, &files.path("nowhere.pem"))
        .exited(1)
        .stderr_has("nowhere.pem");
    run(&files.file("empty.pem", ""), &key)
        .exited(1)
        .stderr_has("empty.pem");
}

fn sorted(log: &str) -> Vec<&str> {
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    lines
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_closes_sockets_with_1001() {
    for version in VERSIONS {
        let server = Server::start(&["--cleartext"]);
        let mut socket = client(version).connect(&server.url).await.expect("open");
        assert_echo(&mut socket, "in").await;
        server.running.signal("TERM");
        assert!(socket.next().await.is_none(), "{version:?}");
        assert_eq!(socket.close_code(), Some(CloseCode::GOING_AWAY));
        drop(socket);
        server.ended().exited(0);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigint_stops_at_once() {
    for version in VERSIONS {
        let server = Server::start(&["--cleartext"]);
        let request = client(version).request(&server.url);
        // A raw stream does not answer the Close frame, so the drain waits.
        let mut stream = request.connect_raw().await.expect("open");
        server.running.signal("INT");
        let mut close = [0; 4];
        stream.read_exact(&mut close).await.expect("a Close frame");
        assert_eq!((close[0], &close[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
        server.running.signal("INT");
        server.ended().exited(1).stderr_has("stopped at once");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_sets_the_number_of_worker_threads() {
    // The log and the allocator have threads of their own.
    let prefixes = ["h2ws", "tokio", "connections"];
    let is_worker = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let threads = |server: &Server| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.running.pid()));
        let names = tasks.expect("a process").filter_map(|task| {
            let path = task.ok()?.path().join("comm");
            std::fs::read_to_string(path).ok()
        });
        names.filter(|name| is_worker(name)).count()
    };
    let bridge = ["--cleartext", "--to", "ws://127.0.0.1:9"];
    for asked in ["--threads=1", "--threads=3"] {
        let servers = [
            Server::start(&["--cleartext", asked]),
            Server::bridge(&[&bridge[..], &[asked]].concat()),
            Server::bridge(&[&bridge[..], &["--upstream-http2", asked]].concat()),
        ];
        let expected = match asked {
            "--threads=1" => [1, 1, 1],
            // The main thread is an additional one that waits, or accepts connections for the
            // workers, whose runtime has one that waits.
            _ => [4, 3, 5],
        };
        // A new thread has the name of the program until it takes its own.
        let deadline = Instant::now() + Duration::from_secs(10);
        while servers.each_ref().map(threads) != expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(servers.each_ref().map(threads), expected, "{asked}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_soft_file_limit_is_raised_to_the_hard_limit() {
    let program = env!("CARGO_BIN_EXE_h2ws");
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "ulimit -Sn 100; ulimit -Hn 500; exec \"$0\" serve --cleartext --listen 127.0.0.1:0",
            program,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = Server::start_with(&mut shell);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.running.pid()));
    let limits = limits.expect("a process");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.expect("a limit").split_whitespace().next();
    assert_eq!(soft, Some("500"));
}
