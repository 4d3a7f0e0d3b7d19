//! Reads in sizes that follow the load.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Size of the first reads, in bytes. They go through the stack: most find a short message or nothing,
/// and a chunk stays allocated for as long as a message refers to it.
const SHORT: usize = 4 * 1024;

/// Reads twice as much after a read that found as much as it asked for, and less after one that found
/// less. Between reads it holds no memory.
#[derive(Debug)]
pub(crate) struct GrowingRead {
    size: u32,
    most: u32,
}

impl GrowingRead {
    /// Reads at most `most` bytes at a time, or [`SHORT`] if that is more.
    pub(crate) const fn new(most: u32) -> Self {
        Self {
            size: SHORT as u32,
            most,
        }
    }

    /// Reads what there is; empty at the end.
    pub(crate) fn poll(
        &mut self,
        io: Pin<&mut (impl AsyncRead + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let size = self.size as usize;
        let chunk = if size == SHORT {
            ready!(poll_short(io, cx))?
        } else {
            ready!(poll_long(io, cx, size))?
        };
        if !chunk.is_empty() {
            self.found(chunk.len());
        }
        Poll::Ready(Ok(chunk))
    }

    fn found(&mut self, len: usize) {
        let size = self.size as usize;
        let next = if len == size {
            2 * size
        } else {
            (size / 2).max(len.next_power_of_two())
        };
        self.size = next.min(self.most as usize).max(SHORT) as u32;
    }
}

fn poll_short(
    io: Pin<&mut (impl AsyncRead + ?Sized)>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut space = [MaybeUninit::uninit(); SHORT];
    let mut buffer = ReadBuf::uninit(&mut space);
    ready!(io.poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
}

fn poll_long(
    mut io: Pin<&mut (impl AsyncRead + ?Sized)>,
    cx: &mut Context<'_>,
    size: usize,
) -> Poll<io::Result<Bytes>> {
    let mut buffer = BytesMut::with_capacity(size);
    ready!(pin!(io.read_buf(&mut buffer)).poll(cx))?;
    Poll::Ready(Ok(buffer.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_what_is_found() {
        let mut read = GrowingRead::new(20_000);
        let mut sizes = Vec::new();
        for found in [4096, 8192, 16_384, 20_000, 9_000, 100, 100, 100] {
            read.found(found);
            sizes.push(read.size);
        }
        let expected = [8192, 16_384, 20_000, 20_000, 16_384, 8192, 4096, 4096];
        assert_eq!(sizes, expected);
    }

    #[tokio::test]
    async fn nothing_is_lost_between_reads_of_different_sizes() {
        let sent: Vec<u8> = (0..100_000u32).map(|n| (n / 7) as u8).collect();
        let mut source = &sent[..];
        let mut read = GrowingRead::new(30_000);
        let (mut got, mut reads) = (Vec::new(), 0);
        loop {
            let chunk = std::future::poll_fn(|cx| read.poll(Pin::new(&mut source), cx)).await;
            let chunk = chunk.unwrap();
            if chunk.is_empty() {
                break;
            }
            got.extend_from_slice(&chunk);
            reads += 1;
        }
        assert!(got == sent);
        assert_eq!(reads, 6, "4, 8, 16, 30, 30 and 12 KB");
    }
}
