//! Kept connections to upstreams: which request may use which, and what is heard
//! on one that the upstream has given up.

use h2ws::HttpVersion;
use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::listen;
use crate::support::plain_http::request;
use crate::support::text::Text;
use crate::support::{h2peer, within};

fn ask(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

async fn answered(client: &mut Text) {
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
    assert_eq!(client.take(2).await, "ok");
}

/// RFC 9112 §9.6: what an upstream said before it hung up is the answer, however
/// much of the body is still coming.
#[tokio::test]
async fn an_answer_before_the_end_of_a_body_arrives() {
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
        let refuse = async {
            backend.write(TOO_LARGE).await;
            // With bytes that nobody has read: a reset follows the answer.
            within(backend.io.readable()).await.unwrap();
            drop(backend);
        };
        let ((), answer, ()) = within(async { tokio::join!(upload, answer, refuse) }).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

/// A backend that counts what comes over each of its connections, and answers
/// each request with the connection's number.
fn numbering(listener: TcpListener, fields: &'static str) {
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

async fn number(client: &mut Text, asked: &str) -> u32 {
    client.write(asked).await;
    answered(client).await;
    client.field("x-number").unwrap().parse().unwrap()
}

/// RFC 4559: NTLM and Negotiate authenticate the connection. It stays with the
/// client's, where there is one for each user.
#[tokio::test]
async fn an_authenticated_connection_is_nobody_elses() {
    for scheme in ["NTLM", "negotiate"] {
        let login = ask(&format!("Authorization: {scheme} abc\r\n"));
        let (listener, addr) = listen().await;
        numbering(listener, "");
        let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
        let mut alice = Text::client(bridging.addr, "").await;
        let mut bob = Text::client(bridging.addr, "").await;
        assert_eq!(number(&mut alice, &login).await, 0);
        assert_eq!(number(&mut bob, &ask("")).await, 1);
        assert_eq!(number(&mut alice, &ask("")).await, 0, "her session");
        assert_eq!(number(&mut bob, &login).await, 1, "and his");
        let mut carol = Text::client(bridging.addr, "").await;
        assert_eq!(number(&mut carol, &ask("")).await, 2);
        assert_eq!(number(&mut bob, &ask("")).await, 1);
    }
}

/// A connection of a proxy, or of HTTP/2, may carry many users: one that is
/// authenticated there is used once.
#[tokio::test]
async fn an_authenticated_connection_is_used_once_where_users_cannot_be_told_apart() {
    let login = ask("Authorization: NTLM abc\r\n");
    let (listener, addr) = listen().await;
    numbering(listener, "");
    let trusting = to("ws", addr, HttpVersion::Http1).trust_forwarded(true);
    let bridging = Bridging::start(trusting).await;
    let mut proxy = Text::client(bridging.addr, "").await;
    assert_eq!(number(&mut proxy, &login).await, 0);
    assert_eq!(number(&mut proxy, &ask("")).await, 1);

    let (listener, addr) = listen().await;
    numbering(listener, "");
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

/// An HTTP/2 connection to an upstream is everybody's: it is not authenticated.
#[tokio::test]
async fn a_shared_connection_is_not_authenticated() {
    let (listener, addr) = listen().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (io, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            let builder = h2::server::Builder::new();
            tokio::spawn(h2peer::serve(io, builder, move |_, mut respond| {
                tell.send(number).unwrap();
                respond
                    .send_response(http::Response::new(()), true)
                    .unwrap();
            }));
        }
    });
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    for (fields, expected) in [("", 0), ("Authorization: NTLM x\r\n", 1), ("", 0)] {
        let mut client = Text::client(bridging.addr, &ask(fields)).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
        assert_eq!(within(told.recv()).await, Some(expected));
    }
}

/// RFC 2068 §19.7.1.1: a connection is not used for longer than its server says.
#[tokio::test]
async fn an_upstreams_keep_alive_is_heeded() {
    for (fields, is_kept) in [
        ("", true),
        ("Keep-Alive: timeout=60\r\n", true),
        ("Keep-Alive: timeout=0\r\n", false),
    ] {
        let (listener, addr) = listen().await;
        numbering(listener, fields);
        let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
        let mut client = Text::client(bridging.addr, "").await;
        assert_eq!(number(&mut client, &ask("")).await, 0);
        let second = number(&mut client, &ask("")).await;
        assert_eq!(second, u32::from(!is_kept), "{fields:?}");
    }
}

/// What an operator sets holds as well.
#[tokio::test]
async fn connections_are_kept_for_as_long_as_is_configured() {
    let (listener, addr) = listen().await;
    numbering(listener, "");
    let none = std::time::Duration::ZERO;
    let builder = to("ws", addr, HttpVersion::Http1).pool_idle_timeout(none);
    let bridging = Bridging::start(builder).await;
    let mut client = Text::client(bridging.addr, "").await;
    assert_eq!(number(&mut client, &ask("")).await, 0);
    assert_eq!(number(&mut client, &ask("")).await, 1);
}

/// RFC 9110 §9.2.2: what cannot be repeated is not risked on a connection that
/// its server may be about to end.
#[tokio::test]
async fn a_post_waits_for_no_kept_connection_that_has_rested() {
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    let (listener, addr) = listen().await;
    numbering(listener, "");
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let mut client = Text::client(bridging.addr, "").await;
    assert_eq!(number(&mut client, &ask("")).await, 0);
    assert_eq!(number(&mut client, post).await, 0, "a moment ago");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(number(&mut client, post).await, 1);
    assert_eq!(number(&mut client, &ask("")).await, 1, "the latest");
}
