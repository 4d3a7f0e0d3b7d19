//! Servers on any listener and any stream: TCP, Unix sockets, memory, and an accept
//! loop of the application, each with both HTTP versions.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::client::ClientBuilder;
use h2ws::memory::{self, MemoryConnector, MemoryListener};
use h2ws::server::{Connections, Listener, ServerBuilder, ShutdownReport, WebSocketRequest};
use h2ws::{Client, CloseCode, Error, HttpVersion, Message, Server, Transport};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tower_service::Service;

use crate::support::client::{echo, http1, http2, listen};
use crate::support::{server, tasks, tls, until, within};

const NO_ADDRESS: &str = "0.0.0.0:0";
const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

/// Sends the client's address, then echoes. At `/stuck` it never reads.
async fn handler(request: WebSocketRequest) {
    let (path, peer) = (request.path().to_owned(), request.peer_addr());
    let Ok(mut ws) = request.accept().await else {
        return;
    };
    if path == "/stuck" {
        std::future::pending::<()>().await;
    }
    if ws.send(peer.to_string()).await.is_ok() {
        server::echo_socket(ws, path).await;
    }
}

/// Shuts the server down and returns the report.
type Stop = Pin<Box<dyn Future<Output = ShutdownReport>>>;

/// A running server on one kind of listener or stream, how clients connect to it,
/// and the client address that it should see.
struct Carrier {
    name: &'static str,
    url: String,
    /// The expected client address, where it is fixed.
    peer: Option<&'static str>,
    connector: Box<dyn Fn(ClientBuilder) -> ClientBuilder>,
    stop: Stop,
}

impl Carrier {
    fn client(&self, version: HttpVersion) -> Client {
        let builder = match version {
            HttpVersion::Http2 => http2(),
            _ => http1(),
        };
        (self.connector)(builder).build().unwrap()
    }
}

fn serve(listener: impl Listener, timeout: Duration) -> Stop {
    let server = Server::builder().listener(listener).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server
        .serve(handler)
        .drain_timeout(timeout)
        .with_graceful_shutdown(async {
            let _ = stopped.await;
        });
    let done = tokio::spawn(serving.into_future());
    Box::pin(async move {
        stop.send(()).unwrap();
        done.await.unwrap().unwrap()
    })
}

fn in_memory(connector: MemoryConnector) -> Box<dyn Fn(ClientBuilder) -> ClientBuilder> {
    Box::new(move |builder| {
        let connector = connector.clone();
        builder.connector(move |_| connector.connect())
    })
}

async fn tcp(timeout: Duration) -> Carrier {
    let (listener, addr) = listen().await;
    Carrier {
        name: "TCP",
        url: format!("ws://{addr}"),
        peer: None,
        connector: Box::new(|builder| builder),
        stop: serve(listener, timeout),
    }
}

#[cfg(unix)]
fn unix(timeout: Duration) -> Carrier {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("h2ws-{}-{number}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let stop = serve(listener, timeout);
    Carrier {
        name: "a Unix socket",
        url: format!("ws+unix:{}:", path.display()),
        peer: Some(NO_ADDRESS),
        connector: Box::new(|builder| builder),
        stop: Box::pin(async move {
            let report = stop.await;
            std::fs::remove_file(path).unwrap();
            report
        }),
    }
}

fn memory(timeout: Duration) -> Carrier {
    let (listener, connector) = memory::pair();
    Carrier {
        name: "memory",
        url: "ws://app.example".to_owned(),
        peer: Some(NO_ADDRESS),
        connector: in_memory(connector),
        stop: serve(listener, timeout),
    }
}

/// A listener that fails before each connection, once with an error of a single
/// connection and once with a lack of resources.
struct Failing {
    inner: MemoryListener,
    failures: usize,
}

impl Listener for Failing {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        self.failures += 1;
        match self.failures % 3 {
            1 => Err(io::ErrorKind::ConnectionAborted.into()),
            2 => Err(io::ErrorKind::OutOfMemory.into()),
            _ => Listener::accept(&mut self.inner).await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.inner)
    }
}

fn failing(timeout: Duration) -> Carrier {
    let (inner, connector) = memory::pair();
    let listener = Failing { inner, failures: 0 };
    Carrier {
        name: "a listener that fails",
        url: "ws://app.example".to_owned(),
        peer: Some(NO_ADDRESS),
        connector: in_memory(connector),
        stop: serve(listener, timeout),
    }
}

fn unbound(builder: ServerBuilder, timeout: Duration) -> Connections {
    let server = builder.unbound().unwrap();
    assert!(server.local_addr().is_err());
    server.serve(handler).drain_timeout(timeout).connections()
}

fn own_accept_loop(timeout: Duration) -> Carrier {
    let connections = unbound(Server::builder(), timeout);
    let stopping = connections.clone();
    Carrier {
        name: "serve_connection",
        url: "ws://app.example".to_owned(),
        peer: Some("192.0.2.1:1234"),
        connector: Box::new(move |builder| {
            let connections = connections.clone();
            builder.connector(move |_| {
                let (near, far) = duplex(1024);
                let peer = "192.0.2.1:1234".parse().unwrap();
                tokio::spawn(connections.serve_connection(far, peer));
                std::future::ready(Ok(near))
            })
        }),
        stop: Box::pin(async move { stopping.shutdown().await }),
    }
}

async fn carriers(timeout: Duration) -> Vec<Carrier> {
    vec![
        tcp(timeout).await,
        #[cfg(unix)]
        unix(timeout),
        memory(timeout),
        failing(timeout),
        own_accept_loop(timeout),
    ]
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn every_carrier_serves_both_http_versions_and_drains() {
    for carrier in carriers(LONG).await {
        let mut open = Vec::new();
        for version in VERSIONS {
            let name = carrier.name;
            let client = carrier.client(version);
            for _ in 0..2 {
                let mut ws = within(client.connect(&carrier.url)).await.unwrap();
                let is_http2 = matches!(ws.transport(), Transport::Http2 { .. });
                assert_eq!(is_http2, version == HttpVersion::Http2, "{name}");
                let peer = within(ws.next()).await.unwrap().unwrap();
                if let Some(expected) = carrier.peer {
                    assert_eq!(peer, Message::text(expected), "{name}");
                }
                echo(&mut ws, "over any stream").await;
                open.push((client.clone(), ws));
            }
            assert!(
                client.connections().len() <= 1,
                "{name}: one connection per client"
            );
        }
        let closing = async {
            for (_, ws) in &mut open {
                assert!(within(ws.next()).await.is_none(), "{}", carrier.name);
                assert_eq!(
                    ws.close_code(),
                    Some(CloseCode::GOING_AWAY),
                    "{}",
                    carrier.name
                );
            }
        };
        let (report, ()) = tokio::join!(within(carrier.stop), closing);
        assert_eq!(report, ShutdownReport::default(), "{}", carrier.name);
        for (client, _) in &open {
            let again = within(client.connect(&carrier.url)).await;
            assert!(
                again.is_err(),
                "{}: connected after the drain",
                carrier.name
            );
        }
    }
}

#[tokio::test]
async fn a_drain_cuts_sockets_left_after_its_timeout() {
    for version in VERSIONS {
        for carrier in carriers(Duration::from_millis(50)).await {
            let client = carrier.client(version);
            let url = format!("{}/stuck", carrier.url);
            let mut ws = within(client.connect(&url)).await.unwrap();
            let report = within(carrier.stop).await;
            assert_eq!(report.sockets_cut, 1, "{}", carrier.name);
            let is_http2 = version == HttpVersion::Http2;
            assert_eq!(report.connections_cut, usize::from(is_http2));
            let error = within(ws.next()).await.unwrap().unwrap_err();
            assert!(error.is_abnormal_closure(), "{}: {error}", carrier.name);
        }
    }
}

/// A listener whose connections another runtime serves.
struct Elsewhere {
    listener: MemoryListener,
    runtime: Handle,
}

impl Listener for Elsewhere {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        self.listener.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.listener)
    }

    fn runtime(&self) -> Option<Handle> {
        Some(self.runtime.clone())
    }
}

#[tokio::test]
async fn the_runtime_that_a_listener_names_serves_its_connections() {
    let other = Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = other.handle().clone();
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || other.block_on(ended));
    for version in VERSIONS {
        let (listener, connector) = memory::pair();
        let runtime = runtime.clone();
        let expected = runtime.id().to_string();
        let server = Server::builder().listener(Elsewhere { listener, runtime });
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server
            .unwrap()
            .serve(|request: WebSocketRequest| async {
                let mut ws = request.accept().await.unwrap();
                ws.send(Handle::current().id().to_string()).await.unwrap();
                server::echo_socket(ws, String::new()).await;
            })
            .with_graceful_shutdown(async {
                let _ = stopped.await;
            });
        let done = tokio::spawn(serving.into_future());
        let builder = match version {
            HttpVersion::Http2 => http2(),
            _ => http1(),
        };
        let client = in_memory(connector)(builder).build().unwrap();
        let mut ws = within(client.connect("ws://localhost/")).await.unwrap();
        let id = within(ws.next()).await.unwrap().unwrap();
        assert_eq!(id, Message::text(expected));
        stop.send(()).unwrap();
        while let Some(Ok(_)) = within(ws.next()).await {}
        let report = within(done).await.unwrap().unwrap();
        assert_eq!((report.sockets_cut, report.connections_cut), (0, 0));
    }
    end.send(()).unwrap();
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn tls_and_alpn_work_over_any_stream() {
    let (server_config, client_config) = tls::pair();
    let (listener, connector) = memory::pair();
    let builder = Server::builder().tls(server_config.clone());
    let server = builder.listener(listener).unwrap();
    tokio::spawn(server.serve(handler).into_future());
    let connections = unbound(Server::builder().tls(server_config), LONG);
    let client = || Client::builder().tls(client_config.clone());
    let clients = [
        client().connector(move |_| connector.connect()),
        client().connector(move |target| {
            assert_eq!((target.host(), target.port()), ("localhost", 443));
            let (near, far) = duplex(1024);
            let peer = NO_ADDRESS.parse().unwrap();
            tokio::spawn(connections.serve_connection(far, peer));
            std::future::ready(Ok(near))
        }),
    ];
    for client in clients {
        let client = client.build().unwrap();
        let mut ws = within(client.connect("wss://localhost/")).await.unwrap();
        assert!(matches!(ws.transport(), Transport::Http2 { .. }));
        let peer = within(ws.next()).await.unwrap().unwrap();
        assert_eq!(peer, Message::text(NO_ADDRESS));
        echo(&mut ws, "encrypted").await;
    }
}

#[tokio::test]
async fn peers_without_an_address_share_no_client_limit() {
    let (listener, connector) = memory::pair();
    let builder = Server::builder().max_connections_per_client(1);
    let server = builder.clone().listener(listener).unwrap();
    tokio::spawn(server.serve(handler).into_future());
    let mut open = Vec::new();
    for version in [VERSIONS, VERSIONS].concat() {
        let connector = connector.clone();
        let client = match version {
            HttpVersion::Http2 => http2(),
            _ => http1(),
        };
        let client = client.connector(move |_| connector.connect());
        let client = client.build().unwrap();
        open.push(within(client.connect("ws://app.example")).await.unwrap());
    }
    let peer = "192.0.2.1:1".parse().unwrap();
    let _one = connector.connect_from(peer).await.unwrap();
    let mut above_limit = connector.connect_from(peer).await.unwrap();
    assert_eq!(within(above_limit.read(&mut [0])).await.unwrap(), 0);

    let connections = unbound(builder, LONG);
    let (_near, far) = duplex(64);
    let first = tokio::spawn(connections.serve_connection(far, peer));
    tokio::task::yield_now().await;
    let error = within(connections.serve_connection(duplex(64).1, peer)).await;
    let Err(Error::Io(error)) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    first.abort();
}

#[tokio::test]
async fn dropping_serve_connection_ends_the_connection() {
    let connections = unbound(Server::builder(), LONG);
    let idle = tasks();
    let (near, far) = duplex(1024);
    let near = std::sync::Mutex::new(Some(near));
    let client = http2().connector(move |_| {
        let near = near.lock().unwrap().take();
        std::future::ready(near.ok_or(io::ErrorKind::ConnectionRefused.into()))
    });
    let client = client.build().unwrap();
    let serving = connections.serve_connection(far, NO_ADDRESS.parse().unwrap());
    let serving = tokio::spawn(serving);
    let mut ws = within(client.connect("ws://app.example")).await.unwrap();
    within(ws.next()).await.unwrap().unwrap();
    serving.abort();
    let error = within(ws.next()).await.unwrap().unwrap_err();
    assert!(error.is_abnormal_closure(), "{error}");
    let error = within(client.connect("ws://app.example")).await.err();
    assert!(matches!(error, Some(Error::Connect(_))), "{error:?}");
    drop((ws, client));
    until(|| tasks() <= idle).await;
    let report = within(connections.shutdown()).await;
    assert_eq!(report, ShutdownReport::default());
}

#[tokio::test]
async fn the_connector_and_proxies_replace_each_other() {
    let refuse = |_| std::future::ready(Err::<DuplexStream, _>(io::ErrorKind::NotFound.into()));
    let proxy = "http://proxy.example:3128";
    let client = http1().proxy(proxy).connector(refuse).build().unwrap();
    assert_eq!(client.proxy_for("ws://app.example").unwrap(), None);
    let error = client.connect("ws://app.example").await.err();
    assert!(matches!(error, Some(Error::Connect(_))), "{error:?}");
    let client = http1().connector(refuse).no_proxy().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    assert!(client.dial(url).await.is_ok());
}

/// The address of a request reaches the connector, and keeps connections apart as without one.
#[tokio::test]
async fn the_connector_gets_the_address_of_a_request() {
    let (listener, connector) = memory::pair();
    let server = Server::builder().listener(listener).unwrap();
    tokio::spawn(server.serve(handler).into_future());
    for builder in [http1(), http2()] {
        let connector = connector.clone();
        let (sender, mut dialled) = tokio::sync::mpsc::unbounded_channel();
        let client = builder.connector(move |destination| {
            let _: Result<_, _> = sender.send((destination.address(), destination.uri()));
            connector.connect()
        });
        let client = client.build().unwrap();
        let address = "192.0.2.1:99".parse().unwrap();
        let _one = within(client.connect("ws://app.example/x")).await.unwrap();
        let request = client.request("ws://app.example/x").address(address);
        let _other = within(request.connect()).await.unwrap();
        let mut next = || dialled.try_recv().unwrap();
        assert_eq!(next(), (None, "http://app.example:80/".parse().unwrap()));
        let uri = "http://192.0.2.1:99/".parse().unwrap();
        assert_eq!(next(), (Some(address), uri));
    }
}

/// A connector of tower, as hyper-util has them.
#[derive(Clone)]
struct Tower;

impl tower_service::Service<http::Uri> for Tower {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        Box::pin(async move {
            // As hyper-util's own, which leave TLS to others.
            assert_eq!(uri.scheme_str(), Some("http"));
            let authority = uri.authority().unwrap().to_string();
            Ok(TokioIo::new(TcpStream::connect(authority).await?))
        })
    }
}

/// The documentation of `ClientBuilder::connector` has this for every such service.
#[tokio::test]
async fn a_connector_of_tower_makes_connections() {
    let (server_config, client_config) = tls::pair();
    let builder = Server::builder().tls(server_config);
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    tokio::spawn(server.serve(handler).into_future());
    for version in VERSIONS {
        let builder = Client::builder()
            .version(version)
            .tls(client_config.clone());
        let client = builder.connector(|destination| async move {
            let connected = Tower.call(destination.uri()).await?;
            Ok(TokioIo::new(connected))
        });
        let client = client.build().unwrap();
        let request = client.request(format!("wss://localhost:{}/", addr.port()));
        let mut ws = within(request.address(addr).connect()).await.unwrap();
        within(ws.next()).await.unwrap().unwrap();
        echo(&mut ws, "hello").await;
    }
}

/// A listener that is closed resets what waits in its queue, so a shutdown accepts that first.
#[tokio::test]
async fn a_connection_that_waits_to_be_accepted_at_a_shutdown_is_not_reset() {
    for version in VERSIONS {
        let (listener, addr) = listen().await;
        let stop = serve(listener, Duration::from_secs(60));
        let successor = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let next = successor.local_addr().unwrap();
        tokio::spawn(successor.serve(handler).into_future());
        tokio::task::yield_now().await;
        // The server does not run before the stop, which is sent in the same poll.
        let waiting = std::net::TcpStream::connect(addr).unwrap();
        waiting.set_nonblocking(true).unwrap();
        let waiting = Arc::new(Mutex::new(Some(waiting)));
        let builder = Client::builder().version(version).connector(move |_| {
            let waiting = waiting.lock().unwrap().take();
            async move {
                match waiting {
                    Some(waiting) => TcpStream::from_std(waiting),
                    // What was not processed may be repeated elsewhere.
                    None => TcpStream::connect(next).await,
                }
            }
        });
        let client = builder.build().unwrap();
        let (_, opened) =
            within(async { tokio::join!(biased; stop, client.connect(format!("ws://{addr}/"))) })
                .await;
        opened.unwrap_or_else(|error| panic!("{version:?}: {error}"));
    }
}
