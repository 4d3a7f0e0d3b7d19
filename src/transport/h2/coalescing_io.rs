//! The byte stream below an HTTP/2 connection: gathers small writes, limits how
//! much is read per turn, and counts frames.
//!
//! `h2` makes a system call for each DATA frame of a kilobyte or more, and
//! flushes after every turn. This type collects what `h2` writes and leaves the
//! system call to the driver, which makes it once all tasks that are ready have
//! queued their data (ARCHITECTURE.md, "How a message flows").

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::frame_counter::{FrameCounter, FrameCounts};
use super::header_list::Announce;
use super::read_quota::{self, ReadQuota};
use crate::transport::BoxIo;

/// Bytes that are gathered before they are written without a flush. Gathering
/// more would delay a peer that could already be reading.
const GATHER: usize = 16 * 1024;

/// A write of at least this many bytes is passed to the kernel together with
/// what was gathered, without a copy.
const DIRECT: usize = 16 * 1024;

struct State {
    /// Limited to what may still be read in this turn.
    io: Take<BoxIo>,
    out: BytesMut,
    received: FrameCounter,
    sent: FrameCounter,
    /// Whether the last write found the kernel's buffer full.
    blocked: bool,
    /// Modifies the first SETTINGS frame sent.
    announce: Option<Announce>,
    /// Whether flushes are left to the driver. Not before the driver runs, so
    /// that a server's SETTINGS leave with its TLS flight.
    gathers: bool,
}

/// A handle to the I/O object. `h2` owns one and the driver another; both run
/// in one task, so the lock is never contended.
#[derive(Clone)]
pub(super) struct CoalescingIo(Arc<Mutex<State>>);

impl CoalescingIo {
    /// `received_preface` and `sent_preface` are the numbers of bytes before
    /// the first frame in each direction (24 from the client, RFC 9113 §3.4).
    pub(super) fn new(io: BoxIo, received_preface: usize, sent_preface: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            io: io.take(read_quota::MOST as u64),
            out: BytesMut::new(),
            received: FrameCounter::new(received_preface),
            sent: FrameCounter::new(sent_preface),
            blocked: false,
            announce: None,
            gathers: false,
        })))
    }

    /// Announces this limit of header lists instead of the one that `h2`
    /// enforces, in the SETTINGS frame after a `preface` of so many bytes. To
    /// be called before anything is written.
    pub(super) fn announce(&self, preface: usize, header_list: u32) {
        self.lock().announce = Some(Announce::new(preface, header_list));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the peer has sent an HTTP/1.x response instead of frames.
    pub(super) fn received_http1(&self) -> bool {
        self.lock().received.is_http1()
    }

    /// Makes [`poll_flush_now`](Self::poll_flush_now) the only way to flush.
    pub(super) fn gather(&self) {
        self.lock().gathers = true;
    }

    /// Takes the I/O object out, while the counts stay accessible. Gathered
    /// bytes are discarded.
    pub(super) fn hang_up(&self) -> BoxIo {
        let mut state = self.lock();
        state.out = BytesMut::new();
        std::mem::replace(state.io.get_mut(), Box::new(tokio::io::empty()))
    }

    /// Begins a turn with a new limit of bytes to read.
    pub(super) fn begin_turn(&self, quota: &mut ReadQuota) {
        let mut state = self.lock();
        let bytes = quota.bytes(&state.received.counts());
        state.io.set_limit(bytes);
    }

    /// Returns whether this turn's limit was reached, so that there may be more
    /// to read.
    pub(super) fn turn_is_used_up(&self) -> bool {
        self.lock().io.limit() == 0
    }

    /// Returns whether the peer does not currently accept what is written.
    pub(super) fn is_blocked(&self) -> bool {
        self.lock().blocked
    }

    /// Returns the counts of frames received and sent so far.
    pub(super) fn counts(&self) -> (FrameCounts, FrameCounts) {
        let state = self.lock();
        (state.received.counts(), state.sent.counts())
    }

    /// Sends GOAWAY with this error code, as far as the I/O object accepts it
    /// now. For clients, for which `h2` has no such function. Nothing may be
    /// written after it.
    pub(super) fn go_away(&self, reason: h2::Reason, cx: &mut Context<'_>) {
        {
            let mut state = self.lock();
            if !state.sent.is_between_frames() {
                return;
            }
            // The last stream identifier is 0: the peer has opened none.
            let mut frame = [0; 17];
            (frame[2], frame[3]) = (8, 7);
            frame[13..].copy_from_slice(&u32::from(reason).to_be_bytes());
            state.out.extend_from_slice(&frame);
            state.sent.scan(&frame);
        }
        let _ = self.poll_flush_now(cx);
    }

    /// Writes what was gathered and flushes.
    pub(super) fn poll_flush_now(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let state = &mut *state;
        ready!(state.poll_write_out(cx))?;
        Pin::new(state.io.get_mut()).poll_flush(cx)
    }
}

impl State {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let Poll::Ready(written) = Pin::new(self.io.get_mut()).poll_write(cx, &self.out) else {
                self.blocked = true;
                return Poll::Pending;
            };
            match written? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        self.blocked = false;
        Poll::Ready(Ok(()))
    }

    /// Writes what was gathered and as much of `buf` as possible with it,
    /// without a copy.
    fn poll_write_direct(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.io.get_ref().is_write_vectored() {
            ready!(self.poll_write_out(cx))?;
        }
        loop {
            let slices = [IoSlice::new(&self.out), IoSlice::new(buf)];
            let slices = if self.out.is_empty() {
                &slices[1..]
            } else {
                &slices[..]
            };
            let Poll::Ready(written) = Pin::new(self.io.get_mut()).poll_write_vectored(cx, slices)
            else {
                self.blocked = true;
                return Poll::Pending;
            };
            let written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let gathered = written.min(self.out.len());
            self.out.advance(gathered);
            if written > gathered {
                self.blocked = false;
                return Poll::Ready(Ok(written - gathered));
            }
        }
    }
}

impl AsyncRead for CoalescingIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.io.limit() == 0 {
            // The driver sees that the limit was reached and schedules itself.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut state.io).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        state.received.scan(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CoalescingIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(announce) = &mut state.announce {
            if let Some(changed) = announce.write(buf) {
                state.announce = None;
                state.out.extend_from_slice(&changed);
                state.sent.scan(&changed);
            }
            return Poll::Ready(Ok(buf.len()));
        }
        let written = if buf.len() >= DIRECT {
            ready!(state.poll_write_direct(cx, buf))?
        } else {
            if !state.out.is_empty() && state.out.len() + buf.len() > GATHER {
                ready!(state.poll_write_out(cx))?;
            }
            state.out.extend_from_slice(buf);
            buf.len()
        };
        state.sent.scan(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    /// Not vectored, so that `h2` also copies DATA of up to a kilobyte into its
    /// own buffer instead of passing each piece separately.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lock().gathers {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush_now(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush_now(cx))?;
        Pin::new(self.lock().io.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn small_writes_wait_for_a_flush_and_large_ones_do_not() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut wire = CoalescingIo::new(Box::new(near), 0, 0);
        wire.gather();
        wire.write_all(b"one").await.unwrap();
        wire.write_all(b"two").await.unwrap();
        wire.flush().await.unwrap();
        assert!(!wire.lock().out.is_empty());
        let mut buf = vec![0; 6];
        let mut read = Box::pin(far.read_exact(&mut buf));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut cx).is_pending());
        drop(read);
        std::future::poll_fn(|cx| wire.poll_flush_now(cx))
            .await
            .unwrap();
        far.read_exact(&mut buf).await.unwrap();
        assert_eq!(buf, b"onetwo");

        wire.write_all(b"head").await.unwrap();
        wire.write_all(&vec![7; DIRECT]).await.unwrap();
        assert!(wire.lock().out.is_empty());
        let mut buf = vec![0; 4 + DIRECT];
        far.read_exact(&mut buf).await.unwrap();
        assert!(buf.starts_with(b"head\x07") && buf.ends_with(&[7]));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_blocks_writing_and_loses_nothing() {
        let (near, mut far) = tokio::io::duplex(1000);
        let wire = CoalescingIo::new(Box::new(near), 0, 0);
        let mut writer = wire.clone();
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let write = tokio::spawn(async move {
            for piece in sent.chunks(30_000) {
                writer.write_all(piece).await.unwrap();
            }
            std::future::poll_fn(|cx| writer.poll_flush_now(cx))
                .await
                .unwrap();
        });
        tokio::task::yield_now().await;
        assert!(wire.is_blocked());
        let mut got = vec![0; expected.len()];
        far.read_exact(&mut got).await.unwrap();
        write.await.unwrap();
        assert_eq!(got, expected);
        assert!(!wire.is_blocked());
    }

    #[tokio::test]
    async fn a_turn_of_reading_is_bounded() {
        let (near, mut far) = tokio::io::duplex(4 * read_quota::MOST);
        let mut wire = CoalescingIo::new(Box::new(near), 0, 0);
        far.write_all(&vec![0; 2 * read_quota::MOST]).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = vec![0; 20_000];
        for turn in 1..=2 {
            let mut read = 0;
            while !wire.turn_is_used_up() {
                let mut buf = ReadBuf::new(&mut space);
                let polled = Pin::new(&mut wire).poll_read(&mut cx, &mut buf);
                assert!(matches!(polled, Poll::Ready(Ok(()))));
                assert!(!buf.filled().is_empty(), "no end of the stream");
                read += buf.filled().len();
            }
            assert_eq!(read, read_quota::MOST, "turn {turn}");
            let mut buf = ReadBuf::new(&mut space);
            let polled = Pin::new(&mut wire).poll_read(&mut cx, &mut buf);
            assert!(polled.is_pending(), "the turn is used up");
            wire.begin_turn(&mut ReadQuota::new());
        }
    }
}
