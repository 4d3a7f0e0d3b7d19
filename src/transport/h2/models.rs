//! Models of the waking between applications and the driver of their connection: the real driver,
//! handle, and streams, on the real `h2`, which one thread runs together with the peer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{PingPong, RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::coalescing_io::CoalescingIo;
use super::driver::{self, Driver};
use super::handle::Side;
use super::keep_alive::Liveness;
use super::{ConnectionHandle, H2Client, H2Stream, Http2Config, MAX_STREAMS, OpenError, Opened};
use crate::frame::Role;
use crate::metrics::Observed;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::model::{block_on, check, join, spawn};
use crate::transport::{Finish, Linger, StreamError};

const LIMIT: Duration = Duration::from_secs(10);

fn observed(role: Role) -> Observed {
    let span = tracing::Span::none();
    Observed::new(1, role, http::Version::HTTP_2, Default::default(), span)
}

/// A connection on which nothing happens, until it is told to end.
struct Quiet(Vec<Arc<AtomicBool>>);

impl driver::Connection for Quiet {
    fn poll_connection(&mut self, _: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.0.retain(|end| !end.load(Ordering::Relaxed));
        match self.0.is_empty() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn ping_pong(&mut self) -> Option<PingPong> {
        None
    }

    fn is_used(&self) -> bool {
        true
    }

    fn retire(&mut self) -> bool {
        false
    }

    fn max_streams(&self) -> u64 {
        1
    }
}

/// A driver, on a thread of its own, of a connection that ends once all of `end` are set.
fn quiet(end: Vec<Arc<AtomicBool>>) -> (Arc<ConnectionHandle>, loom::thread::JoinHandle<()>) {
    let config = Http2Config::default();
    let wire = CoalescingIo::new(Box::new(tokio::io::empty()), 0, 0);
    let observed = observed(Role::Server);
    let handle = ConnectionHandle::new(observed, Side::Server, wire.clone(), &config);
    let handle = Arc::new(handle);
    let liveness = Liveness::new(&config, None, Instant::now());
    let driver = Driver::new(Quiet(end), handle.clone(), wire, liveness, LIMIT);
    let driving = spawn(move || assert!(block_on(driver).is_ok()));
    (handle, driving)
}

fn end() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

/// Two tasks, on two threads, that want something from the driver.
#[test]
fn a_requested_turn_sees_what_was_written_before() {
    check(3, || {
        let (one, other) = (end(), end());
        let (handle, driving) = quiet(vec![one.clone(), other.clone()]);
        let asking = spawn({
            let handle = handle.clone();
            move || {
                one.store(true, Ordering::Relaxed);
                handle.request_turn();
            }
        });
        other.store(true, Ordering::Relaxed);
        handle.request_turn();
        join(asking);
        join(driving);
    });
}

#[test]
fn a_flush_ends_with_the_next_turns() {
    check(3, || {
        let over = end();
        let (handle, driving) = quiet(vec![over.clone()]);
        block_on(handle.flushed());
        over.store(true, Ordering::Relaxed);
        handle.request_turn();
        join(driving);
    });
}

#[test]
fn the_end_of_a_connection_ends_what_waits_for_it() {
    check(2, || {
        let over = end();
        let (handle, driving) = quiet(vec![over.clone()]);
        let flushing = spawn({
            let handle = handle.clone();
            move || block_on(handle.flushed())
        });
        over.store(true, Ordering::Relaxed);
        handle.request_turn();
        block_on(handle.ended());
        join(flushing);
        join(driving);
    });
}

/// What the thread of a client's connection runs: our driver, and the peer, which is `h2` alone.
pub(crate) struct Moving {
    pub(crate) client: H2Client,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    peer: h2::server::Connection<DuplexStream, Bytes>,
    pub(crate) to_us: SendStream<Bytes>,
    pub(crate) from_us: RecvStream,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened, OpenError>> + Send>>;

/// A connection with one request, which the peer is about to accept.
fn opening(config: &Http2Config) -> (Opening, Moving) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    let observed = observed(Role::Client);
    let handshake = H2Client::handshake(Box::new(near), config, LIMIT, None, MAX_STREAMS, observed);
    let Poll::Ready(Ok((client, driver))) = Box::pin(handshake).as_mut().poll(&mut cx) else {
        panic!("a client does not wait for the server");
    };
    let mut driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(driver);
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let mut peer = Box::pin(builder.handshake::<_, Bytes>(far));
    let mut peer = loop {
        assert!(driver.as_mut().poll(&mut cx).is_pending());
        if let Poll::Ready(peer) = peer.as_mut().poll(&mut cx) {
            break peer.unwrap();
        }
    };
    let ours = client.clone();
    let mut opening: Opening = Box::pin(async move {
        ours.settings().await.unwrap();
        let slot = ours.claim().unwrap();
        let request = Request::builder().method(Method::CONNECT).uri("https://h/");
        ours.open(request.body(()).unwrap(), slot, Bytes::new())
            .await
    });
    loop {
        assert!(opening.as_mut().poll(&mut cx).is_pending());
        assert!(driver.as_mut().poll(&mut cx).is_pending());
        if let Poll::Ready(Some(request)) = peer.poll_accept(&mut cx) {
            let (request, mut respond) = request.unwrap();
            let moving = Moving {
                client,
                driver,
                peer,
                to_us: respond.send_response(Response::new(()), false).unwrap(),
                from_us: request.into_body(),
            };
            return (opening, moving);
        }
    }
}

/// A connection with one open stream.
pub(crate) fn connected(config: &Http2Config) -> (H2Stream, Moving) {
    let (mut opening, mut connection) = opening(config);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let _ = connection.peer.poll_closed(&mut cx);
        let _ = connection.driver.as_mut().poll(&mut cx);
        match opening.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(Opened::Accepted(_, stream))) => return (stream, connection),
            Poll::Ready(_) => panic!("not accepted"),
            Poll::Pending => {}
        }
    }
}

impl Moving {
    /// Polls both ends of the connection, then the peer's program, until that ends.
    pub(crate) async fn until<T>(
        mut self,
        mut program: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> T {
        poll_fn(|cx| {
            let _ = self.driver.as_mut().poll(cx);
            let _ = self.peer.poll_closed(cx);
            let polled = program(&mut self, cx);
            // What the program sent.
            let _ = self.peer.poll_closed(cx);
            polled
        })
        .await
    }

    /// Appends what has arrived. Ready at the end of the stream: true if it was orderly.
    pub(crate) fn poll_arrived(&mut self, all: &mut BytesMut, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.from_us.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    let credit = self.from_us.flow_control().release_capacity(data.len());
                    credit.unwrap();
                    all.extend_from_slice(&data);
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

pub(super) fn send(stream: &mut H2Stream, text: &'static str) {
    block_on(poll_fn(|cx| stream.poll_room(cx))).unwrap();
    stream.write(|out| out.append(Bytes::from_static(text.as_bytes())));
    stream.flush();
}

pub(super) fn orderly() -> Finish {
    Finish::End(Linger {
        unsent: LIMIT,
        peer: LIMIT,
    })
}

/// Runs a connection until its stream is over, with a peer that ends its side after ours. Returns
/// what the peer has received.
pub(super) fn run_to_the_end(connection: Moving) -> BytesMut {
    let mut all = BytesMut::new();
    block_on(connection.until(|c, cx| {
        if let Poll::Ready(true) = c.poll_arrived(&mut all, cx) {
            // Fails the second time.
            let _ = c.to_us.send_data(Bytes::new(), true);
        }
        match c.client.handle().open_streams() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }));
    all
}

#[test]
fn what_is_written_during_a_turn_is_sent_by_that_one_or_the_next() {
    check(2, || {
        let (mut stream, connection) = connected(&Http2Config::default());
        let moving = spawn(|| assert_eq!(run_to_the_end(connection), "onetwo"));
        send(&mut stream, "one");
        send(&mut stream, "two");
        stream.finish(orderly());
        join(moving);
    });
}

#[test]
fn a_writer_without_room_is_woken_by_room() {
    check(2, || {
        let config = Http2Config {
            write_buffer: 1,
            ..Http2Config::default()
        };
        let (mut stream, connection) = connected(&config);
        let moving = spawn(|| assert_eq!(run_to_the_end(connection), "onetwo"));
        send(&mut stream, "one");
        send(&mut stream, "two");
        stream.finish(orderly());
        join(moving);
    });
}

#[test]
fn a_reader_is_woken_by_what_arrives_and_by_the_end() {
    check(3, || {
        let (mut stream, mut connection) = connected(&Http2Config::default());
        let data = Bytes::from_static(b"data");
        connection.to_us.send_data(data, true).unwrap();
        let moving = spawn(|| run_to_the_end(connection));
        let read = block_on(poll_fn(|cx| stream.poll_chunk(cx))).unwrap();
        assert_eq!(read.as_deref(), Some(&b"data"[..]));
        let read = block_on(poll_fn(|cx| stream.poll_chunk(cx))).unwrap();
        assert_eq!(read, None);
        stream.finish(orderly());
        join(moving);
    });
}

/// A driver that is dropped, as when the runtime ends or the connection breaks.
#[test]
fn a_driver_that_ends_leaves_no_task_waiting() {
    check(2, || {
        let config = Http2Config {
            write_buffer: 1,
            ..Http2Config::default()
        };
        let (mut stream, connection) = connected(&config);
        let moving = spawn(|| {
            block_on(connection.until(|_, _| Poll::Ready(())));
        });
        let error = block_on(poll_fn(|cx| {
            while stream.poll_room(cx)?.is_ready() {
                stream.write(|out| out.append(Bytes::from_static(b"lost")));
                stream.flush();
            }
            Poll::<Result<(), StreamError>>::Pending
        }));
        assert!(error.is_err());
        let read = block_on(poll_fn(|cx| stream.poll_chunk(cx)));
        assert!(read.is_err(), "{read:?}");
        join(moving);
    });
}

#[test]
fn a_request_abandoned_at_any_time_gives_its_slot_back() {
    check(2, || {
        let (opening, connection) = opening(&Http2Config::default());
        let abandoning = spawn(move || drop(opening));
        block_on(
            connection.until(|c, _| match c.client.handle().slots.are_used() {
                false => Poll::Ready(()),
                true => Poll::Pending,
            }),
        );
        join(abandoning);
    });
}
