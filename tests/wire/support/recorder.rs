//! An observer of a bridge, which keeps what a test wants to know of each event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use h2ws::bridge::{AccessRecord, Bridge, BridgeObserver};

use super::until;

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Handshake,
    WebSocketEnd,
    RequestEnd,
}

/// Returns what a test wants to know of an event, if anything.
type Record<T> = fn(Event, &AccessRecord) -> Option<T>;

pub(crate) struct Recorder<T> {
    record: Record<T>,
    recorded: Mutex<VecDeque<T>>,
}

impl<T: Send + 'static> Recorder<T> {
    /// Observes `bridge` from now on.
    pub(crate) fn of(bridge: &Bridge, record: Record<T>) -> Arc<Self> {
        let recorder = Arc::new(Self {
            record,
            recorded: Mutex::default(),
        });
        bridge.observe(recorder.clone());
        recorder
    }

    /// Waits for the first record that has not been taken, and takes it.
    #[track_caller]
    pub(crate) fn next(&self) -> impl Future<Output = T> {
        let recorded = until(|| !self.recorded.lock().unwrap().is_empty());
        async move {
            recorded.await;
            self.recorded.lock().unwrap().pop_front().unwrap()
        }
    }

    /// Takes all records so far.
    pub(crate) fn take(&self) -> Vec<T> {
        self.recorded.lock().unwrap().drain(..).collect()
    }

    /// Number of records that have not been taken.
    pub(crate) fn len(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    fn add(&self, event: Event, access: &AccessRecord) {
        let record = (self.record)(event, access);
        self.recorded.lock().unwrap().extend(record);
    }
}

impl<T: Send + 'static> BridgeObserver for Recorder<T> {
    fn on_handshake(&self, access: &AccessRecord) {
        self.add(Event::Handshake, access);
    }

    fn on_websocket_end(&self, access: &AccessRecord) {
        self.add(Event::WebSocketEnd, access);
    }

    fn on_request_end(&self, access: &AccessRecord) {
        self.add(Event::RequestEnd, access);
    }
}
