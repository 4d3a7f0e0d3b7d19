//! Peers made of the `h2` crate with its default settings: a client and a
//! server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::frames::{self, Parser};
use super::within;

/// Connects as a client and drives the connection in a task.
pub(crate) async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    over(TcpStream::connect(addr).await.unwrap()).await
}

/// As [`connect`], over an existing stream.
pub(crate) async fn over<T>(io: T) -> SendRequest<Bytes>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (send, connection) = within(h2::client::handshake(io)).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send
}

/// Builds a well-formed RFC 8441 request.
pub(crate) fn websocket(uri: &str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(uri)
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    request
}

/// Sends a request and awaits its response. `end` sets END_STREAM on the
/// request.
pub(crate) async fn ask(
    send: &SendRequest<Bytes>,
    request: Request<()>,
    end: bool,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let mut send = within(send.clone().ready()).await.unwrap();
    let (response, stream) = send.send_request(request, end).unwrap();
    (within(response).await.unwrap(), stream)
}

/// Reads the body to its end.
pub(crate) async fn body(mut recv: RecvStream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(chunk) = within(recv.data()).await {
        let chunk = chunk.unwrap();
        recv.flow_control().release_capacity(chunk.len()).unwrap();
        body.extend_from_slice(&chunk);
    }
    body
}

/// A server that echoes on every extended CONNECT.
pub(crate) struct EchoServer {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl EchoServer {
    /// Starts a server with the crate's defaults, as changed by `configure`.
    pub(crate) async fn start(configure: impl Fn(&mut Builder) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                io.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut builder = Builder::new();
                builder.enable_connect_protocol();
                configure(&mut builder);
                tokio::spawn(serve(io, builder, |request, respond| {
                    tokio::spawn(echo(request, respond));
                }));
            }
        });
        Self {
            addr,
            connections,
            task,
        }
    }

    /// Number of connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection until it ends, and returns the error that ended it.
pub(crate) async fn serve<T>(
    io: T,
    builder: Builder,
    mut on_request: impl FnMut(Request<RecvStream>, SendResponse<Bytes>),
) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = builder.handshake::<_, Bytes>(io).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        on_request(request, respond);
    }
    Ok(())
}

/// Accepts a socket and echoes until the peer closes it.
pub(crate) async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut recv = request.into_body();
    let Ok(mut send) = respond.send_response(Response::new(()), false) else {
        return;
    };
    let mut parser = Parser::default();
    while let Some(Ok(chunk)) = recv.data().await {
        let _ = recv.flow_control().release_capacity(chunk.len());
        parser.push(&chunk);
        let mut out = Vec::new();
        let closed = frames::echo(&mut parser, &mut out);
        if send_all(&mut send, out.into()).await.is_none() {
            return;
        }
        if closed {
            let _ = send.send_data(Bytes::new(), true);
        }
    }
}

/// Sends `bytes` as the peer's window allows. Returns `None` if the stream ends
/// first.
pub(crate) async fn send_all(send: &mut SendStream<Bytes>, mut bytes: Bytes) -> Option<()> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        while send.capacity() == 0 {
            std::future::poll_fn(|cx| send.poll_capacity(cx))
                .await?
                .ok()?;
        }
        let piece = bytes.split_to(send.capacity().min(bytes.len()));
        send.send_data(piece, false).ok()?;
    }
    Some(())
}
