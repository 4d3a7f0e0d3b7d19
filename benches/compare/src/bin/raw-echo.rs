//! An echo server on only the h2 crate: extended CONNECT and DATA frames, without WebSocket frames.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use h2ws_compare::driver::{Accepting, Connection, Driver, Yielding};
use h2ws_compare::gather::{Outlet, gather};
use h2ws_compare::mode::{Mode, Shape};
use h2ws_compare::owned::owning;
use h2ws_compare::stream::Stream;
use h2ws_compare::{Error, args::Args, process};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime", "mode", "portion"], &[])?;
    let mut mode: Mode = args.or("mode", "tuned".parse()?)?;
    mode.portion = args.or("portion", mode.portion)?;
    let listen = args.or("listen", "127.0.0.1:0".to_owned())?;
    process::runtime(&args.or("runtime", "multi".to_owned())?)?.block_on(async move {
        let listener = process::listen(&listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                if let Err(error) = serve(stream, mode).await {
                    eprintln!("connection: {error}");
                }
            });
        }
    })
}

async fn serve(stream: TcpStream, mode: Mode) -> Result<(), Error> {
    if mode.gather {
        let (io, outlet) = gather(stream, mode.portion);
        serve_on(io, Some(outlet), mode).await
    } else {
        serve_on(stream, None, mode).await
    }
}

async fn serve_on<T>(io: T, outlet: Option<Outlet>, mode: Mode) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let connection = mode.server().handshake::<_, Bytes>(io).await?;
    match (mode.shape, outlet) {
        (Shape::Owned, Some(outlet)) => {
            let (driver, _) = owning(outlet, mode.yields, |attach| Accepting {
                connection,
                accept: move |request, respond| {
                    if let Some((send, receive)) = accept(request, respond) {
                        let attach = attach.clone();
                        tokio::spawn(async move {
                            if let Ok(handle) = attach.attach(send, receive).await {
                                Stream::Owned(handle).echo().await;
                            }
                        });
                    }
                },
            });
            driver.await
        }
        (Shape::Inline, outlet) => inline(connection, outlet, mode).await,
        (_, outlet) => {
            let accepting = Accepting {
                connection,
                accept: move |request, respond| {
                    if let Some((send, receive)) = accept(request, respond) {
                        tokio::spawn(
                            Stream::Direct {
                                send,
                                receive,
                                pack: mode.pack,
                            }
                            .echo(),
                        );
                    }
                },
            };
            Driver::new(accepting, outlet, mode.yields).await
        }
    }
}

fn accept(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<(SendStream<Bytes>, RecvStream)> {
    let send = respond.send_response(Response::new(()), false).ok()?;
    Some((send, request.into_body()))
}

/// Polls the sockets' futures in the connection's task.
async fn inline<T>(
    connection: h2::server::Connection<T, Bytes>,
    mut outlet: Option<Outlet>,
    mode: Mode,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    type Echo = Pin<Box<dyn Future<Output = ()> + Send>>;
    let (queue, mut new) = tokio::sync::mpsc::unbounded_channel::<Echo>();
    let mut accepting = Accepting {
        connection,
        accept: move |request, respond| {
            if let Some((send, receive)) = accept(request, respond) {
                let echo = Stream::Direct {
                    send,
                    receive,
                    pack: mode.pack,
                }
                .echo();
                let _ = queue.send(Box::pin(echo));
            }
        },
    };
    let mut sockets = FuturesUnordered::<Echo>::new();
    let mut yielding = Yielding::new(mode.yields);
    poll_fn(move |cx| {
        if yielding.poll(cx).is_pending() {
            return Poll::Pending;
        }
        // The second round writes what the sockets sent in the first.
        for _ in 0..2 {
            let polled = accepting.poll_connection(cx);
            if polled.is_ready() {
                return polled.map_err(Error::from);
            }
            while let Ok(echo) = new.try_recv() {
                sockets.push(echo);
            }
            while let Poll::Ready(Some(())) = sockets.poll_next_unpin(cx) {}
        }
        if let Some(outlet) = &mut outlet {
            let _ = outlet.poll_flush(cx)?;
        }
        Poll::Pending
    })
    .await
}
