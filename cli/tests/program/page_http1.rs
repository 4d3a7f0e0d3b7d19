//! The port where `serve` and `demo --keep` offer HTTP/1.1 alone, for WebSockets of the page beside those
//! over HTTP/2.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use crate::process::{Running, Scratch, Server, h2ws, run, run_with};

/// Accepts any certificate.
#[derive(Debug)]
struct Any(CryptoProvider);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects, offering these protocols, and returns after the handshake.
fn connect(port: u16, alpn: &[&str]) -> io::Result<Tls> {
    let any = Any(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(any))
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

/// Returns the head, in lower case, and the body of the response to a request without a body.
fn ask(port: u16, method: &str, host: &str, path: &str) -> (String, String) {
    let mut tls = connect(port, &["http/1.1"]).expect("a connection");
    write!(
        tls,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut response = Vec::new();
    // The server may close without a close_notify.
    if let Err(error) = tls.read_to_end(&mut response) {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    }
    let response = String::from_utf8(response).expect("text");
    let (head, body) = response.split_once("\r\n\r\n").expect("an end of the head");
    (head.to_lowercase(), body.to_owned())
}

/// Returns what the page is told at this port, when it was loaded from `host`.
fn connection(port: u16, host: &str) -> Value {
    let (head, body) = ask(port, "GET", host, "/connection");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    serde_json::from_str(&body).expect("JSON")
}

fn port_of(url: &str) -> u16 {
    let port = url.trim_end().rsplit(':').next();
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// A server with both ports.
struct Both {
    server: Server,
    page: u16,
    http1: u16,
}

fn both(args: &[&str]) -> Both {
    let args = [&["--listen-http1", "127.0.0.1:0"], args].concat();
    let mut server = Server::start(&args);
    let line = server.running.line();
    let url = line.strip_prefix("listening on wss://127.0.0.1:");
    let port = url.and_then(|url| url.strip_suffix(" for HTTP/1.1 only\n"));
    let Some(http1) = port.and_then(|port| port.parse().ok()) else {
        panic!("announced {line:?}");
    };
    let page = port_of(&server.url);
    Both {
        server,
        page,
        http1,
    }
}

fn alpn(port: u16, offer: &[&str]) -> Option<String> {
    let tls = connect(port, offer).expect("a connection");
    let alpn = tls.conn.alpn_protocol();
    alpn.map(|name| String::from_utf8_lossy(name).into_owned())
}

fn offers_http1_alone(port: u16) {
    let http1 = Some("http/1.1".to_owned());
    assert_eq!(alpn(port, &["h2", "http/1.1"]), http1);
    assert_eq!(alpn(port, &["http/1.1"]), http1);
    assert_eq!(alpn(port, &[]), None);
    // RFC 7301 §3.2.
    let error = connect(port, &["h2"]).expect_err("no protocol in common");
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
}

#[test]
fn the_port_offers_http1_alone() {
    let Both {
        server: _running,
        page,
        http1,
    } = both(&[]);
    assert_eq!(alpn(page, &["h2", "http/1.1"]).as_deref(), Some("h2"));
    offers_http1_alone(http1);
    // Without ALPN, the beginning of HTTP/2 is no HTTP/1.1.
    let mut tls = connect(http1, &[]).expect("a connection");
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
    let Both {
        server: _running,
        http1,
        ..
    } = both(&[]);
    let url = format!("wss://127.0.0.1:{http1}/carrier");
    for versions in [&[][..], &["--http1"]] {
        let mut command = h2ws(&["connect", "--insecure", &url]);
        let ended = run_with(command.args(versions), "hello\nhello\n");
        let (carrier, echo) = ended.exited(0).stdout.split_once('\n').expect("two lines");
        let carrier: Value = serde_json::from_str(carrier).expect("JSON");
        assert_eq!(carrier["transport"], "h1");
        assert!(echo.starts_with("hello\n"), "{echo}");
    }
    let mut command = h2ws(&["connect", "--insecure", "--http2", &url]);
    run_with(&mut command, "hello\n").exited(1);

    let status = |method, path| {
        let (head, _) = ask(http1, method, "localhost", path);
        head["http/1.1 ".len()..][..3].to_owned()
    };
    for (method, path, expected) in [
        ("GET", "/", "200"),
        ("POST", "/", "405"),
        ("GET", "/carrier", "426"),
        ("GET", "/echo", "426"),
        ("GET", "/page/main.js", "404"),
        ("GET", "/connection", "404"),
    ] {
        assert_eq!(status(method, path), expected, "{method} {path}");
    }
    let (head, sentence) = ask(http1, "GET", "localhost", "/");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(sentence.contains("HTTP/1.1"), "{sentence}");
}

#[test]
fn the_page_learns_of_the_port_under_its_own_name_and_may_connect_to_no_other() {
    let Both {
        server: _running,
        page,
        http1,
    } = both(&[]);
    for (host, name) in [
        (format!("localhost:{page}"), Some("localhost")),
        ("Example.TEST".to_owned(), Some("example.test")),
        ("192.0.2.1:8443".to_owned(), Some("192.0.2.1")),
        // A policy has no form for these.
        (format!("[::1]:{page}"), None),
        ("a;script-src".to_owned(), None),
    ] {
        let origin = name.map(|name| format!("wss://{name}:{http1}"));
        let told = connection(page, &host);
        assert_eq!(told["http1"].as_str(), origin.as_deref(), "{host}");
        assert_eq!(told["transport"], "h1");
        let (head, _) = ask(page, "GET", &host, "/");
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
    let server = Server::start(&[]);
    let port = port_of(&server.url);
    assert_eq!(connection(port, "localhost")["http1"], Value::Null);
    let (head, _) = ask(port, "GET", "localhost", "/");
    assert!(head.contains("; connect-src 'self'\r\n"), "{head}");
    server.running.signal("TERM");
    let ended = server.ended();
    assert_eq!(ended.exited(0).stdout, "", "more listeners");

    // Where all WebSockets use HTTP/1.1, there is nothing to compare.
    for other in ["--cleartext", "--no-extended-connect"] {
        run(&["serve", other, "--listen-http1", "127.0.0.1:0"])
            .exited(2)
            .stderr_has("--listen-http1");
    }
}

#[test]
fn both_ports_have_the_same_certificate() {
    let certificate = |port| {
        let tls = connect(port, &[]).expect("a connection");
        let chain = tls.conn.peer_certificates().expect("a certificate");
        chain[0].clone().into_owned()
    };
    let Both {
        server: _running,
        page,
        http1,
    } = both(&[]);
    assert_eq!(certificate(page), certificate(http1));
}

#[cfg(unix)]
#[test]
fn a_reload_of_certificates_brings_no_http2() {
    let files = Scratch::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let cert = files.file("cert.pem", &made.cert.pem());
    let key = files.file("key.pem", &made.signing_key.serialize_pem());
    let Both {
        server,
        page,
        http1,
    } = both(&["--cert", &cert, "--key", &key]);
    server.running.signal("HUP");
    server.running.wait_for_stderr("certificates reloaded");
    assert_eq!(alpn(page, &["h2", "http/1.1"]).as_deref(), Some("h2"));
    offers_http1_alone(http1);
}

#[cfg(unix)]
#[test]
fn the_page_of_the_demo_has_the_port_too() {
    let mut demo = Running::start(&mut h2ws(&["demo", "--sockets", "2", "--keep"]));
    let page = loop {
        let line = demo.line();
        assert_ne!(line, "", "ended too early");
        if let Some(url) = line.strip_prefix("still running: open https://localhost:") {
            let port = url.split('/').next().and_then(|port| port.parse().ok());
            break port.expect("a port");
        }
    };
    let told = connection(page, "localhost");
    let origin = told["http1"].as_str().expect("an origin");
    offers_http1_alone(port_of(origin));
    let url = format!("{origin}/carrier").replace("localhost", "127.0.0.1");
    let mut command = h2ws(&["connect", "--insecure", &url]);
    // It leaves when as many messages have arrived as it sent, the first of which is the carrier.
    let ended = run_with(&mut command, "hello\nhello\n");
    let (carrier, echo) = ended.exited(0).stdout.split_once('\n').expect("two lines");
    let carrier: Value = serde_json::from_str(carrier).expect("JSON");
    assert_eq!(carrier["transport"], "h1");
    assert!(echo.starts_with("hello\n"), "{echo}");
}
