//! Pages and WebSockets on one port: plain HTTP requests go to a `tower` service that uses the
//! types of the `http` crate, such as an axum `Router`.
//!
//! Browsers open a WebSocket over HTTP/2 only on a connection that already carries the page, so a
//! server has to serve both for them to use RFC 8441. They also require TLS for HTTP/2: see
//! `ServerBuilder::tls`, or run `h2ws serve`.
//!
//! `cargo run --example with_fallback`, then open <http://127.0.0.1:8080/>.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use h2ws::http::{HeaderValue, Request, Response, StatusCode};
use h2ws::server::{Body, WebSocketRequest};
use h2ws::{CloseCode, Error, Server};
use tower_service::Service;

const PAGE: &str = "<!doctype html><title>h2ws</title><p id=p>…</p><script>
new WebSocket(location.origin.replace('http', 'ws') + '/transport')
  .onmessage = message => p.textContent = message.data
</script>";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1);
    let listen = listen.as_deref().unwrap_or("127.0.0.1:8080");
    let server = Server::builder().bind(listen).await?;
    println!("open http://{}/", server.local_addr()?);
    server.serve(transport).fallback(Page).await?;
    Ok(())
}

/// Handles WebSocket requests: sends a description of the WebSocket's transport, and closes.
async fn transport(request: WebSocketRequest) -> Result<(), Error> {
    if request.path() != "/transport" {
        request.reject(StatusCode::NOT_FOUND);
        return Ok(());
    }
    let mut socket = request.accept().await?;
    socket.send(socket.transport().to_string()).await?;
    socket.close(CloseCode::NORMAL).await
}

/// Answers plain HTTP requests.
#[derive(Clone)]
struct Page;

impl Service<Request<Body>> for Page {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(String::new());
        if request.uri().path() == "/" {
            *response.body_mut() = PAGE.to_owned();
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert("content-type", html);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        ready(Ok(response))
    }
}
