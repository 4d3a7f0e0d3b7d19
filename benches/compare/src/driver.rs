//! The task of an h2 connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Error;
use crate::gather::Outlet;

/// An h2 connection of either role.
pub trait Connection: Unpin {
    /// Reads and writes as much as possible. Ready when the connection has ended.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>>;
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for h2::client::Connection<T, Bytes> {
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        Pin::new(self).poll(cx)
    }
}

/// A server's connection, with a callback for each request.
pub struct Accepting<T, F> {
    /// The connection.
    pub connection: h2::server::Connection<T, Bytes>,
    /// Called for each request.
    pub accept: F,
}

impl<T, F> Connection for Accepting<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) + Unpin,
{
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => (self.accept)(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Yields once per wake-up, so that all sockets that are ready have queued their frames before the
/// connection writes.
#[derive(Debug, Default)]
pub struct Yielding {
    enabled: bool,
    yielded: bool,
}

impl Yielding {
    /// Creates the state; if it is not `enabled`, it never yields.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            yielded: false,
        }
    }

    /// Returns `Pending` once per wake-up.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.enabled && !self.yielded {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.yielded = false;
        Poll::Ready(())
    }
}

/// Drives a connection whose streams belong to other tasks.
pub struct Driver<C> {
    connection: C,
    outlet: Option<Outlet>,
    yielding: Yielding,
}

impl<C: Connection> Driver<C> {
    /// Creates a driver. `outlet` is that of the connection's I/O, if it gathers writes.
    pub fn new(connection: C, outlet: Option<Outlet>, yields: bool) -> Self {
        Self {
            connection,
            outlet,
            yielding: Yielding::new(yields),
        }
    }
}

impl<C: Connection> Future for Driver<C> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.yielding.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let polled = self.connection.poll_connection(cx);
        if let Some(outlet) = &mut self.outlet {
            // If this is pending, it has registered the waker.
            let _ = outlet.poll_flush(cx)?;
        }
        polled.map_err(Error::from)
    }
}
