//! Tunnels by SOCKS5 (RFC 1928), with user name and password (RFC 1929).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Login, ProxyError};
use crate::transport::BoxIo;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// Version of the subnegotiation in RFC 1929, not of SOCKS.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const NOT_SOCKS5: &str = "the response is not SOCKS5";

pub(super) async fn tunnel(
    mut io: BoxIo,
    host: &str,
    port: u16,
    login: Option<&Login>,
) -> Result<BoxIo, ProxyError> {
    let request = request(host, port)?;
    let methods: &[u8] = match login {
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    send(&mut io, methods).await?;
    match (receive::<2>(&mut io).await?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, USER_PASSWORD], Some(login)) => {
            send(&mut io, &login.message()).await?;
            // Some proxies send the version of SOCKS here, so it is ignored.
            if receive::<2>(&mut io).await?[1] != 0 {
                return Err(ProxyError::Login);
            }
        }
        ([VERSION, NO_METHOD], _) => return Err(ProxyError::Login),
        ([VERSION, _], _) => {
            return Err(ProxyError::broken("selected a method that was not offered"));
        }
        _ => return Err(ProxyError::broken(NOT_SOCKS5)),
    }
    send(&mut io, &request).await?;
    reply(&mut io).await?;
    Ok(io)
}

impl Login {
    /// Serializes the credentials (RFC 1929 §2).
    fn message(&self) -> Vec<u8> {
        let mut message = vec![LOGIN_VERSION];
        for field in [&self.user, &self.password] {
            message.push(u8::try_from(field.len()).expect("`Proxy::from_str` checks the lengths"));
            message.extend_from_slice(field);
        }
        message
    }
}

/// Serializes a CONNECT request (RFC 1928 §4).
fn request(host: &str, port: u16) -> Result<Vec<u8>, ProxyError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).map_err(|_| ProxyError::Host)?;
            request.extend_from_slice(&[NAME, length]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// Reads a reply (RFC 1928 §6). The address in it is not used, but the tunnel
/// begins only after it.
async fn reply(io: &mut BoxIo) -> Result<(), ProxyError> {
    // Not the whole head at once: a proxy may close after an error reply.
    let [version, reply] = receive(io).await?;
    if version != VERSION {
        return Err(ProxyError::broken(NOT_SOCKS5));
    }
    if reply != 0 {
        return Err(ProxyError::Socks(reply));
    }
    let [_, kind] = receive(io).await?;
    match kind {
        IPV4 => drop(receive::<{ 4 + 2 }>(io).await?),
        IPV6 => drop(receive::<{ 16 + 2 }>(io).await?),
        NAME => {
            let [length] = receive(io).await?;
            let mut name = vec![0; usize::from(length) + 2];
            io.read_exact(&mut name).await.map_err(broken)?;
        }
        _ => return Err(ProxyError::broken("replied with an unknown address type")),
    }
    Ok(())
}

async fn send(io: &mut BoxIo, bytes: &[u8]) -> Result<(), ProxyError> {
    io.write_all(bytes).await.map_err(broken)?;
    io.flush().await.map_err(broken)
}

/// Reads exactly `N` bytes: those after them may belong to the tunnel.
async fn receive<const N: usize>(io: &mut BoxIo) -> Result<[u8; N], ProxyError> {
    let mut bytes = [0; N];
    io.read_exact(&mut bytes).await.map_err(broken)?;
    Ok(bytes)
}

fn broken(error: io::Error) -> ProxyError {
    ProxyError::Protocol(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(
        login: Option<Login>,
        host: &str,
        answers: &[u8],
    ) -> (Result<Vec<u8>, ProxyError>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(answers).await.unwrap();
        far.shutdown().await.unwrap();
        let result = match tunnel(Box::new(near), host, 443, login.as_ref()).await {
            Ok(mut io) => {
                let mut rest = Vec::new();
                io.read_to_end(&mut rest).await.unwrap();
                Ok(rest)
            }
            Err(error) => Err(error),
        };
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        (result, sent)
    }

    fn login() -> Option<Login> {
        Some(Login {
            user: b"me".to_vec(),
            password: b"secret".to_vec(),
        })
    }

    #[tokio::test]
    async fn rfc1928_the_bytes_of_a_tunnel() {
        let ok = b"\x05\x00\x05\x00\x00\x01\x7f\0\0\x01\x12\x34first";
        let (rest, sent) = exchange(None, "example.com", ok).await;
        assert_eq!(rest.unwrap(), b"first");
        assert_eq!(sent, b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x01\xbb");
        let (rest, sent) = exchange(None, "10.0.0.1", ok).await;
        assert_eq!(rest.unwrap(), b"first");
        assert_eq!(sent[3..], *b"\x05\x01\x00\x01\x0a\0\0\x01\x01\xbb");
        let named = b"\x05\x00\x05\x00\x00\x03\x03abc\x12\x34first";
        let (rest, sent) = exchange(None, "::1", named).await;
        assert_eq!(rest.unwrap(), b"first");
        assert_eq!(sent[3..7], [5, 1, 0, 4]);
        assert_eq!(sent.len(), 3 + 4 + 16 + 2);
    }

    #[tokio::test]
    async fn rfc1929_the_bytes_of_a_login() {
        let answers = b"\x05\x02\x01\x00\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x12\x34";
        let (rest, sent) = exchange(login(), "a", answers).await;
        assert_eq!(rest.unwrap(), b"");
        assert_eq!(
            sent,
            b"\x05\x02\x00\x02\x01\x02me\x06secret\x05\x01\x00\x03\x01a\x01\xbb"
        );
    }

    #[tokio::test]
    async fn each_kind_of_failure_has_its_error() {
        for (with, answers) in [
            (None, &b"\x05\xff"[..]),
            (login(), b"\x05\xff"),
            (login(), b"\x05\x02\x01\x01"),
        ] {
            let (refused, _) = exchange(with, "a", answers).await;
            assert!(matches!(refused, Err(ProxyError::Login)), "{answers:?}");
        }
        let (refused, _) = exchange(None, "a", b"\x05\x00\x05\x05").await;
        assert!(matches!(refused, Err(ProxyError::Socks(5))), "{refused:?}");
        let (refused, sent) = exchange(None, &"a".repeat(256), b"").await;
        assert!(matches!(refused, Err(ProxyError::Host)), "{refused:?}");
        assert_eq!(sent, b"");
        for answers in [
            &b""[..],
            b"\x05",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\x04\x00",
            b"\x05\x02",
            b"\x05\x00\x04\x00",
            b"\x05\x00\x05\x00\x00",
            b"\x05\x00\x05\x00\x00\x02",
            b"\x05\x00\x05\x00\x00\x01\x7f\0\0",
            b"\x05\x00\x05\x00\x00\x03\x09abc",
        ] {
            let (refused, _) = exchange(None, "a", answers).await;
            assert!(
                matches!(refused, Err(ProxyError::Protocol(_))),
                "{answers:?}"
            );
        }
    }
}
