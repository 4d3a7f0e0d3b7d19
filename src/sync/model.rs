//! Runs models under loom.
//!
//! All threads of a model run in turn on the one thread of the test, so code that is not from
//! [`sync`](super) runs as one step, as long as no other thread of the model waits for a lock of
//! `std` that it holds. So only the thread that drives a connection may use `h2` and the I/O below.
//! Time stands still: nothing but a wake-up ends a wait.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::thread::{Builder, JoinHandle};

/// loom's own stacks are too small for `h2`.
const STACK: usize = 1 << 18;

/// Checks a model in all orders of its threads' steps in which the running thread is interrupted at
/// most `preemptions` times, besides when it waits or ends. A thread that waits for ever is a
/// failure.
pub(crate) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    check_first(usize::MAX, preemptions, model);
}

/// As [`check`], but only the first so many orders, for a model that has more of them than anybody
/// waits for.
pub(crate) fn check_first(
    orders: usize,
    preemptions: usize,
    model: impl Fn() + Send + Sync + 'static,
) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = Some(preemptions);
    loom.max_permutations = Some(orders);
    loom.max_branches = 100_000;
    let model = Arc::new(model);
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = orders.clone();
    loom.check(move || {
        let model = model.clone();
        counted.fetch_add(1, Ordering::Relaxed);
        join(spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            // For timers, and for tasks that linger, which do not run.
            let _entered = runtime.enter();
            model();
        }));
    });
    let orders = orders.load(Ordering::Relaxed);
    println!("{orders} orders");
    assert!(
        orders > 10,
        "{orders} orders: nothing happens at the same time"
    );
}

pub(crate) fn spawn<T: Send + 'static>(
    thread: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    Builder::new().stack_size(STACK).spawn(thread).unwrap()
}

pub(crate) fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap()
}

/// Runs a task.
pub(crate) fn block_on<F: Future>(task: F) -> F::Output {
    struct Woken(Notify);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(woken.clone());
    let mut task = pin!(task);
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => woken.0.wait(),
        }
    }
}
