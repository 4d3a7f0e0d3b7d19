//! Bodies and trailers of plain HTTP requests and responses through a bridge.

use std::time::Duration;

use bytes::Bytes;
use h2ws::HttpVersion;
use http::{HeaderMap, Method};
use tokio::io::AsyncWriteExt;

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::narrow;
use crate::support::plain_http::{OK, answered, answered_in_text, chunk, request};
use crate::support::text::Text;
use crate::support::{h2peer, within};

/// Each chunk is forwarded before the next one is sent. A body of unknown length is
/// chunked (RFC 9112 §7.1), also for GET, for which hyper would send no body.
#[tokio::test]
async fn bodies_stream_in_both_directions() {
    for method in [Method::POST, Method::GET] {
        let (bridging, listener) = to_text().await;
        let client = h2peer::connect(bridging.addr).await;
        let mut send = within(client.clone().ready()).await.unwrap();
        let (response, mut upload) = send.send_request(request(method, "/"), false).unwrap();
        let mut backend = Text::asked(&listener).await;
        assert_eq!(backend.field("transfer-encoding"), Some("chunked"));
        assert_eq!(backend.field("content-length"), None);
        upload.send_data("one".into(), false).unwrap();
        assert_eq!(backend.take(8).await, "3\r\none\r\n");
        backend
            .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let mut body = within(response).await.unwrap().into_body();
        for _ in 0..3 {
            backend.write("4\r\nback\r\n").await;
            assert_eq!(chunk(&mut body).await, "back");
            upload.send_data("more".into(), false).unwrap();
            assert_eq!(backend.take(9).await, "4\r\nmore\r\n");
        }
        upload.send_data(Bytes::new(), true).unwrap();
        assert_eq!(backend.take(5).await, "0\r\n\r\n");
        backend.write("0\r\n\r\n").await;
        assert!(h2peer::body(body).await.is_empty());
    }
}

/// RFC 9112 §6.3: contradictory lengths never reach an upstream, nor does a body whose
/// end another parser could find elsewhere.
#[tokio::test]
async fn conflicting_request_lengths_are_not_forwarded() {
    let (bridging, listener) = to_text().await;
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Host: b.test\r\n",
    ] {
        let asked = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\nhello");
        let mut client = Text::client(bridging.addr, &asked).await;
        client.read_head().await;
        assert!(
            client.head.starts_with("HTTP/1.1 400 "),
            "{fields}: {}",
            client.head
        );
    }
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let asked =
            format!("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{both}\r\n{smuggled}");
        let _client = Text::client(bridging.addr, &asked).await;
        let mut backend = Text::asked(&listener).await;
        assert!(
            backend.head.starts_with("POST / "),
            "the smuggled request was forwarded"
        );
        assert_eq!(backend.field("content-length"), None);
        assert_eq!(backend.field("transfer-encoding"), Some("chunked"));
        assert_eq!(backend.take(5).await, "0\r\n\r\n");
        backend.write(OK).await;
    }
}

/// The same for responses: one with two lengths is answered with 502, and a chunked
/// one loses its `Content-Length`.
#[tokio::test]
async fn conflicting_response_lengths_are_not_forwarded() {
    let (bridging, listener) = to_text().await;
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!";
    assert_eq!(
        answered(&bridging, &listener, Method::GET, two)
            .await
            .status(),
        502
    );
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nfour\r\n0\r\n\r\n";
    let response = answered(&bridging, &listener, Method::GET, both).await;
    assert_eq!(response.headers().get("content-length"), None);
    assert_eq!(h2peer::body(response.into_body()).await, b"four");
}

/// RFC 9112 §6.3: what follows a response with two lengths may be a part of it, so it is
/// the last one of its connection.
#[tokio::test]
async fn a_connection_is_not_reused_after_a_response_with_two_lengths() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    for both in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{both}\r\n\r\n4\r\nfour\r\n0\r\n\r\n");
        let asked = h2peer::ask(&client, request(Method::GET, "/"), true);
        let ((response, _), mut backend) = tokio::join!(asked, async {
            let mut backend = Text::asked(&listener).await;
            backend.write(&answer).await;
            backend
        });
        assert_eq!(h2peer::body(response.into_body()).await, b"four");
        assert_eq!(backend.rest().await, b"", "{both}");
    }
}

/// RFC 9112 §6.1: a body with another coding than `chunked` is not forwarded, because the
/// field that names the coding is not.
#[tokio::test]
async fn a_response_with_an_unknown_transfer_coding_is_502() {
    let (bridging, listener) = to_text().await;
    for (codings, status) in [
        ("chunked", 200),
        ("Chunked", 200),
        ("gzip, chunked", 502),
        ("gzip\r\nTransfer-Encoding: chunked", 502),
        ("gzip", 502),
        ("identity", 502),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {codings}\r\n\r\n0\r\n\r\n");
        let response = answered(&bridging, &listener, Method::GET, &answer).await;
        assert_eq!(response.status(), status, "{codings}");

        let answer = answer.replace("200 OK", "403 No");
        let mut client = Text::ask(bridging.addr, "/", "").await;
        let mut backend = Text::asked(&listener).await;
        backend.write(answer).await;
        drop(backend);
        client.read_head().await;
        let expected = if status == 200 { 403 } else { 502 };
        let expected = format!("HTTP/1.1 {expected} ");
        assert!(
            client.head.starts_with(&expected),
            "{codings}: {}",
            client.head
        );
    }
}

/// RFC 9110 §15.2: a request has any number of interim responses; 100 are skipped.
#[tokio::test]
async fn endless_interim_responses_are_502() {
    let (bridging, listener) = to_text().await;
    for (interim, status) in [(100, 200), (101, 502)] {
        let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(interim) + OK;
        let response = answered(&bridging, &listener, Method::GET, &answer).await;
        assert_eq!(response.status(), status, "{interim}");
    }
}

/// RFC 9110 §8.6, §9.3.2, §15.4.5: a response without a body has the `Content-Length`
/// that the upstream sent, or none.
#[tokio::test]
async fn responses_without_a_body_keep_their_content_length() {
    let (bridging, listener) = to_text().await;
    let mut mistakes = Vec::new();
    for (method, answer, status, length) in [
        (
            Method::HEAD,
            "200 OK\r\nContent-Length: 7\r\n",
            200,
            Some("7"),
        ),
        (
            Method::HEAD,
            "200 OK\r\nTransfer-Encoding: chunked\r\n",
            200,
            None,
        ),
        (Method::HEAD, "200 OK\r\n", 200, None),
        (Method::GET, "204 No Content\r\n", 204, None),
        (
            Method::GET,
            "304 Not Modified\r\nETag: \"x\"\r\n",
            304,
            None,
        ),
        (
            Method::GET,
            "304 Not Modified\r\nContent-Length: 7\r\n",
            304,
            Some("7"),
        ),
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\n");
        let response = answered(&bridging, &listener, method.clone(), &answer).await;
        assert_eq!(response.status(), status);
        let got = response.headers().get("content-length").cloned();
        if got.as_ref().map(|got| got.to_str().unwrap()) != length {
            mistakes.push(format!("HTTP/2 {method} {answer}: {got:?}"));
        }
        assert!(h2peer::body(response.into_body()).await.is_empty());

        let asked = format!("{method} / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let got = answered_in_text(&bridging, &listener, &asked, &answer).await;
        assert!(got.starts_with(&format!("http/1.1 {status} ")), "{got}");
        assert!(got.ends_with("\r\n\r\n"), "unexpected body: {got}");
        // hyper's server removes `Content-Length` from a 304.
        let length = length.filter(|_| status != 304);
        let got_length = got
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if got_length != length || got.contains("transfer-encoding") {
            mistakes.push(format!("HTTP/1.1 {method} {answer}: {got}"));
        }
    }
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

/// RFC 9110 §6.5: trailers are forwarded without the fields that they must not
/// contain.
#[tokio::test]
async fn trailers_are_forwarded_in_both_directions() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let mut asked = request(Method::POST, "/");
    let fields = asked.headers_mut();
    fields.insert("te", "trailers".parse().unwrap());
    fields.insert("trailer", "x-sum, x-forwarded-for".parse().unwrap());
    let (response, mut upload) = send.send_request(asked, false).unwrap();
    let trailers: HeaderMap = [("x-sum", "1"), ("x-forwarded-for", "10.0.0.1")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect();
    upload.send_data("one".into(), false).unwrap();
    upload.send_trailers(trailers).unwrap();
    let mut backend = Text::asked(&listener).await;
    assert_eq!(backend.field("te"), Some("trailers"));
    assert_eq!(backend.field("connection"), Some("te"));
    let sent = "3\r\none\r\n0\r\nx-sum: 1\r\n\r\n";
    assert_eq!(backend.take(sent.len()).await.to_lowercase(), sent);
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
        3\r\ntwo\r\n0\r\nx-sum: 2\r\ncontent-length: 9\r\n\r\n";
    backend.write(answer).await;
    let response = within(response).await.unwrap();
    assert_eq!(response.headers()["trailer"], "x-sum");
    let mut body = response.into_body();
    assert_eq!(chunk(&mut body).await, "two");
    assert!(within(body.data()).await.is_none());
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "2");
}

/// The bridge stops reading when a client does not read. The amount in flight is
/// bounded, and the kernel holds most of it (up to 6 MB for a receiver,
/// net.ipv4.tcp_rmem).
#[tokio::test]
async fn a_client_that_never_reads_blocks_its_upstream() {
    let (listener, addr) = narrow();
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let client = h2peer::connect(bridging.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let (response, _) = send.send_request(request(Method::GET, "/"), true).unwrap();
    let mut backend = Text::asked(&listener).await;
    backend.write(answer).await;
    let mut body = within(response).await.unwrap().into_body();
    let chunk = format!("fde8\r\n{}\r\n", "x".repeat(65_000));
    let mut written = 0;
    while let Ok(all) = tokio::time::timeout(
        Duration::from_millis(300),
        backend.io.write_all(chunk.as_bytes()),
    )
    .await
    {
        all.unwrap();
        written += chunk.len();
        assert!(written < 64 << 20, "the upstream is not blocked");
    }
    assert!(
        written < 12 << 20,
        "{written} bytes accepted for a client that does not read"
    );
    // The client receives its window and no more.
    let mut received = 0;
    while received < 65_535 {
        received += within(body.data()).await.unwrap().unwrap().len();
    }
    assert_eq!(received, 65_535);
}

/// The same in the other direction: the bridge does not reopen the client's window.
#[tokio::test]
async fn an_upstream_that_never_reads_blocks_its_client() {
    let (listener, addr) = narrow();
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let client = h2peer::connect(bridging.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let (_response, mut upload) = send
        .send_request(request(Method::POST, "/"), false)
        .unwrap();
    let _backend = Text::asked(&listener).await;
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let mut written = 0;
    while let Ok(sent) = tokio::time::timeout(
        Duration::from_millis(300),
        h2peer::send_all(&mut upload, piece.clone()),
    )
    .await
    {
        sent.unwrap();
        written += piece.len();
        assert!(written < 64 << 20, "the client is not blocked");
    }
    assert!(
        written < 12 << 20,
        "{written} bytes accepted for an upstream that does not read"
    );
}
