//! Kept connections to upstreams: which requests may use them, for how long they
//! are kept, and a response on a connection that the upstream closes.

use h2ws::HttpVersion;
use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::listen;
use crate::support::plain_http::request;
use crate::support::text::Text;
use crate::support::{h2peer, within};

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

async fn expect_ok(client: &mut Text) {
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
    assert_eq!(client.take(2).await, "ok");
}

/// RFC 9112 §9.6: a response that the upstream sent before it closed the connection
/// is forwarded, even if most of the request's body is still unsent.
#[tokio::test]
async fn a_response_before_the_end_of_the_request_body_is_forwarded() {
    const LENGTH: usize = 8 << 20;
    const TOO_LARGE: &str =
        "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong";
    let (bridging, listener) = to_text().await;
    for _ in 0..20 {
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n");
        let mut client = Text::client(bridging.addr, &head).await;
        let mut backend = Text::asked(&listener).await;
        let (mut read, mut write) = client.io.split();
        let upload = async {
            let part = vec![b'.'; 64 << 10];
            for _ in 0..LENGTH / part.len() {
                if write.write_all(&part).await.is_err() {
                    return;
                }
            }
        };
        let answer = async {
            let mut answer = Vec::new();
            while !answer.ends_with(b"long") {
                let read = tokio::io::AsyncReadExt::read_buf(&mut read, &mut answer);
                assert_ne!(within(read).await.unwrap(), 0, "{answer:?}");
            }
            String::from_utf8(answer).unwrap()
        };
        let respond = async {
            backend.write(TOO_LARGE).await;
            // Closing with unread bytes sends a TCP reset after the response.
            within(backend.io.readable()).await.unwrap();
            drop(backend);
        };
        let ((), answer, ()) = within(async { tokio::join!(upload, answer, respond) }).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

/// An upstream that numbers its connections, and answers each request with the
/// number of the connection that carried it.
fn serve_connection_numbers(listener: TcpListener, fields: &'static str) {
    tokio::spawn(async move {
        for number in 0.. {
            let (io, _) = listener.accept().await.unwrap();
            let mut text = Text::on(io);
            tokio::spawn(async move {
                while text.try_read_head().await {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\n{fields}X-Number: {number}\r\nContent-Length: 2\r\n\r\nok"
                    );
                    text.write(answer).await;
                }
            });
        }
    });
}

async fn connection_number(client: &mut Text, request: &str) -> u32 {
    client.write(request).await;
    expect_ok(client).await;
    client.field("x-number").unwrap().parse().unwrap()
}

/// RFC 4559: NTLM and Negotiate authenticate the connection. It is then used for one
/// client connection only, if a client connection carries only one user.
#[tokio::test]
async fn an_authenticated_connection_is_not_shared_between_clients() {
    for scheme in ["NTLM", "negotiate"] {
        let login = get(&format!("Authorization: {scheme} abc\r\n"));
        let (listener, addr) = listen().await;
        serve_connection_numbers(listener, "");
        let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
        let mut alice = Text::client(bridging.addr, "").await;
        let mut bob = Text::client(bridging.addr, "").await;
        assert_eq!(connection_number(&mut alice, &login).await, 0);
        assert_eq!(connection_number(&mut bob, &get("")).await, 1);
        assert_eq!(
            connection_number(&mut alice, &get("")).await,
            0,
            "Alice keeps her session"
        );
        assert_eq!(
            connection_number(&mut bob, &login).await,
            1,
            "Bob keeps his session"
        );
        let mut carol = Text::client(bridging.addr, "").await;
        assert_eq!(connection_number(&mut carol, &get("")).await, 2);
        assert_eq!(connection_number(&mut bob, &get("")).await, 1);
    }
}

/// An HTTP/2 connection or a connection from a proxy may carry many users, so an
/// authenticated upstream connection is used for one request only.
#[tokio::test]
async fn an_authenticated_connection_is_used_once_if_users_are_indistinguishable() {
    let login = get("Authorization: NTLM abc\r\n");
    let (listener, addr) = listen().await;
    serve_connection_numbers(listener, "");
    let trusting = to("ws", addr, HttpVersion::Http1).trust_forwarded(true);
    let bridging = Bridging::start(trusting).await;
    let mut proxy = Text::client(bridging.addr, "").await;
    assert_eq!(connection_number(&mut proxy, &login).await, 0);
    assert_eq!(connection_number(&mut proxy, &get("")).await, 1);

    let (listener, addr) = listen().await;
    serve_connection_numbers(listener, "");
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let client = h2peer::connect(bridging.addr).await;
    for expected in ["0", "1"] {
        let mut login = request(Method::GET, "/");
        let value = "NTLM abc".parse().unwrap();
        login.headers_mut().insert("authorization", value);
        let (response, _) = h2peer::ask(&client, login, true).await;
        assert_eq!(response.headers()["x-number"], expected);
        h2peer::body(response.into_body()).await;
    }
}

/// All clients share an HTTP/2 connection to an upstream, so a request with
/// connection authentication is sent on another one.
#[tokio::test]
async fn a_shared_http2_connection_is_not_authenticated() {
    let (listener, addr) = listen().await;
    let (numbers_tx, mut numbers) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (io, _) = listener.accept().await.unwrap();
            let numbers_tx = numbers_tx.clone();
            let builder = h2::server::Builder::new();
            tokio::spawn(h2peer::serve(io, builder, move |_, mut respond| {
                numbers_tx.send(number).unwrap();
                respond
                    .send_response(http::Response::new(()), true)
                    .unwrap();
            }));
        }
    });
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    for (fields, expected) in [("", 0), ("Authorization: NTLM x\r\n", 1), ("", 0)] {
        let mut client = Text::client(bridging.addr, &get(fields)).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
        assert_eq!(within(numbers.recv()).await, Some(expected));
    }
}

/// RFC 2068 §19.7.1.1: a connection is not kept for longer than the upstream's
/// `Keep-Alive` timeout.
#[tokio::test]
async fn the_keep_alive_timeout_of_an_upstream_is_respected() {
    for (fields, is_kept) in [
        ("", true),
        ("Keep-Alive: timeout=60\r\n", true),
        ("Keep-Alive: timeout=0\r\n", false),
    ] {
        let (listener, addr) = listen().await;
        serve_connection_numbers(listener, fields);
        let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
        let mut client = Text::client(bridging.addr, "").await;
        assert_eq!(connection_number(&mut client, &get("")).await, 0);
        let second = connection_number(&mut client, &get("")).await;
        assert_eq!(second, u32::from(!is_kept), "{fields:?}");
    }
}

/// The configured idle timeout applies as well.
#[tokio::test]
async fn connections_are_kept_for_the_configured_time() {
    let (listener, addr) = listen().await;
    serve_connection_numbers(listener, "");
    let zero = std::time::Duration::ZERO;
    let builder = to("ws", addr, HttpVersion::Http1).pool_idle_timeout(zero);
    let bridging = Bridging::start(builder).await;
    let mut client = Text::client(bridging.addr, "").await;
    assert_eq!(connection_number(&mut client, &get("")).await, 0);
    assert_eq!(connection_number(&mut client, &get("")).await, 1);
}

/// RFC 9110 §9.2.2: a request that must not be repeated is not sent on a connection
/// that the upstream may be about to close.
#[tokio::test]
async fn a_post_does_not_use_a_connection_that_has_been_idle() {
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    let (listener, addr) = listen().await;
    serve_connection_numbers(listener, "");
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let mut client = Text::client(bridging.addr, "").await;
    assert_eq!(connection_number(&mut client, &get("")).await, 0);
    assert_eq!(
        connection_number(&mut client, post).await,
        0,
        "the connection was in use a moment ago"
    );
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(connection_number(&mut client, post).await, 1);
    assert_eq!(
        connection_number(&mut client, &get("")).await,
        1,
        "the most recent connection is used"
    );
}
