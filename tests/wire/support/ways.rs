//! The ways in which a client can send a request through a bridge, and an upstream
//! that returns the fields of what it received.

use std::net::SocketAddr;

use axum::body::Body;
use bytes::Bytes;
use h2ws::server::WebSocketRequest;
use h2ws::{HttpVersion, Server};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::within;

/// A way of sending a request: what it asks for, and over which HTTP version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) is_websocket: bool,
    pub(crate) version: HttpVersion,
}

/// Opening requests of WebSockets and plain HTTP requests, over both versions.
pub(crate) const WAYS: [Way; 4] = [
    Way::new(true, HttpVersion::Http1),
    Way::new(true, HttpVersion::Http2),
    Way::new(false, HttpVersion::Http1),
    Way::new(false, HttpVersion::Http2),
];

/// A response and its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Returns a field of the request that [`dump`] received, and asserts that it was
    /// not repeated.
    #[track_caller]
    pub(crate) fn received(&self, name: &str) -> Option<&str> {
        assert!(self.fields.contains_key(DUMPED), "not a dump: {self:?}");
        let mut values = self.body.lines().filter_map(|line| {
            let (found, value) = line.split_once(": ")?;
            (found == name).then_some(value)
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is repeated");
        value
    }
}

impl Way {
    const fn new(is_websocket: bool, version: HttpVersion) -> Self {
        Self {
            is_websocket,
            version,
        }
    }

    /// Sends a request with these fields and reads the response.
    pub(crate) async fn ask(self, addr: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Answer {
        let io = TcpStream::connect(addr).await.unwrap();
        self.ask_over(io, path, fields).await
    }

    /// As [`ask`](Self::ask), over an existing connection.
    pub(crate) async fn ask_over<T>(self, io: T, path: &str, fields: &[(&str, &str)]) -> Answer
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = self.request(path, fields);
        let response = if self.version == HttpVersion::Http2 {
            let connecting =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
            let (mut send, connection) = within(connecting).await.unwrap();
            tokio::spawn(connection);
            // The server's SETTINGS, which allow extended CONNECT, arrive first.
            while self.is_websocket && !send.is_closed() {
                let sent = within(send.send_request(self.request(path, fields))).await;
                match sent {
                    Ok(response) => return answer(response).await,
                    Err(error) if error.is_user() => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
            within(send.send_request(request)).await
        } else {
            let (mut send, connection) =
                within(hyper::client::conn::http1::handshake(TokioIo::new(io)))
                    .await
                    .unwrap();
            tokio::spawn(connection.with_upgrades());
            within(send.send_request(request)).await
        };
        answer(response.unwrap()).await
    }

    fn request(self, path: &str, fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
        let is_http2 = self.version == HttpVersion::Http2;
        let mut request = Request::builder();
        request = match is_http2 {
            true => request.uri(format!("http://a.test{path}")),
            false => request.uri(path).header("host", "a.test"),
        };
        if self.is_websocket {
            request = request.header("sec-websocket-version", "13");
            request = match is_http2 {
                true => request
                    .method(Method::CONNECT)
                    .extension(Protocol::from_static("websocket")),
                false => request
                    .header("upgrade", "websocket")
                    .header("connection", "upgrade")
                    .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            };
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Empty::new()).unwrap()
    }
}

async fn answer(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let is_open = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let body = match is_open {
        true => Bytes::new(),
        false => within(body.collect()).await.unwrap().to_bytes(),
    };
    Answer {
        status: parts.status,
        fields: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// Marks the responses of [`dump`].
const DUMPED: &str = "x-dumped";

/// Starts an upstream that answers every request, also for a WebSocket, with 400 and
/// the fields that it received.
pub(crate) async fn dump() -> SocketAddr {
    let server = Server::builder();
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let socket = |request: WebSocketRequest| async {
        let response = response(request.uri().path(), request.headers());
        request.reject_with(response);
    };
    let page = axum::Router::new().fallback(|request: Request<Body>| async move {
        response(request.uri().path(), request.headers()).map(Body::from)
    });
    tokio::spawn(server.serve(socket).fallback(page).into_future());
    addr
}

fn response(path: &str, fields: &HeaderMap) -> Response<String> {
    let mut body = format!("path: {path}\n");
    for (name, value) in fields {
        let value = String::from_utf8_lossy(value.as_bytes());
        body.push_str(&format!("{name}: {value}\n"));
    }
    let response = Response::builder().status(400).header(DUMPED, "1");
    response.body(body).unwrap()
}
