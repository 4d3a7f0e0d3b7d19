//! The wakers of the tasks that wait for a stream.

use std::task::{Context, Waker};

/// The wakers of a waiting reader and writer.
///
/// A waker is moved out when it is woken, and cloned again for the next wait.
/// Keeping it would save two atomic operations, but would keep the memory of
/// its task alive: a WebSocket may live on in another task, or in none, after
/// that task has ended.
///
/// Wakers are woken and dropped while no stream is locked: the last waker of a
/// task may drop the task, and a WebSocket with it.
#[derive(Default)]
#[must_use]
pub(super) struct Waiters {
    reader: Option<Waker>,
    /// Most writers never wait.
    writer: Option<Box<Waker>>,
}

impl Waiters {
    /// Registers the reader. Returns the waker that was registered before.
    #[must_use = "it is dropped while no stream is locked"]
    pub(super) fn reader_waits(&mut self, cx: &Context<'_>) -> Option<Waker> {
        match &self.reader {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => self.reader.replace(cx.waker().clone()),
        }
    }

    /// Registers the writer. Returns the waker that was registered before.
    #[must_use = "it is dropped while no stream is locked"]
    pub(super) fn writer_waits(&mut self, cx: &Context<'_>) -> Option<Waker> {
        match &mut self.writer {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            Some(waker) => Some(std::mem::replace(waker, cx.waker().clone())),
            None => {
                self.writer = Some(Box::new(cx.waker().clone()));
                None
            }
        }
    }

    /// Removes the reader.
    pub(super) fn reader_leaves(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Removes the writer.
    pub(super) fn writer_leaves(&mut self) -> Option<Waker> {
        self.writer.take().map(|waker| *waker)
    }

    /// Moves the reader to `woken`. Returns whether one was waiting.
    pub(super) fn take_reader(&mut self, woken: &mut Self) -> bool {
        let reader = self.reader.take();
        let waited = reader.is_some();
        woken.reader = reader.or(woken.reader.take());
        waited
    }

    pub(super) fn take_writer(&mut self, woken: &mut Self) {
        woken.writer = self.writer.take().or(woken.writer.take());
    }

    pub(super) fn take_both(&mut self, woken: &mut Self) {
        self.take_reader(woken);
        self.take_writer(woken);
    }

    /// Wakes the writer only: the reader itself released the stream, and the
    /// writer may be another task, which has to notice.
    pub(super) fn wake_writer(mut self) {
        self.reader = None;
        self.wake();
    }

    pub(super) fn wake(self) {
        if let Some(reader) = self.reader {
            reader.wake();
        }
        if let Some(writer) = self.writer {
            writer.wake();
        }
    }
}
