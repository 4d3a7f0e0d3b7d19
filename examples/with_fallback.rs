//! Pages and sockets on one port: ordinary requests go to a service, as any
//! `tower` service over `http` types is one; an axum `Router` too.
//!
//! Browsers put a socket on HTTP/2 only where the page came over that very
//! connection, so serving both is what gives them RFC 8441. They also want
//! TLS for it: see `ServerBuilder::tls`, or run `h2ws serve`.
//!
//! `cargo run --example with_fallback`, then open <http://127.0.0.1:8080/>.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use h2ws::server::{Body, WebSocketRequest};
use h2ws::{CloseCode, Message, Server};
use http::{Request, Response, StatusCode};
use tower_service::Service;

const PAGE: &str = "<!doctype html><title>h2ws</title><p id=p>…</p><script>
new WebSocket(location.origin.replace('http', 'ws') + '/carrier')
  .onmessage = message => p.textContent = message.data
</script>";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::builder().bind("127.0.0.1:8080").await?;
    println!("open http://{}/", server.local_addr()?);
    server.serve(tell).fallback(Page).await?;
    Ok(())
}

/// Sockets: tells what carries them.
async fn tell(request: WebSocketRequest) {
    if request.path() != "/carrier" {
        return request.reject(StatusCode::NOT_FOUND);
    }
    let Ok(mut socket) = request.accept().await else {
        return;
    };
    let carrier = socket.transport().to_string();
    if socket.send(Message::text(carrier)).await.is_ok() {
        // A client that does not answer the Close frame is cut.
        let _ = socket.close(CloseCode::NORMAL).await;
    }
}

/// Everything else.
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
            let html = http::HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert("content-type", html);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        ready(Ok(response))
    }
}
