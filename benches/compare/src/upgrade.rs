//! The HTTP/1.1 handshake of RFC 6455 §4, for peers that start from a bare stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Error;

/// Performs the client's handshake.
///
/// # Errors
///
/// If the connection fails or the response is not 101.
pub async fn connect<T>(stream: &mut T, addr: &str) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let head = read_head(stream).await?;
    if !head.starts_with("HTTP/1.1 101") {
        return Err(format!("rejected: {head}").into());
    }
    Ok(())
}

/// Performs the server's handshake.
///
/// # Errors
///
/// If the connection fails or the request has no key.
pub async fn accept<T>(stream: &mut T) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let head = read_head(stream).await?;
    let key = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .ok_or("no key")?
        .1
        .trim();
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_of(key)
    );
    Ok(stream.write_all(response.as_bytes()).await?)
}

/// Returns the value of Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
fn accept_of(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Reads up to the empty line. Neither peer sends anything after it before the other does.
async fn read_head<T: AsyncRead + Unpin>(stream: &mut T) -> Result<String, Error> {
    let mut head = BytesMut::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err("closed during the handshake".into());
        }
    }
    Ok(String::from_utf8(head.to_vec())?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rfc6455_1_3_the_example_key_is_accepted() {
        assert_eq!(
            super::accept_of("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
