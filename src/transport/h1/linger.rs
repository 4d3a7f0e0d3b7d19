//! The end of a server's HTTP/1.1 connection, so that its last answer arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::turn::Turns;
use crate::transport::BoxIo;
use crate::transport::linger::{LINGER, LINGER_BYTES, linger};

/// Lends an I/O object to hyper, which drops it when it is done, shut down or,
/// after a refused Upgrade, not.
pub(super) fn lend(io: BoxIo, turns: Turns) -> (Lent, Returned) {
    let (give_back, returned) = oneshot::channel();
    let lent = Lent(Some(Loan {
        io,
        talk: Talk::Quiet,
        turns,
        give_back,
    }));
    (lent, Returned(returned))
}

/// An I/O object that is given back when it is dropped.
pub(super) struct Lent(Option<Loan>);

struct Loan {
    io: BoxIo,
    talk: Talk,
    /// Told of what is read and written.
    turns: Turns,
    give_back: oneshot::Sender<(BoxIo, Talk)>,
}

/// Whether the client may have sent something that nobody read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// All that was written had left when there was nothing to read.
    Quiet,
    Writing,
    Written,
    /// The client ended its side.
    Ended,
}

/// What becomes of an I/O object that was lent.
pub(super) struct Returned(oneshot::Receiver<(BoxIo, Talk)>);

impl Returned {
    /// Waits until it is given back or kept. Given back, it [lingers](linger),
    /// for the last answer may have been a refusal of what has more behind it,
    /// a body or early frames. Who is known to send nothing, an idle client, is
    /// not waited for: it may not notice that we end.
    pub(super) async fn linger(self) {
        if let Ok((io, Talk::Writing | Talk::Written)) = self.0.await {
            linger(io, LINGER_BYTES).await;
        }
    }

    /// Writes the last answer, if it is given back, and lingers.
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
    /// Keeps the I/O object.
    pub(super) fn keep(mut self) -> Option<BoxIo> {
        self.0.take().map(|loan| loan.io)
    }

    fn loan(&mut self) -> io::Result<&mut Loan> {
        // It is there until `self` is gone.
        self.0.as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(loan) = self.0.take() {
            // A server that is gone does not linger.
            let _ = loan.give_back.send((loan.io, loan.talk));
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
            Poll::Pending if loan.talk == Talk::Written => loan.talk = Talk::Quiet,
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => {
                loan.talk = Talk::Ended;
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
        if loan.talk == Talk::Writing {
            loan.talk = Talk::Written;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let loan = self.loan()?;
        if loan.turns.refused().is_some() {
            // The answer is still to come.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut loan.io).poll_shutdown(cx)
    }
}

impl Loan {
    fn wrote(&mut self) {
        if self.talk != Talk::Ended {
            self.talk = Talk::Writing;
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

    /// A client's end of a connection whose requests are answered 404, or with
    /// `last` for the last time, and when the server is done with it.
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
        // Our side has ended, the other is read.
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(&[0; 3 * CHUNK]).await.unwrap();
        assert!(!served.is_finished());
        drop(client);
        assert_eq!(served.await.unwrap() - start, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_has_its_time() {
        let (mut client, _drain, served) = serve(true);
        let start = Instant::now();
        ask(&mut client).await;
        let took = served.await.unwrap() - start;
        assert!(took >= LINGER && took < 2 * LINGER, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_stops_has_its_bytes() {
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
    async fn a_request_that_is_none_is_answered_and_lingered_for() {
        let (mut client, _drain, served) = serve(false);
        client.write_all(b"\0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        client.write_all(&[0; 3 * CHUNK]).await.unwrap();
        assert!(!served.is_finished());
    }

    /// Clients of a pool may not notice that the server ends.
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
