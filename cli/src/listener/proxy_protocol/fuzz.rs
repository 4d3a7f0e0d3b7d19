//! Any bytes at the beginning of a connection: they are read as the same in all pieces, the address
//! is the one that the specification has at its place, and the bytes after the header stay.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, ReadBuf};

use super::{MAX_HEADER_SIZE, MAX_LINE, SIGNATURE, header};

/// The first byte is the size of the pieces.
pub(crate) fn run(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = read(bytes, bytes.len());
    let pieces = read(bytes, usize::from(piece).max(1));
    assert_eq!(whole, pieces, "in pieces of {piece}");
    let Ok((peer, rest)) = whole else {
        return;
    };
    let (length, expected) = match bytes.strip_prefix(SIGNATURE) {
        Some(after) => (
            16 + usize::from(after[2]) * 256 + usize::from(after[3]),
            v2(after),
        ),
        None => {
            let end = bytes.windows(2).position(|two| two == b"\r\n");
            let end = end.expect("a line");
            assert!(end + 2 <= MAX_LINE);
            (end + 2, v1(&bytes[..end]))
        }
    };
    assert!(length <= 16 + MAX_HEADER_SIZE);
    assert_eq!(rest, &bytes[length..], "what follows the header");
    assert_eq!(peer, expected);
}

/// Returns the address, and what follows the header.
fn read(bytes: &[u8], piece: usize) -> Result<(Option<SocketAddr>, &[u8]), String> {
    let mut pieces = Pieces(bytes, piece);
    let read = header(&mut pieces).now_or_never();
    let peer = read.expect("it waits for nothing")?;
    Ok((peer, pieces.0))
}

/// The address of a valid header of version 1, by §2.1 of the specification.
fn v1(line: &[u8]) -> Option<SocketAddr> {
    // Whatever follows is to be ignored.
    if line.starts_with(b"PROXY UNKNOWN") {
        return None;
    }
    let line = str::from_utf8(line).expect("an address is ASCII");
    let words: Vec<_> = line.split(' ').collect();
    let ["PROXY", "TCP4" | "TCP6", source, _, port, _] = words[..] else {
        panic!("{line:?}");
    };
    let ip: IpAddr = source.parse().expect("an address");
    assert_eq!(ip.is_ipv4(), words[1] == "TCP4", "{line:?}");
    Some(SocketAddr::new(ip, port.parse().expect("a port")))
}

/// The address of a valid header of version 2, by §2.2 of the specification; `after` the signature.
fn v2(after: &[u8]) -> Option<SocketAddr> {
    let is_local = after[0] == 0x20;
    assert!(is_local || after[0] == 0x21, "version and command");
    let addresses = &after[4..];
    let (ip, ports) = match after[1] >> 4 {
        1 => (IpAddr::from(*addresses.first_chunk::<4>()?), 8),
        2 => (IpAddr::from(*addresses.first_chunk::<16>()?), 32),
        _ => return None,
    };
    let port = u16::from_be_bytes([addresses[ports], addresses[ports + 1]]);
    (!is_local).then_some(SocketAddr::new(ip, port))
}

/// Bytes, and how many of them a read returns at most.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.1.min(into.remaining()).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        into.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}
