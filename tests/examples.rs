//! Runs the programs in `examples/`, each for the job that its index names.
//!
//! `cargo test` builds them before it runs tests; before `cargo test --test examples` alone, run
//! `cargo build --examples`.

#![cfg(unix)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use h2ws::{Client, CloseCode, Error, HttpVersion, WebSocket};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];
const ANY: &str = "127.0.0.1:0";

/// A running example, which is killed on drop.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Self {
        // This test is in a directory beside that of the examples.
        let test = std::env::current_exe().unwrap();
        let directory: PathBuf = test.parent().unwrap().with_file_name("examples");
        let mut child = Command::new(directory.join(name))
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}, by `cargo build --examples`: {error}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Starts a server, and returns it with its URL.
    async fn server(name: &str, args: &[&str]) -> (Self, String) {
        let mut example = Self::start(name, args);
        let line = example.line().await;
        let url = line.split_whitespace().last().expect("a URL");
        (example, url.trim_end_matches('/').to_owned())
    }

    async fn line(&mut self) -> String {
        let line = within(self.lines.next_line()).await.unwrap();
        line.expect("another line of output")
    }

    /// Returns the output of an example that ends by itself.
    async fn output(mut self) -> String {
        let mut output = String::new();
        while let Some(line) = within(self.lines.next_line()).await.unwrap() {
            output += &line;
            output.push('\n');
        }
        let status = within(self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}, after {output}");
        output
    }

    async fn terminate(&self) {
        let pid = self.child.id().unwrap().to_string();
        let killed = Command::new("kill").arg(pid).status().await.unwrap();
        assert!(killed.success());
    }
}

async fn connect(url: &str, version: HttpVersion) -> Result<WebSocket, Error> {
    let client = Client::builder().version(version).build().unwrap();
    within(client.connect(url)).await
}

async fn assert_next(socket: &mut WebSocket, text: &str) {
    let message = within(socket.recv()).await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some(text));
}

async fn assert_echo(socket: &mut WebSocket) {
    within(socket.send("hello")).await.unwrap();
    assert_next(socket, "hello").await;
}

fn status(result: Result<WebSocket, Error>) -> u16 {
    match result {
        Err(Error::Rejected(response)) => response.status.as_u16(),
        other => panic!("expected a rejection: {other:?}"),
    }
}

async fn get(url: &str, path: &str) -> String {
    let (_, addr) = url.split_once("://").unwrap();
    let mut io = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    within(io.read_to_string(&mut response)).await.unwrap();
    response
}

/// Writes a self-signed certificate and its key, and returns their paths.
fn certificate(name: &str) -> (tempfile::Directory, String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::Directory::new(name);
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    (directory, cert, key)
}

mod tempfile {
    //! A directory that is removed on drop.

    use std::path::PathBuf;

    pub(super) struct Directory(PathBuf);

    impl Directory {
        pub(super) fn new(name: &str) -> Self {
            let name = format!("h2ws-example-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(super) fn write(&self, name: &str, text: &str) -> String {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[tokio::test]
async fn those_that_end_by_themselves() {
    for (name, printed) in [
        ("compression", "compressed: "),
        ("many_sockets", "1000 WebSockets"),
        ("metrics", "opened: 3, closed: 3, failed: 0, messages: 3"),
        ("raw_bytes", "HELLO\nWORLD\n"),
        ("tungstenite", "hello\n"),
    ] {
        let output = Example::start(name, &[]).output().await;
        assert!(output.contains(printed), "{name}: {output}");
    }
}

#[tokio::test]
async fn echo_server_and_client() {
    let (_server, url) = Example::server("echo_server", &[ANY]).await;
    let url = format!("{url}/echo");
    let output = Example::start("client", &[&url]).output().await;
    assert!(output.contains("hello"), "{output}");
    for version in VERSIONS {
        assert_echo(&mut connect(&url, version).await.unwrap()).await;
        assert_eq!(status(connect(&format!("{url}/no"), version).await), 404);
    }
}

#[tokio::test]
async fn hyper_service() {
    let (_server, url) = Example::server("hyper_service", &[ANY]).await;
    for version in VERSIONS {
        let url = format!("{url}/echo");
        assert_echo(&mut connect(&url, version).await.unwrap()).await;
    }
    assert!(get(&url, "/").await.ends_with("a page\n"));
    assert!(get(&url, "/echo").await.starts_with("HTTP/1.1 426 "));
}

#[tokio::test]
async fn with_fallback() {
    let (_server, url) = Example::server("with_fallback", &[ANY]).await;
    assert!(get(&url, "/").await.contains("<!doctype html>"));
    let url = format!("{}/transport", url.replace("http", "ws"));
    let mut socket = connect(&url, HttpVersion::Http2).await.unwrap();
    let message = within(socket.recv()).await.unwrap().unwrap();
    assert!(message.as_text().unwrap().starts_with("HTTP/2"));
}

#[tokio::test]
async fn chat() {
    let (_server, url) = Example::server("chat", &[ANY]).await;
    let join = async |name| connect(&format!("{url}/?{name}"), HttpVersion::Http2).await;
    let mut ann = join("ann").await.unwrap();
    assert_next(&mut ann, "ann joined 0 others").await;
    let mut ben = join("ben").await.unwrap();
    assert_next(&mut ann, "ben joined 1 others").await;
    assert_next(&mut ben, "ben joined 1 others").await;
    ben.send("hello").await.unwrap();
    assert_next(&mut ann, "ben: hello").await;
    within(ben.close(CloseCode::NORMAL)).await.unwrap();
    assert_next(&mut ann, "ben left").await;
}

#[tokio::test]
async fn reconnect() {
    let (server, url) = Example::server("chat", &[ANY]).await;
    let mut client = Example::start("reconnect", &[&format!("{url}/?me")]);
    let mut until = async |text: &str| {
        within(async { while !client.line().await.contains(text) {} }).await;
    };
    until("open over HTTP/1.1").await;
    drop(server);
    until("may not have arrived").await;
    // The port is free once the process is gone.
    let addr = url.trim_start_matches("ws://");
    let _server = within(async {
        loop {
            if TcpListener::bind(addr).await.is_ok() {
                return Example::server("chat", &[addr]).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    until("open over HTTP/1.1").await;
}

#[tokio::test]
async fn bridge_with_a_rule() {
    let (_upstream, upstream) = Example::server("echo_server", &[ANY]).await;
    let (mut bridge, url) = Example::server("bridge", &[&upstream, ANY]).await;
    for version in VERSIONS {
        let url = format!("{url}/echo");
        assert_eq!(status(connect(&url, version).await), 403);
        let mut socket = connect(&format!("{url}?token=sesame"), version)
            .await
            .unwrap();
        assert_echo(&mut socket).await;
        within(socket.close(CloseCode::NORMAL)).await.unwrap();
        let line = bridge.line().await;
        assert!(line.contains("bytes up"), "{line}");
    }
}

#[tokio::test]
async fn authenticated_server() {
    let (_server_files, cert, key) = certificate("authenticated");
    let pem = std::fs::read(&cert).unwrap();
    let (_server, url) = Example::server("authenticated_server", &[ANY, &cert, &key, &cert]).await;
    let url = url.replace("127.0.0.1", "localhost");
    let roots = h2ws::tls::roots_from_pem(&pem).unwrap();
    let config = h2ws::tls::client_config(h2ws::tls::Trust::Only(roots), None).unwrap();
    let client = Client::builder().tls(config).build().unwrap();
    assert_eq!(status(within(client.connect(&url)).await), 401);
    let request = client
        .request(&url)
        .header("authorization", "Bearer sesame");
    let mut socket = within(request.connect()).await.unwrap();
    assert_next(&mut socket, "hello, bearer of the token").await;
    assert_echo(&mut socket).await;
}

#[tokio::test]
async fn custom_tls() {
    let (_files, cert, key) = certificate("custom-tls");
    let output = Example::start("custom_tls", &[&cert, &key]).output().await;
    assert!(output.contains("over HTTP/2"), "{output}");
    assert!(output.contains("without the certificate: "), "{output}");
}

#[tokio::test]
async fn graceful_shutdown() {
    for version in VERSIONS {
        let (mut server, url) = Example::server("graceful_shutdown", &[ANY]).await;
        let mut socket = connect(&url, version).await.unwrap();
        assert_echo(&mut socket).await;
        server.terminate().await;
        assert!(within(socket.recv()).await.is_none());
        assert_eq!(socket.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(server.line().await, "a WebSocket has closed");
        assert!(server.output().await.ends_with("cut: 0 WebSockets\n"));
    }
}

#[tokio::test]
async fn tunnel_of_tcp() {
    let target = TcpListener::bind(ANY).await.unwrap();
    let address = target.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = target.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tcp.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let (_server, url) = Example::server("tcp_tunnel", &["server", ANY, &address]).await;
    let (_client, entrance) = Example::server("tcp_tunnel", &["client", ANY, &url]).await;
    let entrance = entrance.strip_prefix("tcp://").unwrap();
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(TcpStream::connect(entrance).await.unwrap());
    }
    for (number, tcp) in connections.iter_mut().enumerate() {
        let sent = vec![u8::try_from(number).unwrap(); 100_000];
        let (mut read, mut write) = tcp.split();
        let mut received = Vec::new();
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        // Ends when the end of what was sent has come back, too.
        let (_, length) =
            within(async { tokio::join!(send, read.read_to_end(&mut received)) }).await;
        assert_eq!(length.unwrap(), sent.len());
        assert_eq!(received, sent);
    }
}

/// Awaits the future for at most 60 seconds, and panics if it has not completed by then.
#[track_caller]
fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(60), future).await {
            Ok(output) => output,
            Err(_) => panic!("timed out at {caller}"),
        }
    }
}
