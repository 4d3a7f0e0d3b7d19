//! HTTP/1.1 connections, on hyper, up to their upgrade (RFC 9110 §7.8).
mod early;
mod linger;
mod refusal;
mod turn;
mod upgrade;

pub(crate) use self::early::Unheard;
use self::linger::Lent;
pub(crate) use self::turn::Limits;
use self::turn::{Answer, Late, Pace, Turns};
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

/// Sends a request without a body on a connection of its own, for the status
/// alone.
pub(crate) async fn status(io: BoxIo, request: Request<()>) -> Result<StatusCode, StreamError> {
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADER_FIELDS)
        .handshake(TokioIo::new(io))
        .await?;
    let request = request.map(|()| Empty::<Bytes>::new());
    // Both in this future, so that nothing is left of it when it is dropped.
    tokio::select! {
        response = send.send_request(request) => Ok(response?.status()),
        Err(error) = connection => Err(error.into()),
    }
}

/// Bytes of a request's or response's head.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The byte stream of an upgraded connection, with what the peer sent in one
/// packet with its 101 in front.
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

/// How the requests of a connection ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// The connection ended, was upgraded, or was closed because it was idle.
    Done,
    /// The last of them could not be understood.
    Refused { status: StatusCode, why: String },
}

/// Serves requests on an HTTP/1.1 connection until it ends or is upgraded, and
/// reads on behind the last answer, so that the client gets it. When `drain`
/// turns true, the request under way is the last.
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
    let mut pace = Pace::new(turns.clone(), limits);
    let service = hyper::service::service_fn(|request| {
        turns.requested();
        let (answering, turns) = (service.call(request), turns.clone());
        async move {
            let response = answering.await?;
            Ok::<_, S::Error>(response.map(|body| Answer::new(body, turns)))
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
                    match ready!(pace.poll(cx)) {
                        Late::Head => return Poll::Ready(Err(Broken::Late)),
                        // It is on its way to its end.
                        Late::Idle if is_last => return Poll::Pending,
                        Late::Idle => {}
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

/// Why a connection did not end in order.
enum Broken {
    Hyper(hyper::Error),
    /// The head of a request was not there in time.
    Late,
}
impl From<Broken> for StreamError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Hyper(error) => error.into(),
            Broken::Late => {
                let late = "the head of a request did not come in time";
                std::io::Error::new(std::io::ErrorKind::TimedOut, late).into()
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
