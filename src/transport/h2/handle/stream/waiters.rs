//! Who waits for a stream.

use std::task::{Context, Waker};

/// Wakers of those who wait, and only while they do.
///
/// A waker is given away when it is woken, and cloned for the next wait. One
/// that is kept would save two atomic operations, and keep the memory of its
/// task: a socket lives on in another task, or in none, when that is over.
///
/// Woken and dropped while no stream is locked: the last waker of a task may
/// take the task with it, and a socket with the task.
#[derive(Default)]
#[must_use]
pub(super) struct Waiters {
    reader: Option<Waker>,
    /// Most writers never wait.
    writer: Option<Box<Waker>>,
}

impl Waiters {
    /// Returns the waker of who waited before.
    #[must_use = "it is dropped while no stream is locked"]
    pub(super) fn reader_waits(&mut self, cx: &Context<'_>) -> Option<Waker> {
        match &self.reader {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => self.reader.replace(cx.waker().clone()),
        }
    }

    /// Returns the waker of who waited before.
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

    /// The reader is gone.
    pub(super) fn reader_leaves(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// The writer is gone.
    pub(super) fn writer_leaves(&mut self) -> Option<Waker> {
        self.writer.take().map(|waker| *waker)
    }

    /// Moves the reader to `woken`. Returns whether there was one.
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

    /// The reader has let go of the stream itself, and the writer, who may be
    /// somebody else, has to be told.
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
