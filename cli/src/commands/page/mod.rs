//! Answers plain HTTP requests to the program's servers: a page that opens WebSockets.
//!
//! The page has no resource from elsewhere, and its Content-Security-Policy admits none: no inline
//! script or style, and no connection except to this server. A browser opens every WebSocket to the
//! page's own origin over the page's HTTP/2 connection, so those over HTTP/1.1 go to another port, which
//! does not offer HTTP/2. The policy admits that port too, under the name that the page was loaded from.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2ws::handshake::authority;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::Full;
use tower_service::Service;

use super::echo::{CARRIER, carrier};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const HTTP1_PORT: &str = "This port is for the page's WebSockets over HTTP/1.1. The browser accepts \
                          its certificate: go back to the page, and reopen them.\n";

/// The policy, to which [`policy`] adds the directive for connections.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, media type and text of each file.
const FILES: [(&str, &str, &str); 11] = [
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
    ("/page/needs.js", SCRIPT, include_str!("needs.js")),
    ("/page/versions.js", SCRIPT, include_str!("versions.js")),
    ("/page/text.js", SCRIPT, include_str!("text.js")),
    ("/page/svg.js", SCRIPT, include_str!("svg.js")),
];

/// What a port serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    /// The page at `/`, and at `/connection` what carried the request. `http1_port` is where its
    /// WebSockets over HTTP/1.1 go.
    Whole { http1_port: Option<u16> },
    /// At `/` a sentence, for those who open the port of these WebSockets to accept its certificate.
    Http1Port,
}

impl Page {
    fn answer(self, request: &request::Parts) -> Response<Full<Bytes>> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are allowed\n",
            );
        }
        let path = request.uri.path();
        let found = match self {
            Self::Whole { http1_port } => {
                let http1 = http1_port.and_then(|port| http1_origin(request, port));
                match path {
                    "/connection" => Some(connection(request, http1.as_deref())),
                    _ => file(path, http1.as_deref()),
                }
            }
            Self::Http1Port => (path == "/").then(|| plain(StatusCode::OK, HTTP1_PORT)),
        };
        found.unwrap_or_else(|| match path {
            "/echo" | CARRIER => upgrade_required(request.version),
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        })
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
        ready(Ok(self.answer(&request.into_parts().0)))
    }
}

fn file(path: &str, http1: Option<&str>) -> Option<Response<Full<Bytes>>> {
    let (_, kind, text) = FILES.iter().find(|(name, ..)| *name == path)?;
    let mut response = typed(kind, Bytes::from_static(text.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy(http1)?);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

fn connection(request: &request::Parts, http1: Option<&str>) -> Response<Full<Bytes>> {
    let transport = request.extensions.get::<h2ws::Transport>().copied();
    let mut body = transport.map(carrier).unwrap_or_default();
    body["http1"] = http1.into();
    typed("application/json", body.to_string().into())
}

fn policy(http1: Option<&str>) -> Option<HeaderValue> {
    let connections = match http1 {
        Some(origin) => format!("connect-src 'self' {origin}"),
        None => "connect-src 'self'".to_owned(),
    };
    HeaderValue::try_from(format!("{POLICY}; {connections}")).ok()
}

/// Returns the origin of the WebSockets over HTTP/1.1, under the name that the page was loaded from.
/// A policy cannot name IPv6 addresses (Content Security Policy Level 3 §2.3.1), and no other
/// directive may follow from a name.
fn http1_origin(request: &request::Parts, port: u16) -> Option<String> {
    let host = authority::of_request(request, authority::default_port(true)).ok()?;
    let host = host.host();
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (host.bytes().all(is_named)).then(|| format!("wss://{host}:{port}"))
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
