//! A hyper server with hyper's default limits, which axum uses too.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::frames::{self, Parser};

/// A server that echoes on every socket.
///
/// Plain HTTP requests are answered with the length of their body, or at
/// `/large` with 300 KB of header fields. Requests for `/never` are never
/// answered. A request for `/hiccup` blocks the server's only thread for 150 ms.
pub(crate) struct HyperServer {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    calmed: Arc<AtomicUsize>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl HyperServer {
    /// Starts the server on its own thread, so that `/hiccup` does not block the
    /// test's runtime.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let count = connections.clone();
        let calmed = Arc::new(AtomicUsize::new(0));
        let calm = calmed.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, &count, &calm) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            addr,
            connections,
            calmed,
            _stop: stop,
        }
    }

    /// Number of connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Number of connections that the server ended with ENHANCE_YOUR_CALM.
    pub(crate) fn calmed(&self) -> usize {
        self.calmed.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }
}

/// Whether the server ended the connection with ENHANCE_YOUR_CALM.
fn is_calm(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.and_then(h2::Error::reason) == Some(h2::Reason::ENHANCE_YOUR_CALM)
}

async fn accept(listener: TcpListener, connections: &AtomicUsize, calmed: &Arc<AtomicUsize>) {
    loop {
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        connections.fetch_add(1, Ordering::SeqCst);
        let serving = Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(io), service_fn(answer));
        let calmed = calmed.clone();
        tokio::spawn(async move {
            let ended = serving.await;
            if ended.is_err_and(|error| is_calm(&error)) {
                calmed.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        "/never" => std::future::pending().await,
        "/hiccup" => std::thread::sleep(Duration::from_millis(150)),
        _ => {}
    }
    if request.method() == Method::CONNECT {
        let on = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(io) = on.await {
                echo(TokioIo::new(io)).await;
            }
        });
        return Ok(Response::default());
    }
    if request.uri().path() == "/large" {
        let mut large = Response::default();
        for n in 0..300 {
            let name: HeaderName = format!("x-{n}").parse().unwrap();
            let value = HeaderValue::from_str(&"y".repeat(1_000)).unwrap();
            large.headers_mut().insert(name, value);
        }
        return Ok(large);
    }
    let Ok(body) = request.into_body().collect().await else {
        let mut broken = Response::default();
        *broken.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(broken);
    };
    Ok(Response::new(body.to_bytes().len().to_string().into()))
}

async fn echo(mut io: TokioIo<hyper::upgrade::Upgraded>) {
    let mut parser = Parser::default();
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = io.read(&mut bytes).await {
        parser.push(&bytes[..read]);
        let mut out = Vec::new();
        let closed = frames::echo(&mut parser, &mut out);
        if io.write_all(&out).await.is_err() || io.flush().await.is_err() {
            return;
        }
        if closed {
            let _ = io.shutdown().await;
        }
    }
}
