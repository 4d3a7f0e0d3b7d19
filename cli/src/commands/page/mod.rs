//! Answers plain HTTP requests to the program's servers: a page that opens WebSockets.
//!
//! The page has no resource from elsewhere, and its Content-Security-Policy admits none: no inline
//! script or style, and no connection except to this server.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

use super::echo::carrier;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Path, media type and text of each file.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("index.html")),
    (
        "/page/page.css",
        "text/css; charset=utf-8",
        include_str!("page.css"),
    ),
    ("/page/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("/page/main.js", SCRIPT, include_str!("main.js")),
    ("/page/sockets.js", SCRIPT, include_str!("sockets.js")),
    ("/page/drawing.js", SCRIPT, include_str!("drawing.js")),
    ("/page/charts.js", SCRIPT, include_str!("charts.js")),
    ("/page/svg.js", SCRIPT, include_str!("svg.js")),
];

/// Serves the page at `/`, and at `/connection` the connection that carried the request.
#[derive(Clone, Debug)]
pub(crate) struct Page;

impl Page {
    fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are allowed\n",
            );
        }
        let path = request.uri().path();
        if let Some((_, kind, text)) = FILES.iter().find(|(name, ..)| *name == path) {
            let mut response = typed(kind, Bytes::from_static(text.as_bytes()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            return response;
        }
        match path {
            "/connection" => {
                let transport = request.extensions().get::<h2ws::Transport>().copied();
                let carrier = transport.map(carrier).unwrap_or_default();
                typed("application/json", carrier.to_string().into())
            }
            "/echo" | super::echo::CARRIER => upgrade_required(request.version()),
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

impl<B> Service<Request<B>> for Page {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(Self::answer(&request)))
    }
}

/// RFC 9110 §15.5.22 requires an Upgrade field.
fn upgrade_required(version: http::Version) -> Response<Full<Bytes>> {
    let mut response = plain(
        StatusCode::UPGRADE_REQUIRED,
        "this path accepts WebSockets only\n",
    );
    if version == http::Version::HTTP_11 {
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            http::header::CONNECTION,
            HeaderValue::from_static("upgrade"),
        );
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = typed(
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    );
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
