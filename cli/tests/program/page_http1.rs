//! The port where `serve` and `demo --keep` offer HTTP/1.1 alone, for WebSockets of the page beside those
//! over HTTP/2.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;

use crate::process::{Running, Scratch, Server, h2ws, run, run_with};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A server with a certificate for `localhost`, which [`connect`](Self::connect) trusts.
struct Page {
    server: Server,
    /// The port of the page.
    port: u16,
    ca: RootCertStore,
    /// The files of the certificate, which a reload reads again.
    _files: Scratch,
}

impl Page {
    fn start(args: &[&str]) -> Self {
        let files = Scratch::new();
        let file = |name| files.path(&format!("tls/{name}"));
        run(&["certificate", &files.path("tls")]).exited(0);
        let (cert, key) = (file("server.pem"), file("server.key"));
        let server = Server::start(&[&["--cert", &cert, "--key", &key], args].concat());
        let mut ca = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
        ca.add(trusted).expect("a CA");
        Self {
            port: port_of(&server.url),
            server,
            ca,
            _files: files,
        }
    }

    /// Connects, offering these protocols, and returns after the handshake.
    fn connect(&self, port: u16, alpn: &[&str]) -> io::Result<Tls> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.ca.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(config.into(), name).expect("a configuration");
        let mut tls = StreamOwned::new(session, TcpStream::connect(("127.0.0.1", port))?);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(tls)
    }

    fn alpn(&self, port: u16, offer: &[&str]) -> Option<String> {
        let tls = self.connect(port, offer).expect("a connection");
        let alpn = tls.conn.alpn_protocol();
        alpn.map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn ask(&self, port: u16, method: &str, host: &str, path: &str) -> (String, String) {
        let tls = self.connect(port, &["http/1.1"]).expect("a connection");
        ask(tls, method, host, path)
    }

    fn connection(&self, host: &str) -> Value {
        let tls = self.connect(self.port, &["http/1.1"]);
        connection(tls.expect("a connection"), host)
    }
}

/// Returns the head, in lower case, and the body of the response to a request without a body.
fn ask(mut io: impl Read + Write, method: &str, host: &str, path: &str) -> (String, String) {
    write!(
        io,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut response = Vec::new();
    // The server may close without a close_notify.
    if let Err(error) = io.read_to_end(&mut response) {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    }
    let response = String::from_utf8(response).expect("text");
    let (head, body) = response.split_once("\r\n\r\n").expect("an end of the head");
    (head.to_lowercase(), body.to_owned())
}

/// Returns what the page is told when it was loaded from `host`.
fn connection(io: impl Read + Write, host: &str) -> Value {
    let (head, body) = ask(io, "GET", host, "/connection");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    serde_json::from_str(&body).expect("JSON")
}

fn port_of(url: &str) -> u16 {
    let port = url.trim_end().rsplit(':').next();
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// Starts a server that has the other port too. Returns both.
fn both() -> (Page, u16) {
    let mut page = Page::start(&["--listen-http1", "127.0.0.1:0"]);
    let line = page.server.running.line();
    let url = line.strip_prefix("listening on wss://127.0.0.1:");
    let port = url.and_then(|url| url.strip_suffix(" for HTTP/1.1 only\n"));
    let Some(http1) = port.and_then(|port| port.parse().ok()) else {
        panic!("announced {line:?}");
    };
    (page, http1)
}

fn offers_http1_alone(page: &Page, port: u16) {
    let http1 = Some("http/1.1".to_owned());
    assert_eq!(page.alpn(port, &["h2", "http/1.1"]), http1);
    assert_eq!(page.alpn(port, &["http/1.1"]), http1);
    assert_eq!(page.alpn(port, &[]), None);
    // RFC 7301 §3.2.
    let error = page.connect(port, &["h2"]).expect_err("none in common");
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
}

/// The port at `url` echoes over HTTP/1.1.
fn echoes(url: &str, version: &[&str]) {
    let mut command = h2ws(&["connect", "--insecure", &format!("{url}/carrier")]);
    // It leaves when as many messages have arrived as it sent, the first of which is the carrier.
    let ended = run_with(command.args(version), "hello\nhello\n");
    let (carrier, echo) = ended.exited(0).stdout.split_once('\n').expect("two lines");
    let carrier: Value = serde_json::from_str(carrier).expect("JSON");
    assert_eq!(carrier["transport"], "h1");
    assert!(echo.starts_with("hello\n"), "{echo}");
}

/// A client that insists on HTTP/2 fails at `url`.
fn refuses_http2(url: &str) {
    let mut command = h2ws(&["connect", "--insecure", "--http2", url]);
    run_with(&mut command, "hello\n").exited(1);
}

#[test]
fn the_port_offers_http1_alone() {
    let (page, http1) = both();
    assert_eq!(
        page.alpn(page.port, &["h2", "http/1.1"]).as_deref(),
        Some("h2")
    );
    offers_http1_alone(&page, http1);
    // Without ALPN, the beginning of HTTP/2 is no HTTP/1.1.
    let mut tls = page.connect(http1, &[]).expect("a connection");
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 "),
        "{answer:?}"
    );
}

#[test]
fn the_port_echoes_and_serves_a_sentence_but_no_page() {
    let (page, http1) = both();
    let url = format!("wss://127.0.0.1:{http1}");
    for version in [&[][..], &["--http1"]] {
        echoes(&url, version);
    }
    refuses_http2(&url);

    let ask = |method, path| page.ask(http1, method, "localhost", path);
    for (method, path, expected) in [
        ("GET", "/", "200"),
        ("POST", "/", "405"),
        ("GET", "/carrier", "426"),
        ("GET", "/echo", "426"),
        ("GET", "/page/main.js", "404"),
        ("GET", "/connection", "404"),
    ] {
        let (head, _) = ask(method, path);
        let status = &head["http/1.1 ".len()..][..3];
        assert_eq!(status, expected, "{method} {path}");
    }
    let (head, sentence) = ask("GET", "/");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(sentence.contains("HTTP/1.1"), "{sentence}");
}

#[test]
fn the_page_learns_of_the_port_under_its_own_name_and_may_connect_to_no_other() {
    let (page, http1) = both();
    let port = page.port;
    for (host, name) in [
        (format!("localhost:{port}"), Some("localhost")),
        ("Example.TEST".to_owned(), Some("example.test")),
        ("192.0.2.1:8443".to_owned(), Some("192.0.2.1")),
        // A policy has no form for these.
        (format!("[::1]:{port}"), None),
        ("a;script-src".to_owned(), None),
    ] {
        let origin = name.map(|name| format!("wss://{name}:{http1}"));
        let told = page.connection(&host);
        assert_eq!(told["http1"].as_str(), origin.as_deref(), "{host}");
        assert_eq!(told["transport"], "h1");
        let (head, _) = page.ask(port, "GET", &host, "/");
        let more = origin.map_or_else(String::new, |origin| format!(" {origin}"));
        let connections = format!("; connect-src 'self'{more}");
        let policy = head
            .lines()
            .find(|line| line.starts_with("content-security-policy: default-src 'none'; "))
            .expect("a policy");
        assert!(policy.ends_with(&connections), "{host}: {policy}");
        assert_eq!(policy.matches("connect-src").count(), 1, "{policy}");
        assert_eq!(policy.matches("script-src").count(), 1, "{policy}");
    }
}

#[cfg(unix)]
#[test]
fn without_the_option_there_is_no_such_port() {
    let page = Page::start(&[]);
    assert_eq!(page.connection("localhost")["http1"], Value::Null);
    let (head, _) = page.ask(page.port, "GET", "localhost", "/");
    assert!(head.contains("; connect-src 'self'\r\n"), "{head}");
    page.server.running.signal("TERM");
    let ended = page.server.ended();
    assert_eq!(ended.exited(0).stdout, "", "more listeners");

    // Where all WebSockets use HTTP/1.1, there is nothing to compare.
    for other in ["--cleartext", "--no-extended-connect"] {
        run(&["serve", other, "--listen-http1", "127.0.0.1:0"])
            .exited(2)
            .stderr_has("--listen-http1");
    }
}

#[cfg(unix)]
#[test]
fn a_reload_of_certificates_brings_no_http2() {
    let (page, http1) = both();
    page.server.running.signal("HUP");
    page.server.running.wait_for_stderr("certificates reloaded");
    assert_eq!(
        page.alpn(page.port, &["h2", "http/1.1"]).as_deref(),
        Some("h2")
    );
    offers_http1_alone(&page, http1);
}

#[cfg(unix)]
#[test]
fn the_page_of_the_demo_has_the_port_too() {
    let mut demo = Running::start(&mut h2ws(&["demo", "--sockets", "2", "--keep"]));
    let port = loop {
        let line = demo.line();
        assert_ne!(line, "", "ended too early");
        if let Some(url) = line.strip_prefix("still running: open https://localhost:") {
            break url.split('/').next().expect("a port").to_owned();
        }
    };
    // Its certificate is its own: a bridge that accepts any is in between.
    let to = format!("wss://localhost:{port}");
    let bridge = Server::bridge(&["--cleartext", "--upstream-insecure", "--to", &to]);
    let address = bridge.url.strip_prefix("ws://").expect("cleartext");
    let io = TcpStream::connect(address).expect("a connection");
    let told = connection(io, "localhost");
    let origin = told["http1"].as_str().expect("an origin");
    echoes(origin, &[]);
    refuses_http2(origin);
}
