//! Tunnels by CONNECT (RFC 9110 §9.3.6), on hyper.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::{ProxyError, authority};
use crate::transport::{BoxIo, h1, prefix};

/// How long to wait for the body of a rejection. The status carries most of the
/// information.
const BODY_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn tunnel(
    io: BoxIo,
    host: &str,
    port: u16,
    authorization: Option<HeaderValue>,
    max_rejection_body: usize,
) -> Result<BoxIo, ProxyError> {
    let request = request(host, port, authorization)?;
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(h1::MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(broken)?;
    // The task ends once the request handle and the body are dropped.
    tokio::spawn(connection.with_upgrades());
    let response = send.send_request(request).await.map_err(broken)?;
    if !response.status().is_success() {
        let (parts, body) = response.into_parts();
        let body = beginning(body, max_rejection_body).await;
        let answer = Response::from_parts(parts, body);
        return Err(ProxyError::Rejected(Box::new(answer)));
    }
    let parts = hyper::upgrade::on(response)
        .await
        .map_err(broken)?
        .downcast::<TokioIo<BoxIo>>()
        .map_err(|_| ProxyError::broken("the connection did not become a tunnel"))?;
    // The server's first bytes may have come with the proxy's response.
    Ok(prefix::put_back(parts.read_buf, parts.io.into_inner()))
}

fn request(
    host: &str,
    port: u16,
    authorization: Option<HeaderValue>,
) -> Result<Request<Empty<Bytes>>, ProxyError> {
    let authority = authority(host, port);
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(authority.as_str())
        .header(HOST, authority.as_str());
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    request
        .body(Empty::new())
        .map_err(|error| ProxyError::Protocol(Arc::new(io::Error::other(error))))
}

/// Returns as much of the body as `limit` allows and as arrives in time.
async fn beginning(mut body: Incoming, limit: usize) -> Bytes {
    let mut kept = BytesMut::new();
    let read = async {
        while kept.len() < limit
            && let Some(Ok(frame)) = body.frame().await
        {
            if let Ok(data) = frame.into_data() {
                kept.extend_from_slice(&data[..data.len().min(limit - kept.len())]);
            }
        }
    };
    // On a timeout, what has arrived until then is returned.
    let _ = tokio::time::timeout(BODY_WAIT, read).await;
    kept.freeze()
}

fn broken(error: hyper::Error) -> ProxyError {
    ProxyError::Protocol(Arc::new(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn rfc9110_9_3_6_the_request_names_host_and_port_alone() {
        for (host, port, line) in [
            ("example.com", 443, "example.com:443"),
            ("::1", 80, "[::1]:80"),
        ] {
            let request = request(host, port, None).unwrap();
            assert_eq!(request.uri().to_string(), line);
            assert_eq!(request.headers()[HOST], line);
            assert_eq!(request.headers().len(), 1);
        }
    }

    /// No byte is lost of a server that sends first.
    #[tokio::test]
    async fn bytes_after_the_response_belong_to_the_tunnel() {
        let (near, mut far) = tokio::io::duplex(1024);
        let tunnel = tokio::spawn(tunnel(Box::new(near), "a", 1, None, 0));
        let mut head = [0; 1024];
        let n = far.read(&mut head).await.unwrap();
        assert!(head[..n].starts_with(b"CONNECT a:1 HTTP/1.1\r\n"));
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst")
            .await
            .unwrap();
        let mut io = tunnel.await.unwrap().unwrap();
        far.write_all(b", second").await.unwrap();
        io.write_all(b"back").await.unwrap();
        io.flush().await.unwrap();
        let mut heard = [0; 13];
        io.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"first, second");
        let mut back = [0; 4];
        far.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"back");
    }
}
