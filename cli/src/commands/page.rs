//! Answers plain HTTP requests to the program's servers: a page that opens WebSockets.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

use super::echo::carrier;

const PAGE: &str = include_str!("page.html");

/// Serves the page at `/`, and at `/connection` the connection that carried the request.
#[derive(Clone, Debug)]
pub(crate) struct Page;

impl<B> Service<Request<B>> for Page {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(answer(&request)))
    }
}

fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are allowed\n",
        );
    }
    match request.uri().path() {
        "/" => typed("text/html; charset=utf-8", PAGE.into()),
        "/connection" => {
            let transport = request.extensions().get::<h2ws::Transport>().copied();
            let carrier = transport.map(carrier).unwrap_or_default();
            typed("application/json", carrier.to_string())
        }
        "/echo" | super::echo::CARRIER => {
            // RFC 9110 §15.5.22 requires an Upgrade field.
            let mut response = plain(
                StatusCode::UPGRADE_REQUIRED,
                "this path accepts WebSockets only\n",
            );
            if request.version() == http::Version::HTTP_11 {
                let headers = response.headers_mut();
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(
                    http::header::CONNECTION,
                    HeaderValue::from_static("upgrade"),
                );
            }
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = typed("text/plain; charset=utf-8", text.into());
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
