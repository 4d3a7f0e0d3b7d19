//! The I/O object of a stream, shared by two tasks of the application and a handle. Its wake-ups reach
//! both tasks, and the handle can close it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Poll, Wake};

use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{AtomicWaker, Mutex, MutexGuard};
use crate::transport::BoxIo;

/// State shared between the application's stream and its [`IoHandle`].
///
/// An I/O object keeps one waker per direction, but here either of two tasks
/// may drive either direction, because a reader replies to pings. So it is
/// given a waker that wakes both.
pub(super) struct Shared {
    /// The I/O object has called the waker since it was last read.
    pub(super) woken: AtomicBool,
    pub(super) read: AtomicWaker,
    pub(super) write: AtomicWaker,
    command: AtomicU8,
    /// `None` once it is [stopped](IoHandle::stop): otherwise an application
    /// that never touches its stream would keep the connection open forever.
    io: Mutex<Option<BoxIo>>,
}

/// Values of `Shared::command`: what the [`IoHandle`] asks of the stream.
const GO_ON: u8 = 0;
const CLOSE: u8 = 1;
const STOP: u8 = 2;

/// A handle to a stream that the application owns.
pub(crate) struct IoHandle(Weak<Shared>);

impl IoHandle {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    /// Asks the WebSocket to close.
    pub(crate) fn drain(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.command(CLOSE);
        }
    }

    /// Ends the stream and closes its I/O object, even if no task polls it.
    /// Returns whether the stream still existed.
    pub(crate) fn stop(&self) -> bool {
        let Some(shared) = self.0.upgrade() else {
            return false;
        };
        shared.close();
        shared.command(STOP);
        true
    }
}

impl Shared {
    pub(super) fn new(io: BoxIo) -> Self {
        Self {
            woken: AtomicBool::new(false),
            read: AtomicWaker::new(),
            write: AtomicWaker::new(),
            command: AtomicU8::new(GO_ON),
            io: Mutex::new(Some(io)),
        }
    }

    /// Whether the stream was asked to close, or was stopped.
    pub(super) fn is_asked_to_close(&self) -> bool {
        self.command.load(Ordering::SeqCst) != GO_ON
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.command.load(Ordering::SeqCst) == STOP
    }

    /// Closes the I/O object.
    pub(super) fn close(&self) {
        drop(self.io().take());
    }

    /// Locks the I/O object. The application's tasks hold the lock for one
    /// poll, and [`IoHandle::stop`] takes it once.
    fn io(&self) -> MutexGuard<'_, Option<BoxIo>> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_io<T>(
        &self,
        poll: impl FnOnce(Pin<&mut BoxIo>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.io() {
            Some(io) => poll(Pin::new(io)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn command(self: &Arc<Self>, command: u8) {
        self.command.store(command, Ordering::SeqCst);
        self.wake_by_ref();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Not a store: both sides read, modify and write.
        self.woken.swap(true, Ordering::SeqCst);
        self.read.wake();
        self.write.wake();
    }
}
