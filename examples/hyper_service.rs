//! WebSockets in a service on hyper's own server, over HTTP/2 and HTTP/1.1, beside plain pages.
//!
//! Run `cargo run --example hyper_service`, then
//! `h2ws connect --http2 ws://127.0.0.1:8080/echo`. Another address may be the argument.

use std::convert::Infallible;

use h2ws::http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1);
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    loop {
        let (tcp, peer) = listener.accept().await?;
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // Without this, clients do not open WebSockets over HTTP/2.
            builder.http2().enable_connect_protocol();
            let io = TokioIo::new(tcp);
            let serving = builder.serve_connection_with_upgrades(io, service_fn(service));
            if let Err(error) = serving.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn service<B>(mut request: Request<B>) -> Result<Response<String>, Infallible> {
    if request.uri().path() != "/echo" {
        return Ok(Response::new("a page\n".to_owned()));
    }
    let (response, socket) = match h2ws::hyper::upgrade(&mut request) {
        Ok(upgraded) => upgraded,
        Err(rejection) => {
            let text = |body: bytes::Bytes| String::from_utf8_lossy(&body).into_owned();
            return Ok(rejection.to_response().map(text));
        }
    };
    tokio::spawn(async move {
        // It opens once the response has been sent.
        let mut socket = socket.await?;
        while let Some(message) = socket.recv().await {
            socket.feed(message?).await?;
        }
        Ok::<_, h2ws::Error>(())
    });
    Ok(response.map(|()| String::new()))
}
