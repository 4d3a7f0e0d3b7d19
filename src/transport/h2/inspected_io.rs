//! Observes an HTTP/2 connection that is driven by other code, as a client:
//! records the server's settings and whether it sends anything.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::frame_counter::FrameCounter;
use super::header_list::{Announce, PRUDENT, TooLarge};
use crate::transport::prefix::PREFACE;
use crate::transport::{BoxIo, StreamError};

/// The I/O object that the other code uses.
pub(crate) struct InspectedIo {
    io: BoxIo,
    received: FrameCounter,
    bytes: Arc<AtomicU64>,
    known: watch::Sender<Known>,
    announce: Option<Announce>,
    /// The part of the preface and SETTINGS that is not written yet.
    out: BytesMut,
}

/// A view of what was observed of the server.
#[derive(Clone)]
pub(crate) struct Server {
    bytes: Arc<AtomicU64>,
    known: watch::Receiver<Known>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    settings: u64,
    header_list: Option<u32>,
    max_streams: Option<u32>,
}

impl InspectedIo {
    /// Announces `header_list` as the limit of header lists. The other code has
    /// to be configured with [`TAKEN`](super::header_list::TAKEN), which it
    /// would announce otherwise.
    pub(crate) fn new(io: BoxIo, header_list: u32) -> (Self, Server) {
        let (known, knows) = watch::channel(Known::default());
        let bytes = Arc::new(AtomicU64::new(0));
        let server = Server {
            bytes: bytes.clone(),
            known: knows,
        };
        let inspected = Self {
            io,
            received: FrameCounter::new(0),
            bytes,
            known,
            announce: Some(Announce::new(PREFACE.len(), header_list)),
            out: BytesMut::new(),
        };
        (inspected, server)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Server {
    /// Waits for SETTINGS (RFC 9113 §3.4).
    pub(crate) async fn settings(&self) -> Result<(), StreamError> {
        let mut known = self.known.clone();
        let known = known.wait_for(|known| known.settings > 0).await;
        known.map(|_| ()).map_err(|_| StreamError::Closed)
    }

    /// Returns an error if a header list is larger than the server accepts.
    pub(crate) fn check_header_list(&self, size: usize) -> Result<(), StreamError> {
        let limit = self.known.borrow().header_list.unwrap_or(PRUDENT);
        TooLarge::check(size, limit).map_err(StreamError::RequestTooLarge)
    }

    /// Returns how many streams the server allows at a time, as announced last;
    /// unlimited unless announced (RFC 9113 §6.5.2).
    pub(crate) fn max_concurrent_streams(&self) -> usize {
        let announced = self.known.borrow().max_streams;
        announced.map_or(usize::MAX, |streams| streams as usize)
    }

    /// Returns the number of bytes received from the server.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether the connection has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.known.has_changed().is_err()
    }
}

impl AsyncRead for InspectedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.received.scan(&buf.filled()[before..]);
        let counts = this.received.counts();
        this.bytes.store(counts.bytes, Ordering::Relaxed);
        let now = Known {
            settings: counts.settings,
            header_list: counts.header_list,
            max_streams: counts.max_streams,
        };
        this.known.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for InspectedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.as_mut()
            .poll_write_vectored(cx, std::slice::from_ref(&IoSlice::new(buf)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(announce) = &mut this.announce {
            let buf = bufs.iter().find(|buf| !buf.is_empty());
            let buf = buf.map_or(&[][..], |buf| buf);
            if let Some(changed) = announce.write(buf) {
                this.announce = None;
                this.out = changed;
            }
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
