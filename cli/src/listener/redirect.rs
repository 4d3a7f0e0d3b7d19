//! A listener in cleartext that sends clients to https: 308 (RFC 9110 §15.4.9) for plain HTTP
//! requests, 403 for WebSockets, because clients of WebSockets do not follow redirects.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2ws::Server;
use h2ws::server::{Serve, WebSocketRequest};
use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

/// Redirects to the same host and path at this port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirect {
    pub(super) port: u16,
}

impl Redirect {
    pub(super) fn serve(self, server: Server) -> Serve {
        let refuse = |request: WebSocketRequest| async {
            tracing::debug!(path = request.path(), "a WebSocket without TLS was refused");
            request.reject(StatusCode::FORBIDDEN);
        };
        server.serve(refuse).fallback(self)
    }

    fn location<B>(self, request: &Request<B>) -> Option<HeaderValue> {
        let host = match request.uri().authority() {
            Some(authority) => authority.clone(),
            None => {
                let host = request.headers().get(HOST)?;
                Authority::try_from(host.as_bytes()).ok()?
            }
        };
        if host.as_str().contains('@') || host.host().is_empty() {
            return None;
        }
        let host = host.host();
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path } else { "/" };
        let location = match self.port {
            443 => format!("https://{host}{path}"),
            port => format!("https://{host}:{port}{path}"),
        };
        location.try_into().ok()
    }
}

impl<B> Service<Request<B>> for Redirect {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (status, text) = match self.location(&request) {
            Some(_) => (StatusCode::PERMANENT_REDIRECT, "use https\n"),
            None => (StatusCode::BAD_REQUEST, "the request names no valid host\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if let Some(location) = self.location(&request) {
            headers.insert(LOCATION, location);
        }
        ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_has_the_host_and_path_of_the_request() {
        let location = |port, uri: &str, host: Option<&str>| {
            let mut request = Request::new(());
            *request.uri_mut() = uri.parse().expect("a URI");
            if let Some(host) = host {
                let host = host.parse().expect("a value");
                request.headers_mut().insert(HOST, host);
            }
            let location = Redirect { port }.location(&request)?;
            Some(location.to_str().expect("ASCII").to_owned())
        };
        let found = |port, uri, host| location(port, uri, host).expect("a location");
        assert_eq!(found(443, "/a?b", Some("h.test")), "https://h.test/a?b");
        assert_eq!(found(443, "/", Some("h.test:80")), "https://h.test/");
        assert_eq!(found(8443, "/", Some("[::1]:80")), "https://[::1]:8443/");
        assert_eq!(found(443, "http://h2.test/x", None), "https://h2.test/x");
        assert_eq!(found(443, "*", Some("h.test")), "https://h.test/");
        for wrong in [None, Some(""), Some("a b"), Some("u@h.test"), Some("h/x")] {
            assert_eq!(location(443, "/", wrong), None, "{wrong:?}");
        }
    }
}
