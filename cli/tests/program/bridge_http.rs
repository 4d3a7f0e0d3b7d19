//! Plain HTTP requests through `h2ws bridge`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::{Method, Request};

use crate::process::{Scratch, Server, h2ws};

/// Makes an HTTP/2 connection without the library.
async fn connect(bridge: &Server) -> SendRequest<Bytes> {
    let addr = bridge.url.strip_prefix("ws://").expect("cleartext");
    let addr: SocketAddr = addr.parse().expect("an address");
    let io = tokio::net::TcpStream::connect(addr)
        .await
        .expect("a connection");
    let (send, connection) = h2::client::handshake(io).await.expect("HTTP/2");
    tokio::spawn(connection);
    send.ready().await.expect("open")
}

/// Sends a GET request and returns the response's status and body.
async fn get(client: &mut SendRequest<Bytes>, path: &str) -> (u16, String) {
    let uri = format!("http://localhost{path}");
    let request = Request::get(uri).body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("sent");
    let response = response.await.expect("an answer");
    let status = response.status().as_u16();
    let mut recv = response.into_body();
    let mut body = Vec::new();
    while let Some(chunk) = recv.data().await {
        let chunk = chunk.expect("whole");
        recv.flow_control()
            .release_capacity(chunk.len())
            .expect("taken");
        body.extend_from_slice(&chunk);
    }
    (status, String::from_utf8(body).expect("text"))
}

/// As a browser does: the page first, then its WebSocket, on one connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_and_its_socket_share_one_connection() {
    let backend = Server::start(&["--cleartext"]);
    let files = Scratch::new();
    let routes = format!("cleartext = true\n[[route]]\nto = \"{}\"\n", backend.url);
    let file = files.file("bridge.toml", &routes);
    for args in [
        &["--cleartext", "--to", &backend.url][..],
        &["--config", &file],
    ] {
        let bridge = Server::bridge(args);
        let mut client = connect(&bridge).await;
        let (status, page) = get(&mut client, "/").await;
        assert_eq!(status, 200);
        assert!(page.contains("src=\"/page/main.js\""), "{page}");

        let mut upgrade = Request::builder()
            .method(Method::CONNECT)
            .uri("http://localhost/echo")
            .header("sec-websocket-version", "13")
            .body(())
            .expect("a request");
        let websocket = Protocol::from_static("websocket");
        upgrade.extensions_mut().insert(websocket);
        let (response, mut send) = client.send_request(upgrade, false).expect("sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        // "hi", masked with zeros.
        let frame = Bytes::from_static(b"\x81\x82\0\0\0\0hi");
        send.send_data(frame, false).expect("sent");
        let back = response.into_body().data().await.expect("open");
        assert_eq!(back.expect("no error"), &b"\x81\x02hi"[..]);

        bridge.running.wait_for_stderr("method=GET ");
    }
}

/// By the configuration file and by the command line.
#[tokio::test(flavor = "multi_thread")]
async fn websockets_only_rejects_plain_requests() {
    let backend = Server::start(&["--cleartext"]);
    let files = Scratch::new();
    let routes = format!(
        "cleartext = true\n[[route]]\npath = \"/echo/*\"\nwebsockets_only = true\nto = \"{}\"\n",
        backend.url
    );
    let file = files.file("bridge.toml", &routes);
    let bridge = Server::bridge(&["--config", &file]);
    let mut client = connect(&bridge).await;
    assert_eq!(get(&mut client, "/echo").await.0, 400);
    assert_eq!(get(&mut client, "/").await.0, 404);
    let bridge = Server::bridge(&["--cleartext", "--websockets-only", "--to", &backend.url]);
    let mut client = connect(&bridge).await;
    assert_eq!(get(&mut client, "/").await.0, 400);

    let tcp =
        "[[route]]\nto = \"tcp://127.0.0.1:1\"\nallowed_origins = \"*\"\nwebsockets_only = false\n";
    let file = files.file("tcp.toml", tcp);
    let checked =
        crate::process::run_with(&mut h2ws(&["bridge", "--config", &file, "--check"]), "");
    checked
        .exited(2)
        .stderr_has("tcp.toml:1: a tcp route cannot forward plain HTTP requests");
}

/// Starts a server that answers every request with its head, and with these fields.
/// Returns its address.
fn reflecting(fields: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                return;
            };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.extend(byte);
            }
            let length = head.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
            );
            let _ = stream.write_all(&[answer.as_bytes(), &head].concat());
        }
    });
    format!("http://{addr}")
}

/// By options and by the file alike.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_identified_and_authorized() {
    let backend = reflecting("");
    let auth = format!("{}/verify", reflecting("Remote-User: ann\r\n"));
    let files = Scratch::new();
    let routes = format!(
        "cleartext = true\n[[route]]\nto = \"{backend}\"\nrequest_id = \"x-id\"\n\
         trace_context = \"restart\"\n[route.forward_auth]\nurl = \"{auth}\"\n\
         copy_headers = \"Remote-User\"\n"
    );
    let file = files.file("bridge.toml", &routes);
    let options = [
        "--cleartext",
        "--to",
        &backend,
        "--request-id",
        "x-id",
        "--trace-context",
        "restart",
        "--forward-auth",
        &auth,
        "--copy-header",
        "Remote-User",
    ];
    for args in [&options[..], &["--config", &file]] {
        let bridge = Server::bridge(args);
        let mut client = connect(&bridge).await;
        let (status, head) = get(&mut client, "/").await;
        assert_eq!(status, 200, "{args:?}");
        for field in [
            "\r\nx-id: ",
            "\r\ntraceparent: 00-",
            "\r\nremote-user: ann\r\n",
        ] {
            assert!(head.contains(field), "no {field:?} by {args:?}: {head}");
        }
    }
}
