//! A load client on only the h2 crate, which counts bytes, or RFC 6455 frames with `--frames`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2ws_compare::args::Args;
use h2ws_compare::driver::Driver;
use h2ws_compare::frames::{Counter, Writer};
use h2ws_compare::gather::gather;
use h2ws_compare::load::{Count, Load, NAMES, Plan, Report, SWITCHES};
use h2ws_compare::mode::{Mode, Shape};
use h2ws_compare::owned::{Attach, owning};
use h2ws_compare::stream::Stream;
use h2ws_compare::{Error, process};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Concurrent requests while opening.
const OPENING: usize = 1_000;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&NAMES, &SWITCHES)?;
    let frames = args.has("frames");
    // A typical client packs its messages into one DATA frame, but does not gather writes.
    let default = if frames { "yielding" } else { "tuned" };
    let mut mode: Mode = args.or("mode", default.parse()?)?;
    mode.portion = args.or("portion", mode.portion)?;
    let plan = Plan::new(&args)?;
    let runtime = process::runtime(&args.or("runtime", "multi".to_owned())?)?;
    runtime.block_on(run(plan, mode, frames, args.has("key")))?;
    // Exits before the runtime is dropped. Dropping it would close connections, which sockets on
    // its other threads would report as failures.
    std::process::exit(0);
}

async fn run(plan: Plan, mode: Mode, frames: bool, key: bool) -> Result<(), Error> {
    let mut peers = Vec::new();
    for _ in 0..plan.connections {
        peers.push(Peer::connect(&plan.addr, mode, key).await?);
    }
    let mut report = Report::start(&plan)?;
    let workers = plan.sockets.min(OPENING);
    let mut opening = Vec::new();
    for worker in 0..workers {
        let share = (plan.sockets - worker).div_ceil(workers);
        let peer = peers[worker % peers.len()].clone();
        opening.push(tokio::spawn(async move { peer.open(share, mode).await }));
    }
    let mut streams = Vec::with_capacity(plan.sockets);
    for opened in opening {
        streams.extend(opened.await??);
    }
    report.opened().await?;
    let mut load = Load::default();
    let payload = Bytes::from(vec![b'x'; plan.size]);
    let block = Bytes::from(vec![b'x'; plan.size * plan.in_flight]);
    for (index, stream) in streams.into_iter().enumerate() {
        let (count, stop) = load.socket();
        let traffic = if frames {
            let seed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Traffic::Frames(Writer::new(payload.clone(), seed), Counter::default())
        } else {
            Traffic::Bytes {
                block: block.clone(),
                size: plan.size,
                received: 0,
            }
        };
        tokio::spawn(exchange(
            stream,
            traffic,
            mode.pack,
            plan.in_flight,
            count,
            stop,
        ));
    }
    report.finish(&load).await
}

/// One HTTP/2 connection.
#[derive(Clone)]
struct Peer {
    requests: SendRequest<Bytes>,
    attach: Option<Attach>,
    addr: String,
    /// Whether to send a `Sec-WebSocket-Key`: Envoy makes none for its server.
    key: bool,
}

impl Peer {
    async fn connect(addr: &str, mode: Mode, key: bool) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (requests, attach) = if mode.gather {
            let (io, outlet) = gather(stream, mode.portion);
            let (requests, connection) = mode.client().handshake(io).await?;
            if mode.shape == Shape::Owned {
                let (driver, attach) = owning(outlet, mode.yields, |_| connection);
                spawn(driver);
                (requests, Some(attach))
            } else {
                spawn(Driver::new(connection, Some(outlet), mode.yields));
                (requests, None)
            }
        } else {
            (Self::without_gathering(stream, mode).await?, None)
        };
        // h2 has no way to await the server's SETTINGS.
        while !requests.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self {
            requests,
            attach,
            addr: addr.to_owned(),
            key,
        })
    }

    async fn without_gathering<T>(io: T, mode: Mode) -> Result<SendRequest<Bytes>, Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = mode.client().handshake(io).await?;
        spawn(Driver::new(connection, None, mode.yields));
        Ok(requests)
    }

    async fn open(self, count: usize, mode: Mode) -> Result<Vec<Stream>, Error> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let mut request = Request::builder()
                .method(Method::CONNECT)
                .version(Version::HTTP_2)
                .uri(format!("http://{}/echo", self.addr))
                .header("sec-websocket-version", "13")
                .extension(Protocol::from_static("websocket"))
                .body(())?;
            if self.key {
                let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
                request.headers_mut().insert("sec-websocket-key", key);
            }
            let mut requests = self.requests.clone().ready().await?;
            let (response, send) = requests.send_request(request, false)?;
            let response = response.await?;
            if response.status() != StatusCode::OK {
                return Err(format!("rejected: {}", response.status()).into());
            }
            let receive = response.into_body();
            streams.push(match &self.attach {
                Some(attach) => Stream::Owned(attach.attach(send, receive).await?),
                None => Stream::Direct {
                    send,
                    receive,
                    pack: mode.pack,
                },
            });
        }
        Ok(streams)
    }
}

fn spawn(driver: impl Future<Output = Result<(), Error>> + Send + 'static) {
    tokio::spawn(async {
        if let Err(error) = driver.await {
            eprintln!("connection: {error:?}");
            std::process::exit(1);
        }
    });
}

/// What a socket sends, and how it counts the echoes.
enum Traffic {
    Bytes {
        block: Bytes,
        size: usize,
        received: usize,
    },
    Frames(Writer, Counter),
}

impl Traffic {
    fn messages(&mut self, messages: usize) -> Bytes {
        match self {
            Self::Bytes { block, size, .. } => block.slice(..messages * *size),
            Self::Frames(writer, _) => {
                let mut out = BytesMut::new();
                writer.write(messages, &mut out);
                out.freeze()
            }
        }
    }

    fn count(&mut self, data: &Bytes) -> usize {
        match self {
            Self::Bytes { size, received, .. } => {
                *received += data.len();
                let messages = *received / *size;
                *received %= *size;
                messages
            }
            Self::Frames(_, counter) => counter.count(data).unwrap_or_else(|unexpected| {
                eprintln!("{unexpected:?}");
                std::process::exit(1);
            }),
        }
    }
}

async fn exchange(
    mut stream: Stream,
    mut traffic: Traffic,
    pack: bool,
    in_flight: usize,
    count: Count,
    stop: Arc<AtomicBool>,
) {
    let mut due = in_flight;
    let mut chunks = Vec::new();
    loop {
        let (pieces, each) = if pack { (1, due) } else { (due, 1) };
        for _ in 0..pieces {
            if due > 0 {
                stream.send(traffic.messages(each));
            }
        }
        let end = match stream.receive(&mut chunks).await {
            Ok(true) => None,
            Ok(false) => Some("end of stream".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(end) = end {
            eprintln!("a socket was closed: {end}");
            std::process::exit(1);
        }
        let messages = chunks.drain(..).map(|chunk| traffic.count(&chunk)).sum();
        count.fetch_add(messages as u64, Ordering::Relaxed);
        due = if stop.load(Ordering::Relaxed) {
            0
        } else {
            messages
        };
    }
}
