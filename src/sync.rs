//! The synchronization primitives of code with hand-written waking.
//!
//! **The rule.** Where tasks on several threads agree through a lock, an atomic or an
//! [`AtomicWaker`] on which of them wakes the other, these come from here. They are those of `std`
//! and of `atomic-waker`; only with `--cfg h2ws_loom` the unit tests get loom's, and the `models`
//! beside the code run it in every order of the threads' steps, with every value that a load may
//! return (`.ci/run models`). What is not from here, such as tokio's `Notify` and the locks inside
//! `h2`, is one step of a model.
//!
//! loom treats a `SeqCst` access as `AcqRel`, so an agreement that needs more is made with
//! `fence(SeqCst)`, or by read-modify-write operations on both sides.

#[cfg(not(all(test, h2ws_loom)))]
mod primitives {
    pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

    pub(crate) use atomic_waker::AtomicWaker;
}

#[cfg(all(test, h2ws_loom))]
mod primitives {
    use std::task::Waker;

    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

    /// The real one, each of whose operations loom runs as one step and orders after those before
    /// it, as the atomic operations inside do.
    #[derive(Default)]
    pub(crate) struct AtomicWaker {
        waker: atomic_waker::AtomicWaker,
        steps: atomic::AtomicUsize,
    }

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn register(&self, waker: &Waker) {
            self.step();
            self.waker.register(waker);
        }

        pub(crate) fn wake(&self) {
            self.step();
            self.waker.wake();
        }

        pub(crate) fn take(&self) -> Option<Waker> {
            self.step();
            self.waker.take()
        }

        fn step(&self) {
            self.steps.fetch_add(1, atomic::Ordering::AcqRel);
        }
    }
}

pub(crate) use self::primitives::{AtomicWaker, Mutex, MutexGuard, atomic};

#[cfg(all(test, h2ws_loom))]
pub(crate) mod model;
