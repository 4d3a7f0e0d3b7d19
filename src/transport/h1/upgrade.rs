//! A client's Upgrade (RFC 9110 §7.8): sends the request and reads the 101.
//!
//! hyper holds 20 KB and a task for a request in progress. A connection that
//! becomes a WebSocket needs neither, and after many are opened at once, the
//! process keeps the memory. So the request is written and the 101 is parsed
//! here. Any other response is left to hyper, which handles bodies.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::MAX_HEAD;
use crate::transport::{
    BoxIo, IoStream, MAX_HEADER_FIELDS, MAX_INTERIM, StreamError, TOO_MANY_INTERIM, Transport,
    prefix,
};

/// Bytes of the response that are read at a time.
const READ: usize = 1024;

/// The beginning of interim responses, including 101 (RFC 9110 §15.2); `?`
/// stands for any minor version.
const INTERIM: &[u8] = b"HTTP/1.? 1";

/// The response to an Upgrade request.
pub(crate) enum H1Answer {
    /// 101: the connection now carries the WebSocket.
    Switched(response::Parts, Box<IoStream>),
    /// Any other final response.
    Rejected(response::Parts, Incoming),
}

/// Sends an Upgrade request on a dedicated connection. Dropping the future
/// closes the connection.
pub(crate) fn upgrade(
    mut io: BoxIo,
    request: &Request<()>,
    id: u64,
    write_buffer: usize,
) -> impl Future<Output = Result<H1Answer, StreamError>> + Send + use<> {
    let head = head(request);
    async move {
        io.write_all(&head).await?;
        io.flush().await?;
        drop(head);
        let mut read = BytesMut::new();
        let Some(parts) = switching(&mut io, &mut read).await? else {
            return Box::pin(rejected(prefix::put_back(read.freeze(), io))).await;
        };
        // Copied, so that the buffer of the response can be freed.
        let early = Bytes::copy_from_slice(&read);
        let transport = Transport::Http1 { connection: id };
        let stream = IoStream::new(io, early, transport, write_buffer);
        Ok(H1Answer::Switched(parts, Box::new(stream)))
    }
}

/// Serializes the head of a request (RFC 9112 §3, §5).
fn head(request: &Request<()>) -> Vec<u8> {
    let target = request.uri().to_string();
    let line = [request.method().as_str(), " ", &target, " HTTP/1.1\r\n"];
    let mut head = line.concat().into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Reads until a 101 is complete, skipping other interim responses (RFC 9110
/// §15.2). `None` if `read` begins with a final response.
async fn switching(io: &mut BoxIo, read: &mut BytesMut) -> io::Result<Option<response::Parts>> {
    let (mut taken, mut skipped) = (0, 0);
    while is_interim(read) {
        match interim(read)? {
            Some((parts, size)) => {
                read.advance(size);
                taken += size;
                skipped += 1;
                if skipped > MAX_INTERIM {
                    return Err(invalid(TOO_MANY_INTERIM));
                }
                if parts.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Ok(Some(parts));
                }
            }
            None if taken + read.len() >= MAX_HEAD => {
                return Err(invalid("the head of the response is too large"));
            }
            None => read_lines(io, read).await?,
        }
    }
    Ok(None)
}

/// Returns whether `read` can still be the beginning of an interim response.
fn is_interim(read: &[u8]) -> bool {
    let mut pairs = read.iter().zip(INTERIM);
    pairs.all(|(byte, expected)| byte == expected || *expected == b'?')
}

/// Reads until a line ends, so that a head that arrives in small pieces is not
/// parsed again for each of them.
async fn read_lines(io: &mut BoxIo, read: &mut BytesMut) -> io::Result<()> {
    loop {
        let before = read.len();
        if poll_fn(|cx| poll_read(io, read, cx)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read[before..].contains(&b'\n') || read.len() >= MAX_HEAD || !is_interim(read) {
            return Ok(());
        }
    }
}

/// Appends what has arrived, and returns its size. `read` grows only then, so that
/// waiting for a response takes no buffer.
fn poll_read(io: &mut BoxIo, read: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); READ];
    let mut arrived = ReadBuf::uninit(&mut space);
    ready!(Pin::new(io).poll_read(cx, &mut arrived))?;
    read.extend_from_slice(arrived.filled());
    Poll::Ready(Ok(arrived.filled().len()))
}

/// Parses the head of an interim response. Returns it with its size in bytes
/// once it is complete.
fn interim(read: &[u8]) -> io::Result<Option<(response::Parts, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADER_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(size) = head.parse(read).map_err(invalid)? else {
        return Ok(None);
    };
    let mut answer = Response::new(());
    if head.version != Some(1) {
        *answer.version_mut() = Version::HTTP_10;
    }
    *answer.status_mut() = StatusCode::from_u16(head.code.unwrap_or_default()).map_err(invalid)?;
    for field in head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(invalid)?;
        let value = HeaderValue::from_bytes(field.value).map_err(invalid)?;
        answer.headers_mut().append(name, value);
    }
    Ok(Some((answer.into_parts().0, size)))
}

/// Lets hyper read a final response.
async fn rejected(io: BoxIo) -> Result<H1Answer, StreamError> {
    let io: BoxIo = Box::new(RequestSent::new(io));
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADER_FIELDS)
        .handshake(TokioIo::new(io))
        .await?;
    // The task ends once the request handle and the body are dropped.
    tokio::spawn(connection);
    let request = Request::new(Empty::<Bytes>::new());
    let (parts, body) = send.send_request(request).await?.into_parts();
    Ok(H1Answer::Rejected(parts, body))
}

/// A connection on which the request was already sent. The request that hyper
/// writes is discarded, and only then hyper gets to read the response to ours.
struct RequestSent {
    io: BoxIo,
    is_written: bool,
    reader: Option<Waker>,
}

impl RequestSent {
    fn new(io: BoxIo) -> Self {
        Self {
            io,
            is_written: false,
            reader: None,
        }
    }
}

impl AsyncRead for RequestSent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_written {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for RequestSent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_written = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio::task::yield_now;

    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                            X-Twice: 1\r\nx-twice: 2\r\n\r\n";

    async fn asked(near: DuplexStream) -> Result<H1Answer, StreamError> {
        let request = Request::get("/chat?room=1")
            .header("host", "a")
            .header("sec-websocket-protocol", "one")
            .header("sec-websocket-protocol", "two");
        upgrade(Box::new(near), &request.body(()).unwrap(), 7, 1024).await
    }

    /// Returns the outcome of a response that is sent in two pieces, and the
    /// server's end of the connection after the request was read.
    async fn answered(answer: &[u8], cut: usize) -> (Result<H1Answer, StreamError>, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(answer.len().max(1024));
        let asking = tokio::spawn(asked(near));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut head).await.unwrap();
        }
        let (first, second) = answer.split_at(cut);
        far.write_all(first).await.unwrap();
        for _ in 0..3 {
            yield_now().await;
        }
        far.write_all(second).await.unwrap();
        far.shutdown().await.unwrap();
        (asking.await.unwrap(), far)
    }

    #[tokio::test]
    async fn the_request_is_in_origin_form_with_its_fields_in_order() {
        let (near, mut far) = tokio::io::duplex(1024);
        let asking = tokio::spawn(asked(near));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut head).await.unwrap();
        }
        asking.abort();
        let expected = "GET /chat?room=1 HTTP/1.1\r\nhost: a\r\n\
                        sec-websocket-protocol: one\r\nsec-websocket-protocol: two\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
    }

    /// RFC 9110 §15.2: a final response may be preceded by any number of
    /// interim ones.
    #[tokio::test]
    async fn a_101_is_read_however_it_is_cut_and_the_rest_belongs_to_the_websocket() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        for before in ["", interim] {
            let answer = [before, SWITCHED, "\u{81}\u{1}x"].concat().into_bytes();
            for cut in 0..=answer.len() {
                let (got, mut far) = answered(&answer, cut).await;
                let Ok(H1Answer::Switched(parts, mut stream)) = got else {
                    panic!("no 101, cut at {cut}");
                };
                assert_eq!(parts.headers["upgrade"], "websocket");
                assert_eq!(parts.headers.get_all("x-twice").iter().count(), 2);
                assert!(!parts.headers.contains_key("link"));
                let mut rest = Vec::new();
                while let Some(chunk) = poll_fn(|cx| stream.poll_chunk(cx)).await.unwrap() {
                    rest.extend_from_slice(&chunk);
                }
                assert_eq!(rest, "\u{81}\u{1}x".as_bytes());
                stream.write(|out| out.buffer().extend_from_slice(b"back"));
                poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
                let mut back = [0; 4];
                far.read_exact(&mut back).await.unwrap();
                assert_eq!(&back, b"back");
            }
        }
    }

    #[tokio::test]
    async fn waiting_for_the_response_takes_no_buffer() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut io, mut read) = (Box::new(near) as BoxIo, BytesMut::new());
        assert!(switching(&mut io, &mut read).now_or_never().is_none());
        assert_eq!(read.capacity(), 0);
        far.write_all(SWITCHED.as_bytes()).await.unwrap();
        let parts = switching(&mut io, &mut read).await.unwrap().unwrap();
        assert_eq!(parts.status, StatusCode::SWITCHING_PROTOCOLS);
    }

    #[tokio::test]
    async fn rejections_are_read_with_their_bodies_however_they_are_cut() {
        for (fields, body) in [
            ("Content-Length: 6\r\n", "sorry\n"),
            (
                "Transfer-Encoding: chunked\r\n",
                "3\r\nsor\r\n3\r\nry\n\r\n0\r\n\r\n",
            ),
            ("", "sorry\n"),
        ] {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            let answer = format!("{hints}HTTP/1.1 403 Forbidden\r\nX-Why: x\r\n{fields}\r\n{body}");
            for cut in 0..=answer.len() {
                let (got, _far) = answered(answer.as_bytes(), cut).await;
                let Ok(H1Answer::Rejected(parts, body)) = got else {
                    panic!("no rejection, cut at {cut}");
                };
                assert_eq!(
                    (parts.status.as_u16(), &parts.headers["x-why"]),
                    (403, &"x".parse().unwrap())
                );
                assert_eq!(body.collect().await.unwrap().to_bytes(), "sorry\n");
            }
        }
    }

    #[tokio::test]
    async fn a_malformed_response_is_an_error() {
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_HEAD / 20);
        let large = format!("HTTP/1.1 101 x\r\nx: {}", "y".repeat(MAX_HEAD));
        let many = format!(
            "HTTP/1.1 101 x\r\n{}\r\n",
            "x: y\r\n".repeat(MAX_HEADER_FIELDS + 1)
        );
        let large_head = "head of the response is too large";
        for (answer, why) in [
            ("", "end of file"),
            ("HTTP/1.1 101 x\r\nUpgrade: webs", "end of file"),
            ("HTTP/1.1 101 x\r\nno field\r\n\r\n", "header name"),
            ("HTTP/1.1 1x1 x\r\n\r\n", "status"),
            (&many, "many headers"),
            (&large, large_head),
            (&endless, "too many interim responses"),
            ("SSH-2.0-OpenSSH_9.2\r\n", ""),
            ("HTTP/1.1 403 Forbidden\r\nX-W", ""),
        ] {
            let (got, _far) = answered(answer.as_bytes(), 0).await;
            let Err(StreamError::Io(error)) = got else {
                panic!("no error: {}", &answer[..answer.len().min(40)]);
            };
            assert!(error.to_string().contains(why), "{error}, not {why}");
        }
    }
}
