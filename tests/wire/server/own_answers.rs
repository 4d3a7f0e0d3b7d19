//! What a server answers by itself to clients without TLS, over both HTTP versions, and that each
//! answer is reported to its metrics.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::metrics::{Metrics, RejectedRequest};
use h2ws::{Client, HttpVersion, Message, Server};
use http::{StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::ways::{Answer, WAYS, Way};
use crate::support::{server, tls, until, within};

#[derive(Default)]
struct Rejected(Mutex<Vec<RejectedRequest>>);

impl Metrics for Rejected {
    fn request_rejected(&self, request: &RejectedRequest) {
        self.0.lock().unwrap().push(*request);
    }
}

impl Rejected {
    /// Asserts that this request alone was reported since the last call.
    #[track_caller]
    fn is_one(&self, way: Way, status: StatusCode) {
        let reported = std::mem::take(&mut *self.0.lock().unwrap());
        let [one] = reported[..] else {
            panic!("{way:?}: {reported:?}");
        };
        let version = match way.version {
            HttpVersion::Http2 => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        assert_eq!(one.version, version);
        assert_eq!(one.is_websocket, way.is_websocket);
        assert_eq!(one.status, status);
    }
}

async fn ask(way: Way, addr: SocketAddr, path: &str) -> Answer {
    way.ask(addr, path, &[]).await
}

#[tokio::test]
async fn http_without_tls_gets_400_that_says_so_and_harms_no_other_client() {
    let (config, trusting) = tls::pair();
    let rejected = Arc::new(Rejected::default());
    let builder = Server::builder().tls(config).metrics(rejected.clone());
    let server = server::echo(builder).await;
    let client = Client::builder().tls(trusting).build().unwrap();
    let url = format!("wss://localhost:{}/", server.addr.port());
    let mut sibling = within(client.connect(&url)).await.unwrap();
    for way in WAYS {
        let answer = ask(way, server.addr, "/a?b").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{way:?}");
        let text = "this port speaks TLS; use https:// or wss://";
        assert_eq!(answer.body.trim_end(), text, "{way:?}");
        let last = answer
            .fields
            .get("connection")
            .map(http::HeaderValue::as_bytes);
        let is_http1 = way.version == HttpVersion::Http1;
        assert_eq!(last, is_http1.then_some(&b"close"[..]), "{way:?}");
        rejected.is_one(way, StatusCode::BAD_REQUEST);
    }
    sibling.send(Message::text("still here")).await.unwrap();
    let echoed = within(sibling.next()).await.unwrap().unwrap();
    assert_eq!(echoed, Message::text("still here"));
    within(client.connect(&url)).await.unwrap();
}

/// It can only be rejected, so that it does not get the time of an idle connection.
#[tokio::test]
async fn a_connection_without_tls_ends_in_the_time_of_a_handshake() {
    let (config, _) = tls::pair();
    let builder = Server::builder().tls(config).idle_timeout(None);
    let builder = builder.handshake_timeout(Duration::from_millis(60));
    let server = server::echo(builder).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for sent in [&b"G"[..], b"GET / HTTP/1.1\r\nhost:", b"PRI", preface] {
        let mut io = TcpStream::connect(server.addr).await.unwrap();
        io.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // The end, or a reset.
        let _ = within(io.read_to_end(&mut answer)).await;
        assert_ne!(answer.first(), Some(&0x15), "a TLS alert to {sent:?}");
    }
}

#[tokio::test]
async fn a_redirecting_server_sends_clients_to_https() {
    let rejected = Arc::new(Rejected::default());
    for (port, at) in [(443, "a.test"), (8443, "a.test:8443")] {
        let builder = Server::builder().metrics(rejected.clone());
        let server = server::echo(builder.redirect_https(port)).await;
        for way in WAYS {
            let answer = ask(way, server.addr, "/a?b").await;
            let location = answer.fields.get("location");
            let status = if way.is_websocket {
                assert_eq!(location, None);
                let text = format!("WebSockets need TLS here; use wss://{at}\n");
                assert_eq!(answer.body, text, "{way:?}");
                StatusCode::FORBIDDEN
            } else {
                assert_eq!(location.unwrap(), &format!("https://{at}/a?b"), "{way:?}");
                StatusCode::PERMANENT_REDIRECT
            };
            assert_eq!(answer.status, status, "{way:?}");
            rejected.is_one(way, status);
        }
    }
}

/// Requests that are wrong by themselves, which the parsers of both versions find, or this crate.
#[tokio::test]
async fn every_rejection_of_the_server_is_reported() {
    let rejected = Arc::new(Rejected::default());
    let builder = Server::builder().metrics(rejected.clone());
    let hosts = h2ws::handshake::AllowedHosts::parse(&["other.test"]).unwrap();
    let server = server::echo(builder.allowed_hosts(hosts)).await;
    for way in WAYS {
        let answer = ask(way, server.addr, "/").await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{way:?}");
        rejected.is_one(way, answer.status);
    }
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nhost a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within(io.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    drop(io);
    until(|| !rejected.0.lock().unwrap().is_empty()).await;
    let plain = WAYS.into_iter().find(|way| !way.is_websocket).unwrap();
    rejected.is_one(plain, StatusCode::BAD_REQUEST);
}
