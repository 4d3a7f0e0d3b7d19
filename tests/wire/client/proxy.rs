//! Sockets through forward proxies, by hand: CONNECT (RFC 9110 §9.3.6) and
//! SOCKS5 (RFC 1928).

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

/// What a proxy does with those who come.
#[derive(Clone, Copy)]
enum Manner {
    /// CONNECT, to those who send this `Proxy-Authorization`.
    Connect(Option<&'static str>),
    /// Reads a request's head, answers this, and waits for the client to go.
    Answer(&'static str),
    /// SOCKS5, to those with this login.
    Socks5(Option<(&'static str, &'static str)>),
    /// SOCKS5 with this reply.
    SocksReply(u8),
    Silent,
}

/// A proxy that leads everybody to one server, whatever they ask for.
struct Proxy {
    addr: SocketAddr,
    asked: Log,
    /// Connections that their clients ended.
    left: Log,
    task: JoinHandle<()>,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Proxy {
    async fn start(manner: Manner, server: SocketAddr) -> Self {
        Self::over(manner, server, None).await
    }

    async fn over(manner: Manner, server: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let (listener, addr) = listen().await;
        let (asked, left) = (Log::default(), Log::default());
        let logs = (asked.clone(), left.clone());
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let (asked, left) = logs.clone();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => match tls.accept(io).await {
                            Ok(io) => one(io, manner, server, &asked).await,
                            Err(_) => return,
                        },
                        None => one(io, manner, server, &asked).await,
                    };
                    left.lock().unwrap().push(String::new());
                });
            }
        });
        Self {
            addr,
            asked,
            left,
            task,
        }
    }

    fn url(&self, scheme_and_login: &str) -> String {
        format!("{scheme_and_login}{}", self.addr)
    }

    /// What was asked for, one entry a connection.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn left(&self) -> usize {
        self.left.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one client until it is gone. Nothing if it went early.
async fn one<T>(mut io: T, manner: Manner, server: SocketAddr, asked: &Log) -> Option<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let log = |text: String| asked.lock().unwrap().push(text);
    match manner {
        Manner::Connect(wanted) => {
            let (line, authorization) = head(&mut io).await?;
            log(line);
            if authorization.as_deref() != wanted {
                let no = "HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"a\"\r\n\
                          content-length: 5\r\n\r\nlogin";
                io.write_all(no.as_bytes()).await.ok()?;
                return gone(&mut io).await;
            }
            io.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
        }
        Manner::Answer(answer) => {
            log(head(&mut io).await?.0);
            io.write_all(answer.as_bytes()).await.ok()?;
            return gone(&mut io).await;
        }
        Manner::Socks5(login) => {
            log(socks(&mut io, login, 0).await?);
        }
        Manner::SocksReply(reply) => {
            log(socks(&mut io, None, reply).await?);
            return gone(&mut io).await;
        }
        Manner::Silent => return gone(&mut io).await,
    }
    let mut up = TcpStream::connect(server).await.ok()?;
    tokio::io::copy_bidirectional(&mut io, &mut up).await.ok()?;
    Some(())
}

async fn gone<T: AsyncRead + Unpin>(io: &mut T) -> Option<()> {
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.ok()?;
    Some(())
}

/// The first line of a request, and its `Proxy-Authorization`.
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

/// The server's part of RFC 1928. Returns what was asked for.
async fn socks<T>(io: &mut T, login: Option<(&str, &str)>, reply: u8) -> Option<String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let method = if login.is_some() { 2 } else { 0 };
    if io.read_u8().await.ok()? != 5 || !counted(io).await?.contains(&method) {
        io.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    io.write_all(&[5, method]).await.ok()?;
    if let Some((user, password)) = login {
        io.read_u8().await.ok()?;
        let good = counted(io).await? == user.as_bytes();
        let good = good & (counted(io).await? == password.as_bytes());
        io.write_all(&[1, u8::from(!good)]).await.ok()?;
        if !good {
            return None;
        }
    }
    let mut request = [0; 4];
    io.read_exact(&mut request).await.ok()?;
    let host = match request {
        [5, 1, 0, 1] => std::net::Ipv4Addr::from(io.read_u32().await.ok()?).to_string(),
        [5, 1, 0, 3] => String::from_utf8(counted(io).await?).ok()?,
        _ => return None,
    };
    let port = io.read_u16().await.ok()?;
    io.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .ok()?;
    Some(format!("{host}:{port}"))
}

async fn counted<T: AsyncRead + Unpin>(io: &mut T) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::from(io.read_u8().await.ok()?)];
    io.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

/// A server with TLS, a client that trusts it, and its URL.
async fn secure(
    configure: impl FnOnce(&mut rustls::ServerConfig),
) -> (Running, ClientBuilder, String) {
    let (mut config, trusting) = tls::pair();
    configure(&mut config);
    let server = server::echo(Server::builder().tls(config)).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    (server, Client::builder().tls(trusting), url)
}

async fn refused(manner: Manner, login: &str) -> (Proxy, ProxyError) {
    let server = server::echo(Server::builder()).await;
    let proxy = Proxy::start(manner, server.addr).await;
    let client = http2().proxy(&proxy.url(login)).build().unwrap();
    let error = match within(client.connect("ws://origin.test/")).await {
        Err(Error::Proxy(error)) => error,
        other => panic!("{other:?}"),
    };
    until(|| proxy.left() == 1).await;
    (proxy, error)
}

/// ALPN and HTTP/2 go on inside the tunnel, and so do all sockets.
#[tokio::test]
async fn twenty_sockets_share_one_tunnel() {
    for (manner, scheme) in [
        (Manner::Connect(None), "http://"),
        (Manner::Socks5(None), "socks5://"),
    ] {
        let (server, builder, url) = secure(|_| {}).await;
        let proxy = Proxy::start(manner, server.addr).await;
        let client = builder.proxy(&proxy.url(scheme)).build().unwrap();
        let opens = (0..20).map(|_| client.connect(&url));
        for ws in within(futures_util::future::join_all(opens)).await {
            let mut ws = ws.unwrap();
            assert!(ws.transport().is_http2());
            echo(&mut ws, "through the tunnel").await;
            within(ws.close(None)).await.unwrap();
        }
        assert_eq!(proxy.asked().len(), 1);
        assert_eq!(client.connections()[0].streams_opened, 20);
        drop(client);
        until(|| proxy.left() == 1).await;
    }
}

/// The fallback to HTTP/1.1 has a tunnel of its own.
#[tokio::test]
async fn http_1_1_goes_through_a_tunnel_as_well() {
    let (server, builder, url) =
        secure(|config| config.alpn_protocols = vec![b"http/1.1".into()]).await;
    let proxy = Proxy::start(Manner::Connect(None), server.addr).await;
    let client = builder.proxy(&proxy.url("http://")).build().unwrap();
    for _ in 0..2 {
        let mut ws = within(client.connect(&url)).await.unwrap();
        assert!(!ws.transport().is_http2());
        echo(&mut ws, "through the tunnel").await;
    }
    let line = format!("CONNECT localhost:{} HTTP/1.1", server.addr.port());
    assert_eq!(proxy.asked(), [line.clone(), line]);
}

/// HTTP/2 without RFC 8441 inside a tunnel: a second one for HTTP/1.1.
#[tokio::test]
async fn the_fallback_makes_a_second_tunnel() {
    let (config, trusting) = tls::pair();
    let server = Server::builder().tls(config).extended_connect(false);
    let server = server::echo(server).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    let proxy = Proxy::start(Manner::Connect(None), server.addr).await;
    let client = Client::builder().tls(trusting).proxy(&proxy.url("http://"));
    let client = client.build().unwrap();
    let mut ws = within(client.connect(&url)).await.unwrap();
    assert!(!ws.transport().is_http2());
    echo(&mut ws, "fallen back").await;
    assert_eq!(proxy.asked().len(), 2);
}

/// The proxy is told the name and resolves it; RFC 6455 §4.1 wants a tunnel
/// for `ws` as well.
#[tokio::test]
async fn the_proxy_resolves_names() {
    let server = server::echo(Server::builder()).await;
    for (manner, scheme, asked) in [
        (
            Manner::Connect(None),
            "http://",
            "CONNECT origin.test:80 HTTP/1.1",
        ),
        (Manner::Socks5(None), "socks5://", "origin.test:80"),
        (Manner::Socks5(None), "socks5h://", "origin.test:80"),
    ] {
        for builder in [http1(), http2()] {
            let proxy = Proxy::start(manner, server.addr).await;
            let client = builder.proxy(&proxy.url(scheme)).build().unwrap();
            let mut ws = within(client.connect("ws://origin.test/")).await.unwrap();
            echo(&mut ws, "hello").await;
            assert_eq!(proxy.asked(), [asked]);
        }
    }
}

/// RFC 7617 §2 and RFC 1929.
#[tokio::test]
async fn credentials_of_the_url_are_sent() {
    let server = server::echo(Server::builder()).await;
    for (manner, scheme) in [
        (
            Manner::Connect(Some("Basic bWU6cEBzcw==")),
            "http://me:p%40ss@",
        ),
        (Manner::Socks5(Some(("me", "p@ss"))), "socks5://me:p%40ss@"),
        // A login that is not asked for.
        (Manner::Socks5(None), "socks5://me:p%40ss@"),
    ] {
        let proxy = Proxy::start(manner, server.addr).await;
        let client = http2().proxy(&proxy.url(scheme)).build().unwrap();
        let mut ws = within(client.connect("ws://origin.test/")).await.unwrap();
        echo(&mut ws, "hello").await;
        assert_eq!(proxy.asked().len(), 1);
    }
}

/// TLS to the proxy, and TLS to the server inside.
#[tokio::test]
async fn a_proxy_may_have_tls_itself() {
    let (server, builder, url) = secure(|_| {}).await;
    let (config, _) = tls::pair();
    let stranger = TlsAcceptor::from(Arc::new(config));
    let manner = Manner::Connect(None);
    let proxy = Proxy::over(manner, server.addr, Some(stranger)).await;
    let proxy_url = format!("https://localhost:{}", proxy.addr.port());
    let client = builder.proxy(&proxy_url).build().unwrap();
    let failed = within(client.connect(&url)).await;
    assert!(
        matches!(failed, Err(Error::Proxy(ProxyError::Tls(_)))),
        "{failed:?}"
    );
    assert!(proxy.asked().is_empty());

    let (config, trusting) = tls::pair();
    let known = TlsAcceptor::from(Arc::new(config.clone()));
    let server = server::echo(Server::builder().tls(config)).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    let proxy = Proxy::over(manner, server.addr, Some(known)).await;
    let proxy_url = format!("https://localhost:{}", proxy.addr.port());
    let client = Client::builder().tls(trusting).proxy(&proxy_url);
    let client = client.build().unwrap();
    let mut ws = within(client.connect(&url)).await.unwrap();
    assert!(ws.transport().is_http2());
    echo(&mut ws, "in two layers of TLS").await;
    assert_eq!(proxy.asked().len(), 1);
}

/// RFC 9110 §11.7.1: told as it is, and not asked again.
#[tokio::test]
async fn a_407_says_so() {
    for login in ["http://", "http://me:wrong@"] {
        let (proxy, error) = refused(Manner::Connect(Some("Basic bWU6cEBzcw==")), login).await;
        let text = format!("{error} {error:?}");
        assert!(text.contains("407") && !text.contains("wrong"), "{text}");
        let ProxyError::Refused(answer) = error else {
            panic!("{error:?}");
        };
        assert_eq!(answer.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        assert_eq!(answer.headers()["proxy-authenticate"], "Basic realm=\"a\"");
        assert_eq!(answer.body(), "login");
        assert_eq!(proxy.asked().len(), 1);
    }
    for login in ["socks5://", "socks5://me:wrong@"] {
        let (_, error) = refused(Manner::Socks5(Some(("me", "p@ss"))), login).await;
        assert!(matches!(error, ProxyError::Login), "{error:?}");
    }
}

#[tokio::test]
async fn other_refusals_say_so() {
    let answer = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 8\r\n\r\nno route";
    let (_, error) = refused(Manner::Answer(answer), "http://").await;
    let ProxyError::Refused(answer) = error else {
        panic!("{error:?}");
    };
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.body(), "no route");
    let (_, error) = refused(Manner::SocksReply(5), "socks5://").await;
    assert!(matches!(error, ProxyError::Socks(5)), "{error:?}");
}

/// A refusal's body is kept up to the limit, and a body that does not come
/// costs the status nothing.
#[tokio::test]
async fn a_refusals_body_is_bounded() {
    let answer = "HTTP/1.1 503 No\r\ncontent-length: 1000000\r\n\r\n0123456789";
    let server = server::echo(Server::builder()).await;
    for (limit, kept) in [(0, ""), (4, "0123"), (100, "0123456789")] {
        let proxy = Proxy::start(Manner::Answer(answer), server.addr).await;
        let client = http2()
            .proxy(&proxy.url("http://"))
            .max_rejection_body(limit);
        let failed = within(client.build().unwrap().connect("ws://origin.test/")).await;
        match failed {
            Err(Error::Proxy(ProxyError::Refused(answer))) => assert_eq!(answer.body(), kept),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_proxy_says_so() {
    for (manner, scheme) in [
        (Manner::Answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "http://"),
        (Manner::Socks5(None), "http://"),
    ] {
        let (_, error) = refused(manner, scheme).await;
        assert!(matches!(error, ProxyError::Protocol(_)), "{error:?}");
    }
    // Nobody listens there once the statement is over.
    let nobody = listen().await.1;
    for scheme in ["http://", "https://", "socks5://"] {
        let client = http2().proxy(&format!("{scheme}{nobody}")).build().unwrap();
        let failed = within(client.connect("ws://origin.test/")).await;
        assert!(
            matches!(failed, Err(Error::Proxy(ProxyError::Connect(_)))),
            "{failed:?}"
        );
    }
}

/// A proxy that says nothing is given up like a server that says nothing.
#[tokio::test]
async fn a_silent_proxy_takes_no_longer_than_the_connect_timeout() {
    let server = server::echo(Server::builder()).await;
    for scheme in ["http://", "https://", "socks5://"] {
        let proxy = Proxy::start(Manner::Silent, server.addr).await;
        let client = http2()
            .proxy(&proxy.url(scheme))
            .connect_timeout(Duration::from_millis(50));
        let client = client.build().unwrap();
        let failed = within(client.connect("ws://origin.test/")).await;
        assert!(
            matches!(failed, Err(Error::Timeout(Timeout::Connect))),
            "{failed:?}"
        );
        // Its connection is closed, too.
        until(|| proxy.left() == 1).await;
    }
}

#[tokio::test]
async fn the_proxy_set_last_counts_and_is_not_shown() {
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

/// What is dialled is the bare stream, with a proxy and without.
#[tokio::test]
async fn dialling_leads_where_connecting_would() {
    let server = server::echo(Server::builder()).await;
    let manner = Manner::Connect(Some("Basic bWU6c2VjcmV0"));
    let proxy = Proxy::start(manner, server.addr).await;
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
    assert_eq!(proxy.asked(), ["CONNECT origin.test:80 HTTP/1.1"]);
}
