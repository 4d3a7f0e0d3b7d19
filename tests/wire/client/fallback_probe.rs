//! `HttpVersion::Auto` falls back to HTTP/1.1 at servers that advertise RFC 8441 and then
//! reject the method. The tests count connections and requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2::Reason;
use h2ws::client::ClientBuilder;
use h2ws::{Client, Error, HttpVersion, WebSocket, WebSocketConfig};
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::http1::{echo_frames, head, switching};
use crate::support::client::{echo, listen};
use crate::support::{h2peer, tls, until, within};

/// How a request is answered, in either version of HTTP.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Accept,
    Status(u16),
    /// Over HTTP/2: accepts if a key was sent (true) or was absent (false); 400 otherwise.
    Key(bool),
    /// Resets the stream over HTTP/2; closes the connection over HTTP/1.1.
    Reset(Reason),
    /// Over HTTP/2 only: GOAWAY instead of an answer.
    GoAway(Reason),
    /// Over HTTP/1.1 only: no answer.
    Never,
}

/// The numbers of connections and of requests that a server saw, per version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    http2: (usize, usize),
    http1: (usize, usize),
}

fn seen(http2: (usize, usize), http1: (usize, usize)) -> Seen {
    Seen { http2, http1 }
}

/// A TLS server with ALPN `h2` and `http/1.1`. It advertises RFC 8441 and gives the
/// configured answers in turn, repeating the last one.
struct DualServer {
    url: String,
    port: u16,
    trusting: rustls::ClientConfig,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl DualServer {
    async fn start(http2: &[Answer], http1: &[Answer]) -> Self {
        let (listener, addr) = listen().await;
        let (mut config, trusting) = tls::pair();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let queue = |answers: &[Answer]| Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        let (answers, counts) = ((queue(http2), queue(http1)), seen.clone());
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let (acceptor, answers) = (acceptor.clone(), answers.clone());
                let counts = counts.clone();
                tokio::spawn(async move {
                    let Ok(io) = acceptor.accept(io).await else {
                        return;
                    };
                    if io.get_ref().1.alpn_protocol() == Some(b"h2") {
                        counts.lock().unwrap().http2.0 += 1;
                        over_http2(io, &answers.0, &counts).await;
                    } else {
                        counts.lock().unwrap().http1.0 += 1;
                        over_http1(io, &answers.1, &counts).await;
                    }
                });
            }
        });
        Self {
            url: format!("wss://localhost:{}/", addr.port()),
            port: addr.port(),
            trusting,
            seen,
            task,
        }
    }

    fn client(&self) -> ClientBuilder {
        Client::builder().tls(self.trusting.clone())
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap()
    }
}

impl Drop for DualServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answers = Arc<Mutex<VecDeque<Answer>>>;

fn next(answers: &Answers) -> Answer {
    let mut answers = answers.lock().unwrap();
    let next = answers[0];
    if answers.len() > 1 {
        answers.pop_front();
    }
    next
}

async fn over_http2(io: TlsStream<TcpStream>, answers: &Answers, counts: &Mutex<Seen>) {
    let mut builder = h2::server::Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(10_000);
    let mut connection = builder.handshake::<_, bytes::Bytes>(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        counts.lock().unwrap().http2.1 += 1;
        let has_key = request.headers().contains_key("sec-websocket-key");
        let answer = match next(answers) {
            Answer::Key(wanted) if wanted == has_key => Answer::Accept,
            Answer::Key(_) => Answer::Status(400),
            answer => answer,
        };
        match answer {
            Answer::Key(_) => unreachable!("replaced above"),
            Answer::Accept => {
                tokio::spawn(h2peer::echo(request, respond));
            }
            Answer::Status(status) => {
                let mut answer = Response::new(());
                *answer.status_mut() = StatusCode::from_u16(status).unwrap();
                answer.headers_mut().insert("x-over", "h2".parse().unwrap());
                let mut body = respond.send_response(answer, false).unwrap();
                body.send_data("over h2".into(), true).unwrap();
            }
            Answer::Reset(reason) => respond.send_reset(reason),
            Answer::GoAway(reason) => connection.abrupt_shutdown(reason),
            Answer::Never => unreachable!("over HTTP/1.1 only"),
        }
    }
}

async fn over_http1(mut io: TlsStream<TcpStream>, answers: &Answers, counts: &Mutex<Seen>) {
    let request = head(&mut io).await;
    counts.lock().unwrap().http1.1 += 1;
    match next(answers) {
        Answer::Accept => {
            let answer = format!("{}\r\n", switching(&request));
            io.write_all(answer.as_bytes()).await.unwrap();
            echo_frames(io).await;
        }
        Answer::Status(status) => {
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
            io.write_all(answer.as_bytes()).await.unwrap();
            let _ = io.shutdown().await;
        }
        Answer::Never => {
            let _ = io.read_u8().await;
        }
        Answer::Reset(_) | Answer::GoAway(_) | Answer::Key(_) => {}
    }
}

async fn open(client: &Client, server: &DualServer) -> Result<WebSocket, Error> {
    let mut socket = within(client.connect(&server.url)).await?;
    echo(&mut socket, "open").await;
    Ok(socket)
}

fn status(opened: Result<WebSocket, Error>) -> u16 {
    match opened {
        Err(Error::Rejected(rejection)) => {
            assert_eq!(rejection.headers["x-over"], "h2");
            assert_eq!(rejection.body, "over h2");
            rejection.status.as_u16()
        }
        other => panic!("not rejected: {other:?}"),
    }
}

/// The method is rejected and HTTP/1.1 accepts the socket: in the same call, and from
/// then on directly.
#[tokio::test]
async fn a_rejected_method_falls_back_to_http1_and_that_is_remembered() {
    for rejection in [
        Answer::Status(400),
        Answer::Status(405),
        Answer::Status(426),
        Answer::Status(501),
        Answer::Reset(Reason::HTTP_1_1_REQUIRED),
        Answer::Reset(Reason::INTERNAL_ERROR),
        Answer::Reset(Reason::CONNECT_ERROR),
        Answer::Reset(Reason::CANCEL),
        Answer::GoAway(Reason::HTTP_1_1_REQUIRED),
    ] {
        let server = DualServer::start(&[rejection], &[Answer::Accept]).await;
        let client = server.client().build().unwrap();
        let socket = open(&client, &server).await.unwrap();
        assert!(!socket.transport().is_http2());
        // After a 400, the request is first repeated over HTTP/2 with a key.
        let requests = if matches!(rejection, Answer::Status(400)) {
            2
        } else {
            1
        };
        assert_eq!(server.seen(), seen((1, requests), (1, 1)), "{rejection:?}");
        let _second = open(&client, &server).await.unwrap();
        assert_eq!(server.seen(), seen((1, requests), (2, 2)), "{rejection:?}");
        // A request that insists on HTTP/2 gets the answer over HTTP/2.
        let insists = client.request(&server.url).version(HttpVersion::Http2);
        assert!(within(insists.connect()).await.is_err());
        assert_eq!(server.seen().http1, (2, 2));
    }
}

/// RFC 8441 §5 has no use for a key. A gateway that does not generate one (Envoy)
/// receives the client's after its 400, and from then on; one that adds its own (Caddy,
/// nghttpx) never receives the client's.
#[tokio::test]
async fn a_key_is_sent_over_http2_to_servers_that_need_one() {
    for (wanted, requests) in [(true, 2), (false, 1)] {
        let server = DualServer::start(&[Answer::Key(wanted)], &[Answer::Accept]).await;
        let client = server.client().build().unwrap();
        let first = open(&client, &server).await.unwrap();
        assert!(first.transport().is_http2());
        assert_eq!(server.seen(), seen((1, requests), (0, 0)), "{wanted}");
        let second = open(&client, &server).await.unwrap();
        assert!(second.transport().is_http2());
        assert_eq!(server.seen(), seen((1, requests + 1), (0, 0)), "{wanted}");
    }
    // If the request with a key fails for another reason, the caller gets that answer, and
    // the next call makes only one request.
    let answers = [Answer::Status(400), Answer::Status(403)];
    let server = DualServer::start(&answers, &[Answer::Accept]).await;
    let client = server.client().build().unwrap();
    assert_eq!(status(within(client.connect(&server.url)).await), 403);
    assert_eq!(server.seen(), seen((1, 2), (0, 0)));
    assert_eq!(status(within(client.connect(&server.url)).await), 403);
    assert_eq!(server.seen(), seen((1, 3), (0, 0)));
}

/// RFC 9113 §8.7: refused streams are retried over HTTP/2, and then over HTTP/1.1.
#[tokio::test]
async fn persistently_refused_streams_fall_back_to_http1() {
    let refused = Answer::Reset(Reason::REFUSED_STREAM);
    let server = DualServer::start(&[refused], &[Answer::Accept]).await;
    let client = server.client().build().unwrap();
    let socket = open(&client, &server).await.unwrap();
    assert!(!socket.transport().is_http2());
    assert_eq!(server.seen(), seen((1, 4), (1, 1)));
}

/// A rejection whose meaning is clear is final: one connection, one request.
#[tokio::test]
async fn a_rejection_with_a_specific_meaning_is_not_retried() {
    for status_code in [301, 302, 307, 308, 401, 403, 404, 429, 500, 502, 503] {
        let server = DualServer::start(&[Answer::Status(status_code)], &[Answer::Accept]).await;
        let client = server.client().build().unwrap();
        assert_eq!(
            status(within(client.connect(&server.url)).await),
            status_code
        );
        assert_eq!(server.seen(), seen((1, 1), (0, 0)), "{status_code}");
    }
    for reason in [Reason::PROTOCOL_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let server = DualServer::start(&[Answer::Reset(reason)], &[Answer::Accept]).await;
        let client = server.client().build().unwrap();
        let failed = within(client.connect(&server.url)).await;
        assert!(matches!(failed, Err(Error::Reset { .. })), "{failed:?}");
        assert_eq!(server.seen(), seen((1, 1), (0, 0)), "{reason:?}");
    }
    // 421 is retried on another connection (RFC 9110 §15.5.20).
    let server = DualServer::start(&[Answer::Status(421)], &[Answer::Accept]).await;
    let client = server.client().build().unwrap();
    assert_eq!(status(within(client.connect(&server.url)).await), 421);
    assert_eq!(server.seen(), seen((2, 2), (0, 0)));
}

/// If HTTP/1.1 does not accept either, the caller gets the answer over HTTP/2, and
/// HTTP/1.1 is not tried again.
#[tokio::test]
async fn http1_is_tried_once_if_it_fails_as_well() {
    for http1 in [
        Answer::Status(400),
        Answer::Status(403),
        Answer::Reset(Reason::NO_ERROR),
        Answer::Never,
    ] {
        let server = DualServer::start(&[Answer::Status(400)], &[http1]).await;
        let short = Duration::from_millis(200);
        let client = server
            .client()
            .handshake_timeout(short)
            .connect_timeout(short);
        let client = client.build().unwrap();
        for attempt in 1..=3 {
            assert_eq!(status(within(client.connect(&server.url)).await), 400);
            // The first call adds a request with a key.
            assert_eq!(server.seen(), seen((1, attempt + 1), (1, 1)), "{http1:?}");
        }
        // Other requests to the same server may still be accepted, so all of them are sent.
        let together = (0..20).map(|_| client.connect(&server.url));
        let all = within(futures_util::future::join_all(together)).await;
        assert!(all.into_iter().all(|opened| status(opened) == 400));
        assert_eq!(server.seen(), seen((1, 24), (1, 1)), "{http1:?}");
    }
}

/// Many concurrent attempts make one HTTP/2 connection and one probe, and all open over
/// HTTP/1.1.
#[tokio::test]
async fn many_concurrent_attempts_fall_back_together() {
    let many = std::env::var("H2WS_SOCKETS").map_or(100, |many| many.parse().unwrap());
    let server = DualServer::start(&[Answer::Status(501)], &[Answer::Accept]).await;
    let client = server.client().build().unwrap();
    let together = (0..many).map(|_| client.connect(&server.url));
    let all = within(futures_util::future::join_all(together)).await;
    let mut all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let at_once = server.seen();
    assert_eq!(at_once.http2.0, 1);
    assert!(at_once.http2.1 <= many, "{at_once:?}");
    assert_eq!(at_once.http1, (many, many));
    for socket in &mut all {
        echo(socket, "one of many").await;
    }
    let _next = open(&client, &server).await.unwrap();
    let after = server.seen();
    assert_eq!(after, seen(at_once.http2, (many + 1, many + 1)));
}

/// After the time for which a fallback is remembered, HTTP/2 is tried again, and used if
/// it works by then.
#[tokio::test]
async fn http2_is_tried_again_after_the_cache_ttl() {
    let rejection = Answer::Status(501);
    let server =
        DualServer::start(&[rejection, rejection, Answer::Accept], &[Answer::Accept]).await;
    let client = server
        .client()
        .http1_cache_ttl(Duration::ZERO)
        .build()
        .unwrap();
    for (requests, is_http2) in [(1, false), (2, false), (3, true), (4, true)] {
        let socket = open(&client, &server).await.unwrap();
        assert_eq!(socket.transport().is_http2(), is_http2);
        assert_eq!(server.seen().http2.1, requests);
    }
    assert_eq!(server.seen().http1, (2, 2));
}

/// An attempt that is cancelled during its probe leaves the probe to the next one.
#[tokio::test]
async fn a_cancelled_probe_is_repeated_by_another_attempt() {
    let http1 = [Answer::Never, Answer::Accept];
    let server = DualServer::start(&[Answer::Status(501)], &http1).await;
    let client = server.client().build().unwrap();
    let connect = || {
        let (client, url) = (client.clone(), server.url.clone());
        tokio::spawn(async move { client.connect(&url).await })
    };
    let first = connect();
    until(|| server.seen().http1.1 == 1).await;
    let second = connect();
    until(|| server.seen().http2.1 == 2).await;
    first.abort();
    let socket = within(second).await.unwrap().unwrap();
    assert!(!socket.transport().is_http2());
    assert_eq!(server.seen(), seen((1, 2), (2, 2)));
}

/// RFC 9113 §7: HTTP_1_1_REQUIRED may apply to the whole connection, before any request.
#[tokio::test]
async fn a_connection_that_requires_http1_falls_back() {
    let (listener, addr) = listen().await;
    let (mut config, trusting) = tls::pair();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let mut alpn = Vec::new();
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let mut io = acceptor.accept(io).await.unwrap();
            let is_http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
            alpn.push(is_http2);
            if is_http2 {
                // GOAWAY in place of the server's SETTINGS, which would show whether the
                // server supports RFC 8441.
                let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13];
                io.write_all(&goaway).await.unwrap();
                let _ = io.read_u8().await;
                tokio::spawn(async move { while io.read_u8().await.is_ok() {} });
            } else {
                let request = head(&mut io).await;
                let answer = format!("{}\r\n", switching(&request));
                io.write_all(answer.as_bytes()).await.unwrap();
                tokio::spawn(echo_frames(io));
                if alpn.len() == 3 {
                    return alpn;
                }
            }
        }
    });
    let client = Client::builder().tls(trusting).build().unwrap();
    let url = format!("wss://localhost:{}/", addr.port());
    for _ in 0..2 {
        let mut socket = within(client.connect(&url)).await.unwrap();
        echo(&mut socket, "open").await;
    }
    assert_eq!(within(server).await.unwrap(), [true, false, false]);
}

/// Early messages reach the server over the version of HTTP that opens the socket.
#[tokio::test]
async fn early_messages_go_with_the_socket_that_opens() {
    use futures_util::StreamExt;
    let server = DualServer::start(&[Answer::Status(501)], &[Answer::Accept]).await;
    let client = server.client().build().unwrap();
    let request = client.request(&server.url).early_message("first");
    let mut socket = within(request.connect()).await.unwrap();
    let back = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(back, h2ws::Message::text("first"));
    // The server may have acted on them before the reset, so there is no fallback.
    let reset = Answer::Reset(Reason::INTERNAL_ERROR);
    let server = DualServer::start(&[reset], &[Answer::Accept]).await;
    let client = server.client().build().unwrap();
    let request = client.request(&server.url).early_message("first");
    assert!(within(request.connect()).await.is_err());
    assert_eq!(server.seen(), seen((1, 1), (0, 0)));
}

/// Records the version of HTTP in which upstreams answered.
#[derive(Default)]
struct Versions(Mutex<Vec<Option<http::Version>>>);

impl h2ws::bridge::BridgeObserver for Versions {
    fn on_handshake(&self, access: &h2ws::bridge::AccessRecord) {
        self.0.lock().unwrap().push(access.upstream_version());
    }
}

/// A bridge falls back for its upstreams as well, and its access record holds the
/// version.
#[tokio::test]
async fn a_bridge_falls_back_to_http1_for_its_upstream() {
    let versions = Arc::new(Versions::default());
    let server = DualServer::start(&[Answer::Status(501)], &[Answer::Accept]).await;
    let upstream = format!("wss://localhost:{}", server.port);
    let builder = h2ws::bridge::Bridge::to(&upstream).client(server.client().build().unwrap());
    let bridge = builder.build().unwrap();
    bridge.observe(versions.clone());
    let bridging = crate::support::bridge::Bridging::of(&bridge, WebSocketConfig::default()).await;
    let client = crate::support::client::http2().build().unwrap();
    for sockets in 1..=2 {
        let mut socket = within(client.connect(&bridging.url())).await.unwrap();
        echo(&mut socket, "through the bridge").await;
        assert_eq!(server.seen(), seen((1, 1), (sockets, sockets)));
    }
    let http1 = Some(http::Version::HTTP_11);
    assert_eq!(*versions.0.lock().unwrap(), [http1, http1]);
    let server = DualServer::start(&[Answer::Accept, Answer::Status(404)], &[]).await;
    let upstream = format!("wss://localhost:{}", server.port);
    let builder = h2ws::bridge::Bridge::to(&upstream).client(server.client().build().unwrap());
    let bridge = builder.build().unwrap();
    bridge.observe(versions.clone());
    let bridging = crate::support::bridge::Bridging::of(&bridge, WebSocketConfig::default()).await;
    let mut socket = within(client.connect(&bridging.url())).await.unwrap();
    echo(&mut socket, "through the bridge").await;
    assert!(within(client.connect(&bridging.url())).await.is_err());
    let http2 = Some(http::Version::HTTP_2);
    assert_eq!(versions.0.lock().unwrap()[2..], [http2, http2]);
}
