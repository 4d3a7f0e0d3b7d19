//! HTTP/1.1 connections, on hyper, up to their upgrade (RFC 9110 §7.8).

mod early;
mod linger;
mod refusal;
mod turn;
mod upgrade;

pub(crate) use self::early::EarlyResponseIo;
use self::linger::Lent;
pub(crate) use self::turn::Limits;
use self::turn::{Exceeded, TurnBody, TurnTimer, Turns};
pub(crate) use self::upgrade::{H1Answer, upgrade};
use super::{BoxIo, IoStream, MAX_HEADER_FIELDS, StreamError, Transport};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use {
    bytes::Bytes,
    http::StatusCode,
    std::future::poll_fn,
    std::task::{Poll, ready},
};

/// Sends a request without a body on a dedicated connection and returns the
/// status of the response.
pub(crate) async fn status(io: BoxIo, request: Request<()>) -> Result<StatusCode, StreamError> {
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADER_FIELDS)
        .handshake(TokioIo::new(io))
        .await?;
    let request = request.map(|()| Empty::<Bytes>::new());
    // Both run in this future, so that dropping it leaves nothing behind.
    tokio::select! {
        biased;
        response = send.send_request(request) => Ok(response?.status()),
        Err(error) = connection => Err(error.into()),
    }
}

/// Maximum size of the head of a request or response, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// Waits for the upgrade of a connection and returns its byte stream, beginning
/// with what the peer sent right after the head.
pub(crate) async fn switched(
    on: OnUpgrade,
    connection: u64,
    write_buffer: usize,
) -> Result<IoStream, StreamError> {
    let upgraded = on.await?;
    let parts = upgraded
        .downcast::<TokioIo<Lent>>()
        .map_err(|_| StreamError::Closed)?;
    let io = parts.io.into_inner().keep().ok_or(StreamError::Closed)?;
    let transport = Transport::Http1 { connection };
    Ok(IoStream::new(io, parts.read_buf, transport, write_buffer))
}

/// How serving a connection ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// The connection ended, was upgraded, or was closed because it was idle.
    Done,
    /// The last request could not be parsed.
    Refused { status: StatusCode, why: String },
}

/// Serves requests on an HTTP/1.1 connection until it ends or is upgraded.
/// After the last response it keeps reading for a while, so that the response
/// arrives. When `drain` becomes true, the request in progress is the last.
pub(crate) async fn serve<S, B>(
    io: BoxIo,
    service: S,
    limits: Limits,
    mut drain: tokio::sync::watch::Receiver<bool>,
) -> Result<Served, StreamError>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Error: std::error::Error + Send + Sync + 'static,
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let turns = Turns::default();
    let (io, returned) = linger::lend(io, turns.clone());
    let mut timer = TurnTimer::new(turns.clone(), limits);
    let service = hyper::service::service_fn(|request| {
        turns.requested();
        let (answering, turns) = (service.call(request), turns.clone());
        async move {
            let response = answering.await?;
            Ok::<_, S::Error>(response.map(|body| TurnBody::new(body, turns)))
        }
    });
    let served = async {
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADER_FIELDS)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut drained = std::pin::pin!(drain.wait_for(|drain| *drain));
        let (mut may_drain, mut is_last) = (true, false);
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended.map_err(Broken::Hyper));
                }
                let mut drains = false;
                if may_drain && let Poll::Ready(drained) = drained.as_mut().poll(cx) {
                    may_drain = false;
                    drains = drained.is_ok();
                }
                if !drains {
                    match ready!(timer.poll(cx)) {
                        Exceeded::Head => return Poll::Ready(Err(Broken::HeadTimeout)),
                        // The shutdown is already in progress.
                        Exceeded::Idle if is_last => return Poll::Pending,
                        Exceeded::Idle => {}
                    }
                }
                is_last = true;
                connection.as_mut().graceful_shutdown();
            }
        })
        .await
    }
    .await;
    let refused = turns
        .refused()
        .and_then(|status| StatusCode::from_u16(status).ok());
    match (refused, served) {
        (Some(status), Err(Broken::Hyper(error))) => {
            let why = refusal::why(status, &error);
            returned.refuse(refusal::answer(status, &why)).await;
            Ok(Served::Refused { status, why })
        }
        (_, served) => {
            returned.linger().await;
            served.map(|()| Served::Done).map_err(Into::into)
        }
    }
}

/// Why a connection did not end in an orderly way.
enum Broken {
    Hyper(hyper::Error),
    /// The head of a request was not complete in time.
    HeadTimeout,
}

impl From<Broken> for StreamError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Hyper(error) => error.into(),
            Broken::HeadTimeout => {
                let text = "the head of a request was not complete in time";
                std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
            }
        }
    }
}

impl From<hyper::Error> for StreamError {
    fn from(error: hyper::Error) -> Self {
        Self::Io(std::sync::Arc::new(std::io::Error::other(error)))
    }
}

impl From<std::io::Error> for StreamError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(std::sync::Arc::new(error))
    }
}
