//! `h2ws demo`: a client, a bridge and a backend in one process, over real TLS and TCP.
//!
//! To the client, every WebSocket is a stream of one HTTP/2 connection. To the backend, each is an
//! HTTP/1.1 connection of its own, upgraded as in RFC 6455.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use h2ws::bridge::Bridge;
use h2ws::client::ConnectionStats;
use h2ws::server::Serve;
use h2ws::tls::{Certificates, ClientAuth, Identity};
use h2ws::{Client, CloseCode, Http2Config, Message, Server};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};

use super::echo::{add_carrier_header, echo};
use super::page::Page;
use super::process;
use crate::args::DemoArgs;
use crate::error::{Failure, with_causes};
use crate::{files, terminal, tls};

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    // Each needs a connection between bridge and backend, both ends of which are in this process.
    files::check_limit(args.sockets, 2)?;
    let identity = tls::self_signed()?;
    let backend = Backend::start(&args).await?;
    let (address, server) = bridge(&args, &identity, &backend).await?;
    let url = format!("wss://localhost:{}/echo", address.port());
    if !args.json {
        writeln!(
            terminal::stdout(),
            "echo server: {} (RFC 6455 only)\n\
             bridge:      {url} (self-signed certificate)",
            backend.url()
        )?;
    }
    let client = Client::builder().tls(tls::trusting(&identity)?).build()?;
    let counter = EchoCounter::new(args.cut_after, server);
    let outcome = sockets(&args, &client, &url, &counter).await?;
    let report = Report {
        args: &args,
        outcome: &outcome,
        connections: client.connections(),
        upgraded: backend.upgraded.load(Ordering::Relaxed),
    };
    if args.json {
        writeln!(terminal::stdout(), "{}", report.json())?;
    } else {
        report.print()?;
    }
    report.verdict()?;
    if args.keep {
        writeln!(
            terminal::stdout(),
            "\nstill running: open https://localhost:{}/ in a browser and accept the self-signed \
             certificate\npress Ctrl-C to stop",
            address.port()
        )?;
        // A signal drops this future.
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// An echo server for HTTP/1.1 only.
struct Backend {
    address: SocketAddr,
    /// Number of connections that were upgraded to WebSockets.
    upgraded: Arc<AtomicU64>,
}

impl Backend {
    async fn start(args: &DemoArgs) -> Result<Self, Failure> {
        let server = Server::builder()
            .extended_connect(false)
            .max_connections(max_connections(args))
            .bind("127.0.0.1:0")
            .await?;
        let address = server.local_addr()?;
        let upgraded = Arc::new(AtomicU64::new(0));
        let count = upgraded.clone();
        let serve = server.serve(move |request| {
            if request.version() == http::Version::HTTP_11 {
                count.fetch_add(1, Ordering::Relaxed);
            }
            echo(request, Arc::default())
        });
        run_server(serve);
        Ok(Self { address, upgraded })
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

/// Returns a connection limit with room for every WebSocket, and for some that are closing.
fn max_connections(args: &DemoArgs) -> usize {
    args.sockets as usize + 100
}

async fn bridge(
    args: &DemoArgs,
    identity: &Identity,
    backend: &Backend,
) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let bridge = Bridge::to(&backend.url())
        .max_sockets(max_connections(args))
        .build()?;
    let server = Server::builder()
        .tls(tls::server_config(
            Certificates::new(identity.clone())?,
            ClientAuth::None,
        )?)
        .http2(Http2Config::default().max_concurrent_streams(args.sockets.max(100)))
        .bind("127.0.0.1:0")
        .await?;
    let address = server.local_addr()?;
    let serve = server.serve(move |mut request| {
        add_carrier_header(&mut request);
        let bridge = bridge.clone();
        async move { bridge.pass(request).await }
    });
    Ok((address, run_server(serve.fallback(Page))))
}

fn run_server(serve: Serve) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!(%error, "the server failed");
        }
    })
}

/// Counts echoes, and aborts the server after `--cut-after` of them.
struct EchoCounter {
    echoes: AtomicU64,
    cut_after: Option<u64>,
    server: JoinHandle<()>,
}

impl EchoCounter {
    fn new(cut_after: Option<u64>, server: JoinHandle<()>) -> Arc<Self> {
        Arc::new(Self {
            echoes: AtomicU64::new(0),
            cut_after,
            server,
        })
    }

    fn echo(&self) {
        let echoes = self.echoes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.cut_after == Some(echoes) {
            self.server.abort();
        }
    }
}

struct Outcome {
    opened: u32,
    over_http2: u32,
    echoes: u64,
    open_time: Duration,
    /// Time from the first message to the last echo.
    talk_time: Duration,
    /// The longest time that one WebSocket took for all of its messages.
    slowest: Duration,
    /// Memory that the open WebSockets take in client, bridge and backend together.
    memory_kib: Option<u64>,
    /// The first error, and the number of WebSockets that failed.
    failure: Option<(String, u32)>,
}

/// Opens all WebSockets, starts the messages once all are open, and closes them.
async fn sockets(
    args: &DemoArgs,
    client: &Client,
    url: &str,
    counter: &Arc<EchoCounter>,
) -> Result<Outcome, Failure> {
    let barrier = Arc::new(Barrier::new(args.sockets as usize + 1));
    let payload = Message::text("x".repeat(args.size as usize));
    let before = process::resident_kib(None);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..args.sockets {
        let socket = OneSocket {
            client: client.clone(),
            url: url.to_owned(),
            messages: args.messages,
            payload: payload.clone(),
            barrier: barrier.clone(),
            counter: counter.clone(),
        };
        tasks.spawn(socket.run());
    }
    // Waiting twice makes sure that the clock starts before the first message is sent.
    barrier.wait().await;
    let open_time = began.elapsed();
    let memory_kib = process::resident_kib(None)
        .zip(before)
        .map(|(now, then)| now.saturating_sub(then));
    let began = Instant::now();
    barrier.wait().await;
    let mut outcome = Outcome {
        opened: 0,
        over_http2: 0,
        echoes: 0,
        open_time,
        talk_time: Duration::ZERO,
        slowest: Duration::ZERO,
        memory_kib,
        failure: None,
    };
    while let Some(done) = tasks.join_next().await {
        let done = done?;
        outcome.opened += u32::from(done.opened);
        outcome.over_http2 += u32::from(done.over_http2);
        outcome.echoes += u64::from(done.echoes);
        if let Some((first, last)) = done.talked {
            outcome.talk_time = outcome.talk_time.max(last - began);
            outcome.slowest = outcome.slowest.max(last - first);
        }
        if let Err(error) = done.result {
            let failure = outcome
                .failure
                .get_or_insert_with(|| (with_causes(&*error), 0));
            failure.1 += 1;
        }
    }
    Ok(outcome)
}

struct OneSocket {
    client: Client,
    url: String,
    messages: u32,
    payload: Message,
    barrier: Arc<Barrier>,
    counter: Arc<EchoCounter>,
}

struct Done {
    opened: bool,
    over_http2: bool,
    echoes: u32,
    /// When the first message was sent, and when the last echo arrived.
    talked: Option<(Instant, Instant)>,
    result: Result<(), Failure>,
}

impl OneSocket {
    async fn run(self) -> Done {
        let opened = self.client.connect(&self.url).await;
        // Failed ones wait too: the barrier needs all of them.
        self.barrier.wait().await;
        self.barrier.wait().await;
        let mut done = Done {
            opened: opened.is_ok(),
            over_http2: false,
            echoes: 0,
            talked: None,
            result: Ok(()),
        };
        done.result = match opened {
            Ok(socket) => {
                done.over_http2 = socket.transport().is_http2();
                self.talk(socket, &mut done).await
            }
            Err(error) => Err(error.into()),
        };
        done
    }

    async fn talk(&self, mut socket: h2ws::WebSocket, done: &mut Done) -> Result<(), Failure> {
        let first = Instant::now();
        for _ in 0..self.messages {
            socket.send(self.payload.clone()).await?;
            let Some(answer) = socket.next().await.transpose()? else {
                return Err("the server closed the WebSocket".into());
            };
            if answer != self.payload {
                return Err("the server did not echo the message that was sent".into());
            }
            done.echoes += 1;
            done.talked = Some((first, Instant::now()));
            self.counter.echo();
        }
        socket.close(CloseCode::NORMAL).await?;
        Ok(())
    }
}

struct Report<'a> {
    args: &'a DemoArgs,
    outcome: &'a Outcome,
    connections: Vec<ConnectionStats>,
    upgraded: u64,
}

impl Report<'_> {
    fn print(&self) -> io::Result<()> {
        let mut out = terminal::stdout();
        let outcome = self.outcome;
        let rate = rate(u64::from(outcome.opened), outcome.open_time);
        writeln!(
            out,
            "WebSockets opened    {:>9}   in {:.0?}, {rate}",
            outcome.opened, outcome.open_time
        )?;
        writeln!(out, "  over HTTP/2        {:>9}", outcome.over_http2)?;
        let rate = self::rate(outcome.echoes, outcome.talk_time);
        writeln!(
            out,
            "messages echoed      {:>9}   in {:.0?}, {rate}",
            outcome.echoes, outcome.talk_time
        )?;
        writeln!(out, "TCP connections      {:>9}", self.connections.len())?;
        for c in &self.connections {
            writeln!(out, "connection {}", c.connection)?;
            writeln!(out, "  streams opened     {:>9}", c.streams_opened)?;
            writeln!(out, "  DATA frames sent   {:>9}", c.data_frames_sent)?;
            writeln!(out, "  DATA frames recv'd {:>9}", c.data_frames_received)?;
            writeln!(out, "  bytes sent         {:>9}", c.bytes_sent)?;
            writeln!(out, "  bytes received     {:>9}", c.bytes_received)?;
        }
        writeln!(
            out,
            "backend connections  {:>9}   one TCP connection per WebSocket",
            self.upgraded
        )?;
        if let Some(memory) = outcome.memory_kib {
            writeln!(
                out,
                "memory, all parts    {:>9} KiB, {:.1} KiB per WebSocket",
                memory,
                memory as f64 / f64::from(self.args.sockets)
            )?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let connections: Vec<_> = self
            .connections
            .iter()
            .map(|c| {
                json!({
                    "connection": c.connection,
                    "streams_opened": c.streams_opened,
                    "data_frames_sent": c.data_frames_sent,
                    "data_frames_received": c.data_frames_received,
                    "bytes_sent": c.bytes_sent,
                    "bytes_received": c.bytes_received,
                })
            })
            .collect();
        json!({
            "sockets": self.args.sockets,
            "opened": self.outcome.opened,
            "over_http2": self.outcome.over_http2,
            "messages": self.outcome.echoes,
            "open_seconds": self.outcome.open_time.as_secs_f64(),
            "talk_seconds": self.outcome.talk_time.as_secs_f64(),
            "slowest_socket_seconds": self.outcome.slowest.as_secs_f64(),
            "memory_kib": self.outcome.memory_kib,
            "connections": connections,
            "backend_connections": self.upgraded,
            "failure": self.outcome.failure.as_ref().map(|(text, _)| text),
        })
    }

    fn verdict(&self) -> Result<(), Failure> {
        if let Some((text, count)) = &self.outcome.failure {
            return Err(
                format!("{count} of {} WebSockets failed: {text}", self.args.sockets).into(),
            );
        }
        Ok(())
    }
}

fn rate(count: u64, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64().max(1e-9))
}
