//! Closes a server's HTTP/1.1 connection in such a way that the last response
//! arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::turn::Turns;
use crate::transport::BoxIo;
use crate::transport::linger::{LINGER, LINGER_BYTES, linger};

/// Lends an I/O object to hyper. hyper drops it when it is done: shut down or,
/// after a rejected Upgrade, not.
pub(super) fn lend(io: BoxIo, turns: Turns) -> (Lent, Returned) {
    let (give_back, returned) = oneshot::channel();
    let lent = Lent(Some(Loan {
        io,
        activity: Activity::Quiet,
        turns,
        give_back,
    }));
    (lent, Returned(returned))
}

/// An I/O object that is returned to its owner when it is dropped.
pub(super) struct Lent(Option<Loan>);

struct Loan {
    io: BoxIo,
    activity: Activity,
    /// Notified of what is read and written.
    turns: Turns,
    give_back: oneshot::Sender<(BoxIo, Activity)>,
}

/// Whether the client may have sent something that was not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// Everything written had been flushed when a read found nothing.
    Quiet,
    Writing,
    Written,
    /// The client ended its side.
    Ended,
}

/// The owner's end of a lent I/O object.
pub(super) struct Returned(oneshot::Receiver<(BoxIo, Activity)>);

impl Returned {
    /// Waits until the I/O object is returned or kept. If it is returned,
    /// [lingers](linger), because the last response may have rejected a request
    /// of which more follows: a body or early frames. An idle client, which is
    /// known to have sent nothing more, is not waited for: it may not notice
    /// that this side has ended.
    pub(super) async fn linger(self) {
        if let Ok((io, Activity::Writing | Activity::Written)) = self.0.await {
            linger(io, LINGER_BYTES).await;
        }
    }

    /// Writes the last response if the I/O object is returned, then lingers.
    pub(super) async fn refuse(self, answer: Vec<u8>) {
        let Ok((mut io, _)) = self.0.await else {
            return;
        };
        let written = timeout(LINGER, async {
            io.write_all(&answer).await?;
            io.flush().await
        });
        if let Ok(Ok(())) = written.await {
            linger(io, LINGER_BYTES).await;
        }
    }
}

impl Lent {
    /// Takes the I/O object out, so that it is not returned.
    pub(super) fn keep(mut self) -> Option<BoxIo> {
        self.0.take().map(|loan| loan.io)
    }

    fn loan(&mut self) -> io::Result<&mut Loan> {
        // Present until `self` is dropped or kept.
        self.0.as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(loan) = self.0.take() {
            // Fails if the server's task is gone, and then it does not linger.
            let _ = loan.give_back.send((loan.io, loan.activity));
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let loan = self.loan()?;
        let before = buf.filled().len();
        let read = Pin::new(&mut loan.io).poll_read(cx, buf);
        match &read {
            Poll::Pending if loan.activity == Activity::Written => loan.activity = Activity::Quiet,
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => {
                loan.activity = Activity::Ended;
            }
            _ => {}
        }
        if buf.filled().len() > before {
            loan.turns.read();
        }
        read
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let loan = self.loan()?;
        if loan.turns.holds_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        loan.wrote();
        Pin::new(&mut loan.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let loan = self.loan()?;
        if let [only] = bufs
            && loan.turns.holds_back(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        loan.wrote();
        Pin::new(&mut loan.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|loan| loan.io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let loan = self.loan()?;
        ready!(Pin::new(&mut loan.io).poll_flush(cx))?;
        loan.turns.flushed();
        if loan.activity == Activity::Writing {
            loan.activity = Activity::Written;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let loan = self.loan()?;
        if loan.turns.refused().is_some() {
            // The owner still has to write the response.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut loan.io).poll_shutdown(cx)
    }
}

impl Loan {
    fn wrote(&mut self) {
        if self.activity != Activity::Ended {
            self.activity = Activity::Writing;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http::{Request, Response, StatusCode};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use crate::transport::h1;

    const LIMITS: h1::Limits = h1::Limits {
        head: Duration::from_secs(1_000_000),
        idle: None,
    };
    use crate::transport::linger::{CHUNK, LINGER, LINGER_BYTES};

    /// Returns a client's end of a connection on which each request is answered
    /// with 404 (and `connection: close` if `last`), the drain signal, and the
    /// time at which the server was done.
    fn serve(last: bool) -> (DuplexStream, watch::Sender<bool>, JoinHandle<Instant>) {
        let (near, far) = tokio::io::duplex(CHUNK);
        let service = service_fn(move |_: Request<Incoming>| async move {
            let mut answer = Response::new(Full::new(bytes::Bytes::from_static(b"no")));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            if last {
                let close = http::HeaderValue::from_static("close");
                answer.headers_mut().insert("connection", close);
            }
            Ok::<_, Infallible>(answer)
        });
        let (drain, draining) = watch::channel(false);
        let served = tokio::spawn(async move {
            let _ = h1::serve(Box::new(near), service, LIMITS, draining).await;
            Instant::now()
        });
        (far, drain, served)
    }

    async fn ask(client: &mut DuplexStream) {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\nno") {
            seen.push(client.read_u8().await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_is_not_waited_for() {
        let (mut client, _drain, served) = serve(true);
        let start = Instant::now();
        ask(&mut client).await;
        // The server's side has ended; it still reads the client's.
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(&[0; 3 * CHUNK]).await.unwrap();
        assert!(!served.is_finished());
        drop(client);
        assert_eq!(served.await.unwrap() - start, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_is_read_for_a_limited_time() {
        let (mut client, _drain, served) = serve(true);
        let start = Instant::now();
        ask(&mut client).await;
        let took = served.await.unwrap() - start;
        assert!(took >= LINGER && took < 2 * LINGER, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_stops_is_read_for_limited_bytes() {
        let (mut client, _drain, served) = serve(true);
        let start = Instant::now();
        ask(&mut client).await;
        let mut sent = 0;
        while let Ok(n) = client.write(&[0; CHUNK]).await {
            sent += n as u64;
        }
        assert!(
            (LINGER_BYTES..LINGER_BYTES + 3 * CHUNK as u64).contains(&sent),
            "{sent}"
        );
        assert_eq!(served.await.unwrap() - start, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_malformed_request_is_answered_before_the_connection_closes() {
        let (mut client, _drain, served) = serve(false);
        client.write_all(b"\0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        client.write_all(&[0; 3 * CHUNK]).await.unwrap();
        assert!(!served.is_finished());
    }

    /// Clients with connection pools may not notice that the server has ended.
    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_does_not_hold_up_a_drain() {
        let (mut client, drain, served) = serve(false);
        let start = Instant::now();
        ask(&mut client).await;
        tokio::task::yield_now().await;
        drain.send_replace(true);
        assert_eq!(served.await.unwrap() - start, Duration::ZERO);
    }
}
