//! `h2ws tunnel` to `h2ws bridge`: what passes, how each end sees the other's, and what one tunnel does
//! to others.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::process::{Scratch, Server, h2ws, run, run_with};

const VERSIONS: [&str; 2] = ["--http1", "--http2"];

/// Listens on a free port, and handles each connection in a thread. Returns the address.
fn target(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for io in listener.incoming() {
            let handle = handle.clone();
            thread::spawn(move || handle(io.expect("a connection")));
        }
    });
    address
}

fn echo(mut io: TcpStream) {
    let mut from = io.try_clone().expect("a handle");
    let _ = std::io::copy(&mut from, &mut io);
    let _ = io.shutdown(Shutdown::Write);
}

fn bridge(target: &str) -> Server {
    let to = format!("tcp://{target}");
    Server::bridge(&["--cleartext", "--to", &to, "--allow-any-origin"])
}

/// Starts a tunnel that listens on a free port.
fn tunnel(args: &[&str]) -> Server {
    Server::start_with(&mut h2ws(&[&["tunnel", "--local", "0"], args].concat()))
}

fn open(listening: &str) -> TcpStream {
    let address = listening.trim_end().strip_prefix("tcp://");
    TcpStream::connect(address.expect("a TCP address")).expect("a connection")
}

/// Such as an SSH server behind HAProxy's `accept-proxy`.
#[test]
fn the_target_gets_the_clients_address_in_a_proxy_header() {
    let (sender, headers) = channel();
    let target = target(move |mut io| {
        let mut header = [0; 28];
        io.read_exact(&mut header).expect("a header");
        sender.send(header).expect("the test waits");
        echo(io);
    });
    let to = format!("tcp://{target}");
    let options = [
        "--cleartext",
        "--to",
        &to,
        "--allow-any-origin",
        "--send-proxy-protocol",
    ];
    let bridge = Server::bridge(&options);
    let tunnel = tunnel(&[&bridge.url]);
    assert_echo(&mut open(&tunnel.url), "hello");
    let header = headers.recv().expect("a header");
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    let port: u16 = target
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    assert_eq!(header[26..], port.to_be_bytes());
    let refused = run(&[
        "bridge",
        "--to",
        "ws://127.0.0.1:1",
        "--send-proxy-protocol",
    ]);
    refused.exited(2).stderr_has("only tcp and unix upstreams");
}

fn read_all(io: &mut impl Read) -> String {
    let mut text = String::new();
    io.read_to_string(&mut text).expect("no reset");
    text
}

#[track_caller]
fn assert_echo(io: &mut TcpStream, text: &str) {
    io.write_all(text.as_bytes()).expect("sent");
    let mut echoed = vec![0; text.len()];
    io.read_exact(&mut echoed).expect("an echo");
    assert_eq!(echoed, text.as_bytes());
}

#[track_caller]
fn assert_reset(io: &mut TcpStream) {
    let read = io.read_to_end(&mut Vec::new());
    let kind = read.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::ConnectionReset));
}

#[test]
fn either_end_may_finish_sending_first() {
    let (send, received): (Sender<String>, Receiver<String>) = channel();
    let answers = target(|mut io| {
        let all = read_all(&mut io);
        write!(io, "{} bytes", all.len()).expect("sent");
    });
    let greets = target(move |mut io| {
        io.write_all(b"greeting").expect("sent");
        io.shutdown(Shutdown::Write).expect("ended");
        send.send(read_all(&mut io)).expect("the test waits");
    });
    let [answers, greets] = [bridge(&answers), bridge(&greets)];
    let long = "x".repeat(1_000_000);
    for version in VERSIONS {
        let through = tunnel(&[version, &answers.url]);
        let mut io = open(&through.url);
        io.write_all(long.as_bytes()).expect("sent");
        io.shutdown(Shutdown::Write).expect("ended");
        assert_eq!(read_all(&mut io), "1000000 bytes", "{version}");

        let through = tunnel(&[version, &greets.url]);
        let mut io = open(&through.url);
        assert_eq!(read_all(&mut io), "greeting", "{version}");
        io.write_all(long.as_bytes()).expect("sent");
        io.shutdown(Shutdown::Write).expect("ended");
        assert!(received.recv().expect("all of it") == long, "{version}");

        let piped = h2ws(&["tunnel", version, &answers.url]);
        let ended = run_with(&mut { piped }, &long);
        ended.exited(0);
        assert_eq!(ended.stdout, "1000000 bytes", "{version}");
    }
}

/// A server that does not select the subprotocol can end both directions only: what it sent before
/// still arrives.
#[test]
fn servers_without_half_closes_work_too() {
    let server = Server::start(&["--cleartext"]);
    for version in VERSIONS {
        let ended = run_with(&mut h2ws(&["tunnel", version, &server.url]), "hello\n");
        ended.exited(0);
        assert_eq!(ended.stdout, "hello\n", "{version}");
    }
}

/// Forwards connections to `address`, and counts them.
fn relay(address: String) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let relay = target(move |near| {
        counted.fetch_add(1, Ordering::SeqCst);
        let far = TcpStream::connect(&address).expect("a connection");
        let [mut near_reads, mut far_writes] =
            [&near, &far].map(|io| io.try_clone().expect("a handle"));
        thread::spawn(move || std::io::copy(&mut near_reads, &mut far_writes));
        let _ = std::io::copy(&mut { far }, &mut { near });
    });
    (relay, count)
}

#[test]
fn all_connections_share_one_http2_connection() {
    let bridge = bridge(&target(echo));
    let address = bridge.url.strip_prefix("ws://").expect("cleartext");
    for (version, expected) in [("--http1", 40), ("--http2", 1)] {
        let (relay, count) = relay(address.trim_end_matches('/').to_owned());
        let through = tunnel(&[version, &format!("ws://{relay}/")]);
        let mut all: Vec<_> = (0..40).map(|_| open(&through.url)).collect();
        for (number, io) in all.iter_mut().enumerate() {
            assert_echo(io, &format!("number {number}"));
        }
        assert_eq!(count.load(Ordering::SeqCst), expected, "{version}");
    }
}

#[test]
fn a_refused_route_resets_its_connections_and_no_others() {
    let files = Scratch::new();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nowhere = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let route = |path: &str, to: &str| {
        format!("[[route]]\npath = \"{path}\"\nto = \"tcp://{to}\"\nallowed_origins = \"*\"\n")
    };
    let config = route("/good", &target(echo)) + &route("/bad", &nowhere);
    let config = files.file("bridge.toml", &config);
    let bridge = Server::bridge(&["--cleartext", "--config", &config]);
    for version in VERSIONS {
        let mut through = Server::start_with(&mut h2ws(&[
            "tunnel",
            "-L",
            "0=/good",
            "-L",
            "0=/bad",
            "-L",
            "0",
            version,
            &bridge.url,
        ]));
        let [bad, missing] = [(), ()].map(|()| {
            let line = through.running.line();
            line.strip_prefix("listening on ")
                .expect("a listener")
                .to_owned()
        });
        let mut good = open(&through.url);
        assert_echo(&mut good, "before");
        assert_reset(&mut open(&bad));
        through
            .running
            .wait_for_stderr("/bad: the server answered 502");
        assert_reset(&mut open(&missing));
        through.running.wait_for_stderr("404");
        assert_echo(&mut good, "after");
        let lines = through.running.stderr_so_far();
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }
}

#[test]
fn a_reset_passes_both_ways_and_ends_that_tunnel_alone() {
    let (send, ended) = channel();
    let bridge = bridge(&target(move |mut io| {
        let mut first = [0];
        if io.read_exact(&mut first).is_ok() && first == *b"R" {
            // Closing with data unread sends RST.
            thread::sleep(std::time::Duration::from_millis(50));
            return;
        }
        let read = io.read_to_end(&mut Vec::new());
        let _ = send.send(read.map_err(|error| error.kind()));
    }));
    for version in VERSIONS {
        let through = tunnel(&[version, &bridge.url]);
        let mut beside = open(&through.url);
        beside.write_all(b"x").expect("sent");

        let mut reset = open(&through.url);
        reset.write_all(&[b'R'; 100_000]).expect("sent");
        assert_reset(&mut reset);
        through.running.wait_for_stderr("1011");

        // Unread bytes make this a reset.
        let vanishes = open(&through.url);
        (&vanishes).write_all(b"x").expect("sent");
        rustix::net::sockopt::set_socket_linger(&vanishes, Some(std::time::Duration::ZERO))
            .expect("an option");
        drop(vanishes);
        let seen = ended.recv().expect("an end");
        assert_eq!(seen, Err(ErrorKind::ConnectionReset), "{version}");

        // Still open: ends in order.
        drop(beside);
        assert_eq!(ended.recv().expect("an end"), Ok(0), "{version}");
    }
}

#[test]
fn a_connection_that_is_not_read_stalls_itself_alone() {
    let written = Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let bridge = bridge(&target(move |mut io| {
        let mut first = [0];
        io.read_exact(&mut first).expect("a byte");
        if first != *b"F" {
            io.write_all(&first).expect("sent");
            return echo(io);
        }
        while let Ok(more) = io.write(&[0; 65_536]) {
            counted.fetch_add(more, Ordering::SeqCst);
        }
    }));
    for version in VERSIONS {
        written.store(0, Ordering::SeqCst);
        let through = tunnel(&[version, &bridge.url]);
        let mut unread = open(&through.url);
        unread.write_all(b"F").expect("sent");
        let mut beside = open(&through.url);
        // Until nothing more has found room for a while.
        let mut before = usize::MAX;
        while before != written.load(Ordering::SeqCst) {
            before = written.load(Ordering::SeqCst);
            for _ in 0..20 {
                assert_echo(&mut beside, "ping");
                thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        assert!((1..64 << 20).contains(&before), "{version}: {before}");
        // It goes on when it is read.
        unread.read_exact(&mut vec![0; 20 << 20]).expect("data");
        assert_echo(&mut beside, "ping");
    }
}

#[test]
fn a_restarted_bridge_serves_new_connections() {
    let echo = target(echo);
    for version in VERSIONS {
        let first = bridge(&echo);
        let through = tunnel(&[version, &first.url]);
        let mut io = open(&through.url);
        assert_echo(&mut io, "one");
        let address = first
            .url
            .trim_start_matches("ws://")
            .trim_end_matches('/')
            .to_owned();
        drop(first);
        assert_reset(&mut io);
        // Nothing listens now.
        assert_reset(&mut open(&through.url));
        let to = format!("tcp://{echo}");
        let _second = Server::start_with(&mut h2ws(&[
            "bridge",
            "--cleartext",
            "--to",
            &to,
            "--allow-any-origin",
            "--listen",
            &address,
        ]));
        assert_echo(&mut open(&through.url), "two");
    }
}

#[test]
fn a_tunnel_uses_tls_headers_and_proxies_as_connect_does() {
    let to = format!("tcp://{}", target(echo));
    let bridge = Server::bridge(&["--to", &to, "--allow-origin", "https://a.test"]);
    let run = |args: &[&str]| run_with(&mut h2ws(&[&["tunnel"], args].concat()), "hello");
    let through = run(&["--insecure", "--origin", "https://a.test", &bridge.url]);
    assert_eq!(through.exited(0).stdout, "hello");
    run(&["--insecure", "--origin", "https://b.test", &bridge.url])
        .exited(1)
        .stderr_has("403");
    run(&[&bridge.localhost()])
        .exited(1)
        .stderr_has("certificate");
    run(&["--proxy", "http://127.0.0.1:1", "--insecure", &bridge.url])
        .exited(1)
        .stderr_has("proxy: cannot connect");
    run(&["ws://127.0.0.1:1", "-L", "1:b:2"])
        .exited(2)
        .stderr_has("--local");
    run(&["ws://127.0.0.1:1", "-L", "0=/a b"])
        .exited(2)
        .stderr_has("--local");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_its_owners_alone_and_is_removed() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    let files = Scratch::new();
    let path = files.path("tunnel.sock");
    let bridge = bridge(&target(echo));
    // Its listener is gone, its file is not.
    drop(UnixListener::bind(&path).expect("a socket"));
    let local = format!("unix:{path}");
    let args = ["tunnel", "--local", &local, "--http2", &bridge.url];
    let through = Server::start_with(&mut h2ws(&args));
    assert_eq!(through.url, local);
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut io = UnixStream::connect(&path).expect("a connection");
    io.write_all(b"hello").expect("sent");
    io.shutdown(Shutdown::Write).expect("ended");
    assert_eq!(read_all(&mut io), "hello");
    run_with(&mut h2ws(&args), "")
        .exited(1)
        .stderr_has("cannot listen on unix:");
    through.running.signal("TERM");
    through.ended().exited(143);
    assert!(!std::path::Path::new(&path).exists());
}

#[cfg(unix)]
#[test]
fn a_signal_resets_what_is_open() {
    let bridge = bridge(&target(echo));
    for version in VERSIONS {
        let through = tunnel(&[version, &bridge.url]);
        let mut io = open(&through.url);
        assert_echo(&mut io, "open");
        through.running.signal("INT");
        assert_reset(&mut io);
        through.ended().exited(130);
    }
}
