//! A load client on fastwebsockets, with a TCP connection per socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use h2ws_compare::args::Args;
use h2ws_compare::load::{Count, Load, NAMES, Plan, Report, SWITCHES};
use h2ws_compare::{Error, process, tls, upgrade};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Concurrent handshakes. More would overflow the listener's backlog.
const OPENING: usize = 64;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&NAMES, &SWITCHES)?;
    let plan = Plan::new(&args)?;
    let runtime = process::runtime(&args.or("runtime", "multi".to_owned())?)?;
    runtime.block_on(run(plan))?;
    // The connections need not be closed first.
    std::process::exit(0);
}

async fn run(plan: Plan) -> Result<(), Error> {
    let connector = plan.tls.then(tls::connector).transpose()?;
    let mut report = Report::start(&plan)?;
    let workers = plan.sockets.min(OPENING);
    let mut opening = Vec::new();
    for worker in 0..workers {
        let share = (plan.sockets - worker).div_ceil(workers);
        let (addr, connector) = (plan.addr.clone(), connector.clone());
        opening.push(tokio::spawn(
            async move { open(addr, share, connector).await },
        ));
    }
    let mut sockets = Vec::with_capacity(plan.sockets);
    for opened in opening {
        sockets.extend(opened.await??);
    }
    report.opened().await?;
    let mut load = Load::default();
    let payload: Arc<[u8]> = vec![b'x'; plan.size].into();
    for socket in sockets {
        let (count, stop) = load.socket();
        let payload = Arc::clone(&payload);
        tokio::spawn(async move {
            let error = exchange(socket, payload, plan.in_flight, count, stop).await;
            eprintln!("a socket was closed: {error:?}");
            std::process::exit(1);
        });
    }
    report.finish(&load).await
}

/// The I/O of a socket.
type Io = Either<TcpStream, TlsStream<TcpStream>>;

async fn open(
    addr: String,
    count: usize,
    connector: Option<TlsConnector>,
) -> Result<Vec<WebSocket<Io>>, Error> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = TcpStream::connect(&addr).await?;
        stream.set_nodelay(true)?;
        let mut stream = match &connector {
            None => Io::Left(stream),
            Some(connector) => Io::Right(connector.connect(tls::name()?, stream).await?),
        };
        upgrade::connect(&mut stream, &addr).await?;
        let mut socket = WebSocket::after_handshake(stream, Role::Client);
        socket.set_writev(true);
        sockets.push(socket);
    }
    Ok(sockets)
}

async fn exchange(
    mut socket: WebSocket<Io>,
    payload: Arc<[u8]>,
    in_flight: usize,
    count: Count,
    stop: Arc<AtomicBool>,
) -> Result<(), WebSocketError> {
    for _ in 0..in_flight {
        socket
            .write_frame(Frame::binary(Payload::Borrowed(&payload)))
            .await?;
    }
    loop {
        let frame = socket.read_frame().await?;
        if !matches!(
            frame.opcode,
            OpCode::Text | OpCode::Binary | OpCode::Continuation
        ) {
            return Err(WebSocketError::ConnectionClosed);
        }
        if !frame.fin {
            continue;
        }
        count.fetch_add(1, Ordering::Relaxed);
        if !stop.load(Ordering::Relaxed) {
            socket
                .write_frame(Frame::binary(Payload::Borrowed(&payload)))
                .await?;
        }
    }
}
