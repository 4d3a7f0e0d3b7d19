//! Checks arbitrary opening requests: no request causes a panic, and every valid one can be
//! accepted.
#![no_main]

use h2ws::handshake::{DeflateConfig, extended_connect, upgrade};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    |input: (bool, Vec<u8>, Option<String>, Vec<(u8, Vec<u8>)>)| {
        const NAMES: [&str; 12] = [
            "host",
            "upgrade",
            "connection",
            "sec-websocket-key",
            "sec-websocket-version",
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "origin",
            "content-length",
            "transfer-encoding",
            "te",
            "x-other",
        ];
        let (connect, uri, protocol, fields) = input;
        let Ok(uri) = Uri::try_from(uri) else { return };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
            let Ok(value) = HeaderValue::from_bytes(&value) else {
                return;
            };
            headers.append(name, value);
        }
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        if connect {
            *request.method_mut() = Method::CONNECT;
            *request.version_mut() = Version::HTTP_2;
            let (parts, ()) = request.into_parts();
            match extended_connect::check_request(&parts, protocol.as_deref()) {
                Ok(request) => {
                    let negotiated = request.negotiate(&["chat"], Some(&DeflateConfig::default()));
                    let response =
                        extended_connect::response(&request, &negotiated, HeaderMap::new());
                    assert!(response.is_ok_and(|response| response.status().is_success()));
                }
                Err(rejection) => drop(rejection.to_string()),
            }
        } else {
            let (parts, ()) = request.into_parts();
            match upgrade::check_request(&parts) {
                Ok(request) => {
                    let negotiated = request.negotiate(&["chat"], Some(&DeflateConfig::default()));
                    assert!(upgrade::response(&request, &negotiated, HeaderMap::new()).is_ok());
                }
                Err(rejection) => drop(rejection.to_string()),
            }
        }
    }
);
