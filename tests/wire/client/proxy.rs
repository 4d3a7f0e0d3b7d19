//! Sockets through hand-written forward proxies: CONNECT (RFC 9110 §9.3.6) and SOCKS5
//! (RFC 1928).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2ws::client::ClientBuilder;
use h2ws::proxy::{ProxyError, ProxyUrlError};
use h2ws::{Client, Error, HttpVersion, Server, Timeout};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::client::{echo, http1, http2, listen};
use crate::support::server::{self, Running};
use crate::support::{tls, until, within};

/// How a proxy treats its clients.
#[derive(Clone, Copy)]
enum Behaviour {
    /// CONNECT, for clients that send this `Proxy-Authorization`.
    Connect(Option<&'static str>),
    /// Reads the head of a request, sends this answer, and waits for the client to close.
    Answer(&'static str),
    /// SOCKS5, for clients with this login.
    Socks5(Option<(&'static str, &'static str)>),
    /// SOCKS5 with this reply.
    SocksReply(u8),
    Silent,
}

/// A proxy that connects every client to one server, whatever target is requested.
struct Proxy {
    addr: SocketAddr,
    requests: Log,
    /// One entry per connection that its client ended.
    ended: Log,
    task: JoinHandle<()>,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Proxy {
    async fn start(behaviour: Behaviour, server: SocketAddr) -> Self {
        Self::over(behaviour, server, None).await
    }

    async fn over(behaviour: Behaviour, server: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let (listener, addr) = listen().await;
        let (requests, ended) = (Log::default(), Log::default());
        let logs = (requests.clone(), ended.clone());
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let (requests, ended) = logs.clone();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => match tls.accept(io).await {
                            Ok(io) => serve_client(io, behaviour, server, &requests).await,
                            Err(_) => return,
                        },
                        None => serve_client(io, behaviour, server, &requests).await,
                    };
                    ended.lock().unwrap().push(String::new());
                });
            }
        });
        Self {
            addr,
            requests,
            ended,
            task,
        }
    }

    fn url(&self, scheme_and_login: &str) -> String {
        format!("{scheme_and_login}{}", self.addr)
    }

    /// The requested targets, one entry per connection.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn ended(&self) -> usize {
        self.ended.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one client until it disconnects. Returns `None` if that was during the
/// handshake.
async fn serve_client<T>(
    mut io: T,
    behaviour: Behaviour,
    server: SocketAddr,
    requests: &Log,
) -> Option<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let log = |text: String| requests.lock().unwrap().push(text);
    match behaviour {
        Behaviour::Connect(wanted) => {
            let (line, authorization) = head(&mut io).await?;
            log(line);
            if authorization.as_deref() != wanted {
                let answer = "HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"a\"\r\n\
                          content-length: 5\r\n\r\nlogin";
                io.write_all(answer.as_bytes()).await.ok()?;
                return wait_for_close(&mut io).await;
            }
            io.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
        }
        Behaviour::Answer(answer) => {
            log(head(&mut io).await?.0);
            io.write_all(answer.as_bytes()).await.ok()?;
            return wait_for_close(&mut io).await;
        }
        Behaviour::Socks5(login) => {
            log(socks(&mut io, login, 0).await?);
        }
        Behaviour::SocksReply(reply) => {
            log(socks(&mut io, None, reply).await?);
            return wait_for_close(&mut io).await;
        }
        Behaviour::Silent => return wait_for_close(&mut io).await,
    }
    let mut upstream = TcpStream::connect(server).await.ok()?;
    tokio::io::copy_bidirectional(&mut io, &mut upstream)
        .await
        .ok()?;
    Some(())
}

async fn wait_for_close<T: AsyncRead + Unpin>(io: &mut T) -> Option<()> {
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.ok()?;
    Some(())
}

/// Returns the first line of a request and its `Proxy-Authorization`.
async fn head<T: AsyncRead + Unpin>(io: &mut T) -> Option<(String, Option<String>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let authorization = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let ours = name.eq_ignore_ascii_case("proxy-authorization");
        ours.then(|| value.to_owned())
    });
    Some((line, authorization))
}

/// The server's side of RFC 1928. Returns the requested target.
async fn socks<T>(io: &mut T, login: Option<(&str, &str)>, reply: u8) -> Option<String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let method = if login.is_some() { 2 } else { 0 };
    if io.read_u8().await.ok()? != 5 || !read_counted(io).await?.contains(&method) {
        io.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    io.write_all(&[5, method]).await.ok()?;
    if let Some((user, password)) = login {
        io.read_u8().await.ok()?;
        let good = read_counted(io).await? == user.as_bytes();
        let good = good & (read_counted(io).await? == password.as_bytes());
        io.write_all(&[1, u8::from(!good)]).await.ok()?;
        if !good {
            return None;
        }
    }
    let mut request = [0; 4];
    io.read_exact(&mut request).await.ok()?;
    let host = match request {
        [5, 1, 0, 1] => std::net::Ipv4Addr::from(io.read_u32().await.ok()?).to_string(),
        [5, 1, 0, 3] => String::from_utf8(read_counted(io).await?).ok()?,
        _ => return None,
    };
    let port = io.read_u16().await.ok()?;
    io.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .ok()?;
    Some(format!("{host}:{port}"))
}

async fn read_counted<T: AsyncRead + Unpin>(io: &mut T) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::from(io.read_u8().await.ok()?)];
    io.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

/// Starts a server with TLS. Returns it with a client that trusts it, and its URL.
async fn tls_server(
    configure: impl FnOnce(&mut rustls::ServerConfig),
) -> (Running, ClientBuilder, String) {
    let (mut config, trusting) = tls::pair();
    configure(&mut config);
    let server = server::echo(Server::builder().tls(config)).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    (server, Client::builder().tls(trusting), url)
}

/// Connects through a proxy that has to refuse, and waits until the client has closed the
/// connection.
async fn refused(behaviour: Behaviour, login: &str) -> (Proxy, ProxyError) {
    let server = server::echo(Server::builder()).await;
    let proxy = Proxy::start(behaviour, server.addr).await;
    let client = http2().proxy(&proxy.url(login)).build().unwrap();
    let error = match within(client.connect("ws://origin.test/")).await {
        Err(Error::Proxy(error)) => error,
        other => panic!("{other:?}"),
    };
    until(|| proxy.ended() == 1).await;
    (proxy, error)
}

/// ALPN and HTTP/2 work inside the tunnel, and all sockets share it.
#[tokio::test]
async fn twenty_sockets_share_one_tunnel() {
    for (behaviour, scheme) in [
        (Behaviour::Connect(None), "http://"),
        (Behaviour::Socks5(None), "socks5://"),
    ] {
        let (server, builder, url) = tls_server(|_| {}).await;
        let proxy = Proxy::start(behaviour, server.addr).await;
        let client = builder.proxy(&proxy.url(scheme)).build().unwrap();
        let opens = (0..20).map(|_| client.connect(&url));
        for ws in within(futures_util::future::join_all(opens)).await {
            let mut ws = ws.unwrap();
            assert!(ws.transport().is_http2());
            echo(&mut ws, "through the tunnel").await;
            within(ws.close(None)).await.unwrap();
        }
        assert_eq!(proxy.requests().len(), 1);
        assert_eq!(client.connections()[0].streams_opened, 20);
        drop(client);
        until(|| proxy.ended() == 1).await;
    }
}

/// Over HTTP/1.1 each socket has a tunnel of its own.
#[tokio::test]
async fn each_http1_socket_has_its_own_tunnel() {
    let (server, builder, url) =
        tls_server(|config| config.alpn_protocols = vec![b"http/1.1".into()]).await;
    let proxy = Proxy::start(Behaviour::Connect(None), server.addr).await;
    let client = builder.proxy(&proxy.url("http://")).build().unwrap();
    for _ in 0..2 {
        let mut ws = within(client.connect(&url)).await.unwrap();
        assert!(!ws.transport().is_http2());
        echo(&mut ws, "through the tunnel").await;
    }
    let line = format!("CONNECT localhost:{} HTTP/1.1", server.addr.port());
    assert_eq!(proxy.requests(), [line.clone(), line]);
}

/// HTTP/2 without RFC 8441 inside a tunnel: the client opens a second tunnel for
/// HTTP/1.1.
#[tokio::test]
async fn the_fallback_opens_a_second_tunnel() {
    let (config, trusting) = tls::pair();
    let server = Server::builder().tls(config).extended_connect(false);
    let server = server::echo(server).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    let proxy = Proxy::start(Behaviour::Connect(None), server.addr).await;
    let client = Client::builder().tls(trusting).proxy(&proxy.url("http://"));
    let client = client.build().unwrap();
    let mut ws = within(client.connect(&url)).await.unwrap();
    assert!(!ws.transport().is_http2());
    echo(&mut ws, "fallen back").await;
    assert_eq!(proxy.requests().len(), 2);
}

/// The proxy receives the name and resolves it. RFC 6455 §4.1 requires a tunnel for `ws`
/// as well.
#[tokio::test]
async fn the_proxy_resolves_names() {
    let server = server::echo(Server::builder()).await;
    for (behaviour, scheme, requests) in [
        (
            Behaviour::Connect(None),
            "http://",
            "CONNECT origin.test:80 HTTP/1.1",
        ),
        (Behaviour::Socks5(None), "socks5://", "origin.test:80"),
        (Behaviour::Socks5(None), "socks5h://", "origin.test:80"),
    ] {
        for builder in [http1(), http2()] {
            let proxy = Proxy::start(behaviour, server.addr).await;
            let client = builder.proxy(&proxy.url(scheme)).build().unwrap();
            let mut ws = within(client.connect("ws://origin.test/")).await.unwrap();
            echo(&mut ws, "hello").await;
            assert_eq!(proxy.requests(), [requests]);
        }
    }
}

/// RFC 7617 §2 and RFC 1929.
#[tokio::test]
async fn credentials_in_the_proxy_url_are_sent() {
    let server = server::echo(Server::builder()).await;
    for (behaviour, scheme) in [
        (
            Behaviour::Connect(Some("Basic bWU6cEBzcw==")),
            "http://me:p%40ss@",
        ),
        (
            Behaviour::Socks5(Some(("me", "p@ss"))),
            "socks5://me:p%40ss@",
        ),
        // Credentials that the proxy does not request.
        (Behaviour::Socks5(None), "socks5://me:p%40ss@"),
    ] {
        let proxy = Proxy::start(behaviour, server.addr).await;
        let client = http2().proxy(&proxy.url(scheme)).build().unwrap();
        let mut ws = within(client.connect("ws://origin.test/")).await.unwrap();
        echo(&mut ws, "hello").await;
        assert_eq!(proxy.requests().len(), 1);
    }
}

/// TLS to the proxy, and TLS to the server inside the tunnel.
#[tokio::test]
async fn a_proxy_may_use_tls_itself() {
    let (server, builder, url) = tls_server(|_| {}).await;
    let (config, _) = tls::pair();
    let untrusted = TlsAcceptor::from(Arc::new(config));
    let behaviour = Behaviour::Connect(None);
    let proxy = Proxy::over(behaviour, server.addr, Some(untrusted)).await;
    let proxy_url = format!("https://localhost:{}", proxy.addr.port());
    let client = builder.proxy(&proxy_url).build().unwrap();
    let failed = within(client.connect(&url)).await;
    assert!(
        matches!(failed, Err(Error::Proxy(ProxyError::Tls(_)))),
        "{failed:?}"
    );
    assert!(proxy.requests().is_empty());

    let (config, trusting) = tls::pair();
    let trusted = TlsAcceptor::from(Arc::new(config.clone()));
    let server = server::echo(Server::builder().tls(config)).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    let proxy = Proxy::over(behaviour, server.addr, Some(trusted)).await;
    let proxy_url = format!("https://localhost:{}", proxy.addr.port());
    let client = Client::builder().tls(trusting).proxy(&proxy_url);
    let client = client.build().unwrap();
    let mut ws = within(client.connect(&url)).await.unwrap();
    assert!(ws.transport().is_http2());
    echo(&mut ws, "in two layers of TLS").await;
    assert_eq!(proxy.requests().len(), 1);
}

/// RFC 9110 §11.7.1: the answer is reported unchanged, and the request is not retried.
#[tokio::test]
async fn a_407_is_reported() {
    for login in ["http://", "http://me:wrong@"] {
        let (proxy, error) = refused(Behaviour::Connect(Some("Basic bWU6cEBzcw==")), login).await;
        let text = format!("{error} {error:?}");
        assert!(text.contains("407") && !text.contains("wrong"), "{text}");
        let ProxyError::Rejected(answer) = error else {
            panic!("{error:?}");
        };
        assert_eq!(answer.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        assert_eq!(answer.headers()["proxy-authenticate"], "Basic realm=\"a\"");
        assert_eq!(answer.body(), "login");
        assert_eq!(proxy.requests().len(), 1);
    }
    for login in ["socks5://", "socks5://me:wrong@"] {
        let (_, error) = refused(Behaviour::Socks5(Some(("me", "p@ss"))), login).await;
        assert!(matches!(error, ProxyError::Login), "{error:?}");
    }
}

#[tokio::test]
async fn other_refusals_are_reported() {
    let answer = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 8\r\n\r\nno route";
    let (_, error) = refused(Behaviour::Answer(answer), "http://").await;
    let ProxyError::Rejected(answer) = error else {
        panic!("{error:?}");
    };
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.body(), "no route");
    let (_, error) = refused(Behaviour::SocksReply(5), "socks5://").await;
    assert!(matches!(error, ProxyError::Socks(5)), "{error:?}");
}

/// A refusal's body is kept up to the limit, and a body that does not arrive does not
/// withhold the status.
#[tokio::test]
async fn the_body_of_a_refusal_is_bounded() {
    let answer = "HTTP/1.1 503 No\r\ncontent-length: 1000000\r\n\r\n0123456789";
    let server = server::echo(Server::builder()).await;
    for (limit, kept) in [(0, ""), (4, "0123"), (100, "0123456789")] {
        let proxy = Proxy::start(Behaviour::Answer(answer), server.addr).await;
        let client = http2()
            .proxy(&proxy.url("http://"))
            .max_rejection_body(limit);
        let failed = within(client.build().unwrap().connect("ws://origin.test/")).await;
        match failed {
            Err(Error::Proxy(ProxyError::Rejected(answer))) => assert_eq!(answer.body(), kept),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_not_a_proxy_is_reported() {
    for (behaviour, scheme) in [
        (Behaviour::Answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "http://"),
        (Behaviour::Socks5(None), "http://"),
    ] {
        let (_, error) = refused(behaviour, scheme).await;
        assert!(matches!(error, ProxyError::Protocol(_)), "{error:?}");
    }
    // The listener is dropped at the end of the statement.
    let unused = listen().await.1;
    for scheme in ["http://", "https://", "socks5://"] {
        let client = http2().proxy(&format!("{scheme}{unused}")).build().unwrap();
        let failed = within(client.connect("ws://origin.test/")).await;
        assert!(
            matches!(failed, Err(Error::Proxy(ProxyError::Connect(_)))),
            "{failed:?}"
        );
    }
}

/// The connect timeout covers a silent proxy like a silent server.
#[tokio::test]
async fn a_silent_proxy_takes_no_longer_than_the_connect_timeout() {
    let server = server::echo(Server::builder()).await;
    for scheme in ["http://", "https://", "socks5://"] {
        let proxy = Proxy::start(Behaviour::Silent, server.addr).await;
        let client = http2()
            .proxy(&proxy.url(scheme))
            .connect_timeout(Duration::from_millis(50));
        let client = client.build().unwrap();
        let failed = within(client.connect("ws://origin.test/")).await;
        assert!(
            matches!(failed, Err(Error::Timeout(Timeout::Connect))),
            "{failed:?}"
        );
        // The connection to it is closed as well.
        until(|| proxy.ended() == 1).await;
    }
}

#[tokio::test]
async fn the_last_proxy_applies_and_its_password_is_not_shown() {
    let server = server::echo(Server::builder()).await;
    let builder = http2().proxy("gopher://me:hunter2@a");
    assert!(!format!("{builder:?}").contains("hunter2"));
    match builder.clone().build() {
        Err(Error::Proxy(ProxyError::Url(ProxyUrlError::Scheme))) => {}
        other => panic!("{other:?}"),
    }
    let builder = builder.proxy("http://me:hunter2@127.0.0.1:1");
    let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
    assert!(
        !shown.contains("hunter2") && !shown.contains("bWU6aHVudGVyMg"),
        "{shown}"
    );
    let client = builder
        .no_proxy()
        .version(HttpVersion::Http2)
        .build()
        .unwrap();
    let mut ws = within(client.connect(&server.url("/"))).await.unwrap();
    echo(&mut ws, "directly").await;
}

/// `dial` returns the bare stream, with a proxy and without.
#[tokio::test]
async fn dial_reaches_the_server_that_connect_would_reach() {
    let server = server::echo(Server::builder()).await;
    let behaviour = Behaviour::Connect(Some("Basic bWU6c2VjcmV0"));
    let proxy = Proxy::start(behaviour, server.addr).await;
    let through = proxy.url("http://me:secret@");
    let through = http1().proxy(&through).build().unwrap();
    let shown = through.proxy_for("ws://origin.test/").unwrap();
    assert_eq!(shown, Some(format!("http://{}", proxy.addr)));
    let direct = http1().build().unwrap();
    assert_eq!(direct.proxy_for("ws://origin.test/").unwrap(), None);
    for (client, url) in [
        (through, "ws://origin.test/".to_owned()),
        (direct, server.url("/")),
    ] {
        let mut io = within(client.dial(&url)).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        within(io.write_all(request)).await.unwrap();
        let mut answer = [0; 9];
        within(io.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 ");
        let not_websocket = client.dial("ftp://origin.test/").await.err();
        assert!(matches!(not_websocket, Some(Error::Handshake(_))));
    }
    assert_eq!(proxy.requests(), ["CONNECT origin.test:80 HTTP/1.1"]);
}
