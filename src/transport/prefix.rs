//! Distinguishes HTTP/2 with prior knowledge from HTTP/1.1 by the first bytes
//! of a connection, and both from the header of a load balancer, which would
//! look like nonsense to either.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::BoxIo;

/// The client's connection preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the headers of the PROXY protocol begin, versions 1 and 2.
const PROXY_HEADERS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// The first byte of either.
pub(super) const PROXY_HEADER_BYTES: [u8; 2] = [b'P', b'\r'];

/// The connection begins with a PROXY header, and there is nothing that takes it.
#[derive(Debug)]
pub(crate) struct UnexpectedProxyHeader;

impl fmt::Display for UnexpectedProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it begins with a header, which this listener does not expect")
    }
}

impl Error for UnexpectedProxyHeader {}

/// Reads until the first bytes, of which `first` was read already, are known
/// to be the HTTP/2 preface or not. Returns whether they are, and the I/O
/// object with those bytes put back.
pub(crate) async fn sniff(first: &[u8], mut io: BoxIo) -> io::Result<(bool, BoxIo)> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    read.extend_from_slice(first);
    let known = [PREFACE, PROXY_HEADERS[0], PROXY_HEADERS[1]];
    let is_start = |read: &[u8], of: &[u8]| read.len() < of.len() && of.starts_with(read);
    while known.iter().any(|known| is_start(&read, known)) {
        let mut limited = (&mut io).take((PREFACE.len() - read.len()) as u64);
        if limited.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if PROXY_HEADERS.iter().any(|header| read.starts_with(header)) {
        return Err(io::Error::other(UnexpectedProxyHeader));
    }
    let is_http2 = read == PREFACE;
    Ok((is_http2, put_back(read.freeze(), io)))
}

/// Returns an I/O object that yields `prefix`, which was read from `io`, before
/// anything else.
pub(crate) fn put_back(prefix: Bytes, io: BoxIo) -> BoxIo {
    if prefix.is_empty() {
        return io;
    }
    Box::new(Prefixed { prefix, io })
}

/// An I/O object that first yields bytes that were already read from it.
struct Prefixed {
    prefix: Bytes,
    io: BoxIo,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn sniffed(sent: &[u8], cut: usize) -> (bool, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(1024);
        let (first, second) = sent.split_at(cut.min(sent.len()));
        far.write_all(first).await.unwrap();
        let sniff = tokio::spawn(async { sniff(b"", Box::new(near)).await });
        tokio::task::yield_now().await;
        far.write_all(second).await.unwrap();
        drop(far);
        let (is_http2, mut io) = sniff.await.unwrap().unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        (is_http2, rest)
    }

    #[tokio::test]
    async fn the_preface_is_distinguished_from_a_request_and_put_back() {
        let http2 = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
        for cut in 1..http2.len() {
            assert_eq!(sniffed(&http2, cut).await, (true, http2.clone()));
        }
        for request in [
            "GET / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
            "P\r\n",
        ] {
            for cut in 1..request.len() {
                assert_eq!(
                    sniffed(request.as_bytes(), cut).await,
                    (false, request.into())
                );
            }
        }
    }

    #[tokio::test]
    async fn a_proxy_header_is_neither() {
        for header in [
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n"[..],
            PROXY_HEADERS[1],
        ] {
            for first in [0, 1] {
                let (near, mut far) = tokio::io::duplex(1024);
                far.write_all(&header[first..]).await.unwrap();
                let error = sniff(&header[..first], Box::new(near)).await.err().unwrap();
                assert!(error.get_ref().unwrap().is::<UnexpectedProxyHeader>());
            }
        }
        for other in ["PROPFIND / HTTP/1.1\r\n\r\n", "\r\nGET / HTTP/1.1\r\n\r\n"] {
            for cut in 1..other.len() {
                assert_eq!(sniffed(other.as_bytes(), cut).await, (false, other.into()));
            }
        }
    }

    #[tokio::test]
    async fn a_connection_closed_before_its_first_byte_is_an_error() {
        let (near, far) = tokio::io::duplex(1024);
        drop(far);
        assert!(sniff(b"", Box::new(near)).await.is_err());
    }
}
