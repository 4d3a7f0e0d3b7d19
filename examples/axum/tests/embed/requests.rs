//! Requests that do not become WebSockets, under both servers: the status names the reason, and
//! another WebSocket on the connection is not affected.

use axum::Router;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::{any, get};
use h2ws::HttpVersion;
use h2ws::axum::WebSocketUpgrade;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::faults::{Sibling, echo};
use crate::support::{EVERYWHERE, Running, Under, logs, until, within};

const SERVERS: [Under; 2] = [Under::H2ws, Under::AxumServe];

/// Sends a request over HTTP/1.1, and returns the response's status line as far as the status.
async fn http1_status(running: &Running, request: &str) -> String {
    let mut io = TcpStream::connect(running.addr).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    within(io.read_exact(&mut line)).await.unwrap();
    String::from_utf8_lossy(&line).into_owned()
}

/// Sends a request over HTTP/2, an extended CONNECT if it is a CONNECT.
pub(crate) async fn http2_response(
    running: &Running,
    mut request: Request<()>,
) -> Result<(StatusCode, HeaderMap), h2::Error> {
    let io = TcpStream::connect(running.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = within(client.ready()).await.unwrap();
    until(|| client.is_extended_connect_protocol_enabled()).await;
    if request.method() == Method::CONNECT {
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
    }
    let has_more = request.method() == Method::CONNECT;
    let (response, _stream) = client.send_request(request, !has_more).unwrap();
    let response = within(response).await;
    connection.abort();
    let parts = response?.into_parts().0;
    Ok((parts.status, parts.headers))
}

/// Over HTTP/1.1, what follows the request would be a body to one reader and frames to another
/// (RFC 9931).
#[tokio::test]
async fn a_websocket_request_with_a_body_is_400() {
    for under in SERVERS {
        let running = Running::start(under, Router::new().route("/", any(echo))).await;
        for fields in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            let request = format!(
                "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
                 connection: upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
            );
            let status = http1_status(&running, &request).await;
            assert_eq!(status, "HTTP/1.1 400", "{under:?} {fields:?}");
        }
        let request = Request::connect(format!("http://{}/", running.addr))
            .header("sec-websocket-version", "13")
            .header("content-length", "5");
        let response = http2_response(&running, request.body(()).unwrap()).await;
        match under {
            Under::H2ws => assert_eq!(response.unwrap().0, 400),
            // hyper's own server ends the connection.
            Under::AxumServe => assert!(response.is_err()),
        }
    }
}

/// Only one of them can have the WebSocket.
#[tokio::test]
async fn a_second_extractor_is_500() {
    for (under, version) in EVERYWHERE {
        let twice = any(async |first: WebSocketUpgrade, _second: WebSocketUpgrade| {
            first.on_upgrade(async |_| {})
        });
        let logs = logs();
        let sibling = Sibling::start(under, version, Router::new().route("/", twice)).await;
        let rejected = sibling.running.rejection("/", version).await;
        assert_eq!(rejected.0, 500, "{under:?} {version:?}");
        assert!(rejected.1.contains("twice"), "{rejected:?}");
        logs.assert_warns("extracted twice");
        sibling.assert_works().await;
    }
}

/// The extractor rejects a plain HTTP request with the same status as axum's own extractor.
#[tokio::test]
async fn a_plain_http_request_to_a_websocket_route_is_rejected() {
    const UPGRADE: &str = "upgrade: websocket\r\nconnection: upgrade\r\n";
    for under in SERVERS {
        let sibling = Sibling::start(under, HttpVersion::Http1, Router::new()).await;
        let cases = [
            ("GET", String::new(), "426"),
            ("POST", UPGRADE.to_owned(), "405"),
            ("GET", UPGRADE.to_owned(), "426"),
            (
                "GET",
                format!("{UPGRADE}sec-websocket-version: 13\r\n"),
                "400",
            ),
        ];
        for (method, fields, status) in cases {
            let request = format!("{method} /sibling HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
            let received = http1_status(&sibling.running, &request).await;
            let expected = format!("HTTP/1.1 {status}");
            assert_eq!(received, expected, "{under:?} {method} {fields:?}");
        }
        sibling.assert_works().await;
    }
}

/// 426 needs a field that HTTP/2 forbids, so the status there is 400.
#[tokio::test]
async fn a_plain_http2_request_to_a_websocket_route_is_rejected() {
    for under in SERVERS {
        let app = Router::new().route("/get", get(echo));
        let sibling = Sibling::start(under, HttpVersion::Http2, app).await;
        let connect_as_get = under == Under::H2ws;
        let cases = [
            (Method::GET, "/sibling", "13", 400),
            (Method::CONNECT, "/sibling", "12", 400),
            // Without a layer, axum's own server shows CONNECT, which a `get` route rejects.
            (
                Method::CONNECT,
                "/get",
                "13",
                if connect_as_get { 200 } else { 405 },
            ),
        ];
        for (method, path, version, status) in cases {
            let request = Request::builder()
                .method(&method)
                .uri(format!("http://{}{path}", sibling.running.addr))
                .header("sec-websocket-version", version);
            let request = request.body(()).unwrap();
            let response = http2_response(&sibling.running, request).await;
            assert_eq!(response.unwrap().0, status, "{under:?} {method} {path}");
        }
        sibling.assert_works().await;
    }
}
