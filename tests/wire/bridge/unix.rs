//! Upstreams on Unix sockets, for WebSockets, plain HTTP requests, checks and bytes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use h2ws::bridge::{Bridge, BridgeBuilder, BridgeError, Check, Route};
use h2ws::handshake::AllowedOrigins;
use h2ws::server::{ServerBuilder, WebSocketRequest};
use h2ws::{Client, Error, HttpVersion, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::support::bridge::Bridging;
use crate::support::client::{echo, http1, http2};
use crate::support::plain_http::GET;
use crate::support::table::{Table, table};
use crate::support::text::Text;
use crate::support::{server, tls, until, with_causes, within};

/// The path of a Unix socket, whose file is removed at the end.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("h2ws-upstream-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(&self.0).unwrap()
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// A URL such as `ws+unix:/tmp/a.sock`.
    fn url(&self, scheme: &str) -> String {
        format!("{scheme}:{}", self.0.display())
    }

    /// Serves WebSockets that send their host and path and then echo, and pages with both.
    fn serve(&self, builder: ServerBuilder) {
        let server = builder.listener(self.listen()).unwrap();
        let pages = Router::new().fallback(|request: http::Request<axum::body::Body>| async move {
            let uri = request.uri();
            let host = request.headers().get("host");
            let host = host.map(|host| host.to_str().unwrap());
            let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
            format!("{} {}", host.unwrap(), uri.path_and_query().unwrap())
        });
        let sockets = |request: WebSocketRequest| async move {
            let seen = format!("{} {}", request.authority(), request.uri());
            let path = request.path().to_owned();
            let mut ws = request.accept().await.unwrap();
            ws.send(seen).await.unwrap();
            server::echo_socket(ws, path).await;
        };
        tokio::spawn(server.serve(sockets).fallback(pages).into_future());
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn to(url: &str, version: HttpVersion, client: Client) -> BridgeBuilder {
    Bridge::to(url).client(client).upstream_version(version)
}

fn cleartext() -> Client {
    Client::builder().tls(tls::none()).build().unwrap()
}

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

#[tokio::test]
async fn sockets_and_plain_requests_reach_a_unix_socket_over_either_version() {
    let socket = Socket::new();
    socket.serve(Server::builder());
    let url = socket.url("ws+unix") + ":/v2";
    for version in VERSIONS {
        for (own_host, host) in [(false, "a.test"), (true, "localhost")] {
            let builder = to(&url, version, cleartext()).upstream_host(own_host);
            let bridging = Bridging::start(builder).await;
            for client in [http1(), http2()] {
                let client = client.build().unwrap();
                let asked = format!("ws://{}/room?x=:/y", bridging.addr);
                let request = client.request(asked).authority("a.test".parse().unwrap());
                let mut ws = within(request.connect()).await.unwrap();
                let seen = within(ws.recv()).await.unwrap().unwrap();
                let seen = seen.as_text().unwrap();
                assert!(seen.starts_with(&format!("{host} ")), "{version:?}: {seen}");
                assert!(seen.ends_with("/v2/room?x=:/y"), "{version:?}: {seen}");
                echo(&mut ws, "hello").await;
            }
            let mut page = Text::client(bridging.addr, GET).await;
            page.read_head().await;
            assert!(page.head.starts_with("HTTP/1.1 200 "), "{}", page.head);
            let body = format!("{host} /v2/page");
            assert_eq!(page.take(body.len()).await, body, "{version:?}");
        }
    }
}

#[tokio::test]
async fn tls_on_a_unix_socket_verifies_the_host_or_the_server_name() {
    let authority = tls::Authority::new();
    let socket = Socket::new();
    let identity = authority.sign(&["app.test"]);
    let certificates = h2ws::tls::Certificates::new(identity).unwrap();
    let config = h2ws::tls::server_config(certificates, h2ws::tls::ClientAuth::None);
    socket.serve(Server::builder().tls(config.unwrap()));
    let client = || {
        let config = h2ws::tls::client_config(h2ws::tls::Trust::Only(authority.roots()), None);
        Client::builder().tls(config.unwrap()).build().unwrap()
    };
    let path = socket.path().display();
    for (url, name, fits) in [
        (format!("wss+unix://app.test{path}"), None, true),
        (format!("wss+unix:{path}"), Some("app.test"), true),
        (format!("wss+unix:{path}"), None, false),
    ] {
        let builder = to(&url, HttpVersion::Auto, client()).server_name(name.map(str::to_owned));
        let bridging = Bridging::start(builder).await;
        let connected = within(http1().build().unwrap().connect(bridging.url())).await;
        assert_eq!(connected.is_ok(), fits, "{url} {name:?}: {connected:?}");
    }
}

/// All have the same host and port.
#[tokio::test]
async fn connections_are_not_shared_between_unix_sockets() {
    let client = http2().build().unwrap();
    let sockets = [Socket::new(), Socket::new()];
    for (number, socket) in sockets.iter().enumerate() {
        socket.serve(Server::builder());
        for _ in 0..2 {
            let mut ws = within(client.connect(socket.url("ws+unix"))).await.unwrap();
            within(ws.recv()).await.unwrap().unwrap();
            echo(&mut ws, "hello").await;
            assert_eq!(client.connections().len(), number + 1);
        }
    }
}

#[tokio::test]
async fn an_error_names_the_path_that_cannot_be_reached() {
    let (missing, file, deaf) = (Socket::new(), Socket::new(), Socket::new());
    std::fs::write(file.path(), "").unwrap();
    drop(deaf.listen());
    for socket in [&missing, &file, &deaf] {
        for version in VERSIONS {
            let client = Client::builder().tls(tls::none()).version(version);
            let client = client.build().unwrap();
            let error = within(client.connect(socket.url("ws+unix")))
                .await
                .unwrap_err();
            assert!(matches!(error, Error::Connect(_)), "{error:?}");
            let text = with_causes(&error);
            let path = socket.path().display().to_string();
            assert!(text.contains(&path), "{text}");
        }
        let builder = to(&socket.url("ws+unix"), HttpVersion::Auto, cleartext());
        let bridging = Bridging::start(builder).await;
        let mut page = Text::client(bridging.addr, GET).await;
        page.read_head().await;
        assert!(page.head.starts_with("HTTP/1.1 502 "), "{}", page.head);
    }
}

/// Linux reports a full queue as an error, where TCP waits.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_queue_of_a_unix_socket_delays_and_does_not_fail() {
    use socket2::{Domain, SockAddr, Type};

    let socket = Socket::new();
    let narrow = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    narrow
        .bind(&SockAddr::unix(socket.path()).unwrap())
        .unwrap();
    narrow.listen(0).unwrap();
    narrow.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(narrow.into()).unwrap();
    let _first = tokio::net::UnixStream::connect(socket.path())
        .await
        .unwrap();
    let second = tokio::net::UnixStream::connect(socket.path()).await;
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let client = http1().build().unwrap();
    let opening = tokio::spawn(async move { client.connect(socket.url("ws+unix")).await });
    // Its first attempt meets the full queue.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(!opening.is_finished());
    let server = Server::builder().listener(listener).unwrap();
    let sockets = |request: WebSocketRequest| async { drop(request.accept().await) };
    tokio::spawn(server.serve(sockets).into_future());
    within(opening).await.unwrap().unwrap();
}

#[tokio::test]
async fn checks_reach_a_unix_socket() {
    for check in [Check::tcp(), Check::http("/").unwrap()] {
        let (up, down) = (Socket::new(), Socket::new());
        up.serve(Server::builder());
        let route = Route::builder("*", "/*").unwrap();
        let route = [&up, &down].into_iter().fold(route, |route, socket| {
            route.upstream(socket.url("ws+unix").parse().unwrap())
        });
        let check = check.interval(Duration::from_millis(5));
        let table = Table::start(table([route.check(check)])).await;
        let healthy = || {
            let routes = table.bridge.routes();
            let statuses = routes.iter().next().unwrap().upstreams();
            let healthy: Vec<_> = statuses.iter().map(|status| status.is_healthy).collect();
            healthy
        };
        until(|| healthy() == [true, false]).await;
        down.serve(Server::builder());
        until(|| healthy() == [true, true]).await;
    }
}

#[tokio::test]
async fn bytes_are_tunnelled_to_a_unix_socket_with_half_closes() {
    let socket = Socket::new();
    let listener = socket.listen();
    let builder = to(&socket.url("unix"), HttpVersion::Auto, cleartext());
    let unprotected = builder.clone().build().unwrap_err();
    assert!(
        matches!(unprotected, BridgeError::OriginsRequired),
        "{unprotected:?}"
    );
    let bridging = Bridging::start(builder.allowed_origins(AllowedOrigins::any())).await;
    for client in [http1(), http2()] {
        let client = client.build().unwrap();
        let request = client.request(bridging.url());
        let request = request.subprotocol(h2ws::socket::HALF_CLOSE);
        let (ws, accepted) = tokio::join!(within(request.connect()), within(listener.accept()));
        let (mut stream, mut target) = (ws.unwrap().into_binary_stream(), accepted.unwrap().0);
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut read = Vec::new();
        within(target.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, b"question");
        target.write_all(b"answer").await.unwrap();
        drop(target);
        read.clear();
        within(stream.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, b"answer");
    }
}
