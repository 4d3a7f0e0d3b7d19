//! The answers of a server that sends clients to https: 308 (RFC 9110 §15.4.9) for plain HTTP
//! requests, 403 for WebSockets, because clients of WebSockets do not follow redirects.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::uri::Authority;
use http::{Response, StatusCode, request};

/// Returns the answer that sends a client to the same host at `port`; `None` if the request names no
/// valid host.
pub(super) fn answer(
    port: u16,
    parts: &request::Parts,
    is_websocket: bool,
) -> Option<Response<Bytes>> {
    let host = host(parts)?;
    let host = host.host();
    let at = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let (status, text) = if is_websocket {
        let text = format!("WebSockets need TLS here; use wss://{host}{at}\n");
        (StatusCode::FORBIDDEN, text)
    } else {
        (StatusCode::PERMANENT_REDIRECT, "use https\n".to_owned())
    };
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    if !is_websocket {
        let path = parts.uri.path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path } else { "/" };
        let location = format!("https://{host}{at}{path}").try_into().ok()?;
        response.headers_mut().insert(LOCATION, location);
    }
    Some(response)
}

fn host(parts: &request::Parts) -> Option<Authority> {
    let authority = match parts.uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(parts.headers.get(HOST)?.as_bytes()).ok()?,
    };
    let is_valid = !authority.as_str().contains('@') && !authority.host().is_empty();
    is_valid.then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(
        port: u16,
        uri: &str,
        host: Option<&str>,
        is_websocket: bool,
    ) -> Option<Response<Bytes>> {
        let mut request = http::Request::new(());
        *request.uri_mut() = uri.parse().unwrap();
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        answer(port, &request.into_parts().0, is_websocket)
    }

    #[test]
    fn the_location_has_the_host_and_path_of_the_request() {
        for (port, uri, host, expected) in [
            (443, "/a?b", Some("h.test"), "https://h.test/a?b"),
            (443, "/", Some("h.test:80"), "https://h.test/"),
            (8443, "/", Some("[::1]:80"), "https://[::1]:8443/"),
            (443, "http://h2.test/x", None, "https://h2.test/x"),
            (443, "*", Some("h.test"), "https://h.test/"),
        ] {
            let response = answered(port, uri, host, false).unwrap();
            assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
            assert_eq!(response.headers()[LOCATION], expected);
        }
        for wrong in [None, Some(""), Some("a b"), Some("u@h.test"), Some("h/x")] {
            for is_websocket in [false, true] {
                assert!(
                    answered(443, "/", wrong, is_websocket).is_none(),
                    "{wrong:?}"
                );
            }
        }
    }

    #[test]
    fn a_websocket_is_not_redirected_but_its_client_can_read_where_to_go() {
        for (port, url) in [(443, "wss://h.test\n"), (8443, "wss://h.test:8443\n")] {
            let response = answered(port, "/secret?token", Some("h.test:80"), true).unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            assert!(!response.headers().contains_key(LOCATION));
            let text = String::from_utf8(response.into_body().into()).unwrap();
            assert!(text.ends_with(url), "{text}");
        }
    }
}
