//! An alternative design, in which only the connection's task calls h2.
//!
//! Socket tasks use only their own small buffers. When h2 has received data for a socket, or a
//! socket has data to send, the socket is put on a ready list. The driver drains the list, moves
//! data between the buffers and h2, and lets h2 write once.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use crate::Error;
use crate::driver::{Connection, Yielding};
use crate::gather::Outlet;
use crate::stream::pack;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;

/// The events that wait for the driver.
#[derive(Debug, Default)]
struct Hub {
    state: Mutex<HubState>,
}

#[derive(Debug, Default)]
struct HubState {
    ready: Vec<usize>,
    new: Vec<Attached>,
    /// Whether the connection itself has to be polled.
    connection: bool,
    /// The driver's waker. The first event takes it, so that later events do not wake the driver
    /// again.
    driver: Option<Waker>,
}

impl Hub {
    fn notify(&self, update: impl FnOnce(&mut HubState)) {
        let mut state = self.state.lock().expect("no panic under the lock");
        update(&mut state);
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// h2's waker for the connection. A driver that is running is not woken by its own sends.
impl Wake for Hub {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify(|state| state.connection = true);
    }
}

/// The buffers that a socket's task and the driver share.
#[derive(Debug)]
struct Socket {
    hub: Arc<Hub>,
    id: usize,
    /// Why the socket is on the ready list (`READABLE`, `WRITABLE` or both), or 0 if it is not.
    why: AtomicU8,
    buffers: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    received: Vec<Bytes>,
    sending: Vec<Bytes>,
    reader: Option<Waker>,
    ended: bool,
}

impl Socket {
    fn ready(&self, why: u8) {
        if self.why.fetch_or(why, Ordering::AcqRel) == 0 {
            self.hub.notify(|state| state.ready.push(self.id));
        }
    }
}

/// h2's waker for received data.
impl Wake for Socket {
    fn wake(self: Arc<Self>) {
        self.ready(READABLE);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready(READABLE);
    }
}

/// The handle of a stream in the socket's task.
#[derive(Debug)]
pub struct Handle(Arc<Socket>);

impl Handle {
    /// Waits for data and appends all of it. Returns false at the end of the stream.
    pub async fn receive(&mut self, into: &mut Vec<Bytes>) -> bool {
        poll_fn(|cx| {
            let mut buffers = self.0.buffers.lock().expect("no panic under the lock");
            if !buffers.received.is_empty() {
                into.append(&mut buffers.received);
                return Poll::Ready(true);
            }
            if buffers.ended {
                return Poll::Ready(false);
            }
            buffers.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Queues data for the driver.
    pub fn send(&mut self, data: Bytes) {
        self.0
            .buffers
            .lock()
            .expect("no panic under the lock")
            .sending
            .push(data);
        self.0.ready(WRITABLE);
    }
}

/// A stream that its driver has not yet received.
#[derive(Debug)]
struct Attached {
    send: SendStream<Bytes>,
    receive: RecvStream,
    give: tokio::sync::oneshot::Sender<Handle>,
}

/// Passes streams to their driver.
#[derive(Debug, Clone)]
pub struct Attach(Arc<Hub>);

impl Attach {
    /// Passes the stream to the driver, and returns a handle.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub async fn attach(
        &self,
        send: SendStream<Bytes>,
        receive: RecvStream,
    ) -> Result<Handle, Error> {
        let (give, take) = tokio::sync::oneshot::channel();
        let stream = Attached {
            send,
            receive,
            give,
        };
        self.0.notify(|state| state.new.push(stream));
        Ok(take.await?)
    }
}

struct Slot {
    send: SendStream<Bytes>,
    receive: RecvStream,
    socket: Arc<Socket>,
    waker: Waker,
}

/// Drives a connection and all of its streams.
pub struct OwningDriver<C> {
    connection: C,
    outlet: Outlet,
    yielding: Yielding,
    hub: Arc<Hub>,
    hub_waker: Waker,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    ready: Vec<usize>,
    chunks: Vec<Bytes>,
}

/// Creates the driver. `connection` receives the [`Attach`] that passes streams to it.
pub fn owning<C: Connection>(
    outlet: Outlet,
    yields: bool,
    connection: impl FnOnce(Attach) -> C,
) -> (OwningDriver<C>, Attach) {
    let hub = Arc::new(Hub::default());
    let attach = Attach(Arc::clone(&hub));
    let driver = OwningDriver {
        connection: connection(attach.clone()),
        outlet,
        yielding: Yielding::new(yields),
        hub_waker: Waker::from(Arc::clone(&hub)),
        hub,
        slots: Vec::new(),
        free: Vec::new(),
        ready: Vec::new(),
        chunks: Vec::new(),
    };
    (driver, attach)
}

impl<C: Connection> OwningDriver<C> {
    fn adopt(&mut self, stream: Attached) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let socket = Arc::new(Socket {
            hub: Arc::clone(&self.hub),
            id,
            why: AtomicU8::new(READABLE),
            buffers: Mutex::default(),
        });
        let Attached {
            send,
            receive,
            give,
        } = stream;
        let waker = Waker::from(Arc::clone(&socket));
        self.slots[id] = Some(Slot {
            send,
            receive,
            socket: Arc::clone(&socket),
            waker,
        });
        self.ready.push(id);
        let _ = give.send(Handle(socket));
    }

    /// Serves the sockets on the ready list, and returns whether any data was passed to h2.
    fn serve_ready(&mut self) -> bool {
        let new = {
            let mut state = self.hub.state.lock().expect("no panic under the lock");
            mem::swap(&mut state.ready, &mut self.ready);
            mem::take(&mut state.new)
        };
        for stream in new {
            self.adopt(stream);
        }
        let mut ready = mem::take(&mut self.ready);
        let mut sent = false;
        for id in ready.drain(..) {
            match self.serve(id) {
                Some(wrote) => sent |= wrote,
                None => {
                    self.slots[id] = None;
                    self.free.push(id);
                }
            }
        }
        self.ready = ready;
        sent
    }

    /// Delivers received data and sends queued data. Returns `None` when the stream has ended.
    fn serve(&mut self, id: usize) -> Option<bool> {
        let slot = self.slots.get_mut(id)?.as_mut()?;
        let why = slot.socket.why.swap(0, Ordering::AcqRel);
        let mut ended = false;
        if why & READABLE != 0 {
            let mut cx = Context::from_waker(&slot.waker);
            let mut length = 0;
            while let Poll::Ready(next) = slot.receive.poll_data(&mut cx) {
                let Some(Ok(data)) = next else {
                    ended = true;
                    break;
                };
                length += data.len();
                self.chunks.push(data);
            }
            let _ = slot.receive.flow_control().release_capacity(length);
        }
        let mut buffers = slot.socket.buffers.lock().expect("no panic under the lock");
        buffers.ended |= ended;
        let is_readable = ended || !self.chunks.is_empty();
        buffers.received.append(&mut self.chunks);
        let reader = if is_readable {
            buffers.reader.take()
        } else {
            None
        };
        let out = if buffers.sending.is_empty() {
            None
        } else {
            Some(pack(&mut buffers.sending))
        };
        drop(buffers);
        if let Some(reader) = reader {
            reader.wake();
        }
        if ended {
            return None;
        }
        Some(out.is_some_and(|out| slot.send.send_data(out, false).is_ok()))
    }
}

impl<C: Connection> Future for OwningDriver<C> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.yielding.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let this = &mut *self;
        this.serve_ready();
        // A second round also sends the replies of the first; more rounds could starve the sockets.
        for _ in 0..2 {
            this.hub
                .state
                .lock()
                .expect("no panic under the lock")
                .connection = false;
            let mut hub_cx = Context::from_waker(&this.hub_waker);
            let polled = this.connection.poll_connection(&mut hub_cx);
            if polled.is_ready() {
                return polled.map_err(Error::from);
            }
            if !this.serve_ready() {
                break;
            }
        }
        let _ = this.outlet.poll_flush(cx)?;
        let mut state = this.hub.state.lock().expect("no panic under the lock");
        if state.connection || !state.ready.is_empty() || !state.new.is_empty() {
            cx.waker().wake_by_ref();
        } else {
            state.driver = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
