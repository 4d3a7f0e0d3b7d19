//! The server process (`interop-soak --serve`), and the handle that controls it.
//!
//! It has an echo server, and a bridge to it over HTTP/2. When told to, it starts another echo
//! server, reloads the bridge's routes so that they lead there, and shuts the old one down
//! gracefully.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2ws::bridge::{Bridge, Route, Routes};
use h2ws::rustls::ServerConfig;
use h2ws::server::ServerBuilder;
use h2ws::{Client, Server};
use interop_driver::{Failure, echo, identity, trusting};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::usage::Usage;
use super::{IDLE, http2, socket};

/// Streams per connection. The number is low, so that there are many connections and a cut one ends
/// few sockets.
const STREAMS: u32 = 100;

/// How long an echo server that shuts down waits for its sockets.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of handlers that have not returned, of the echo servers and of the bridge.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Serves until stdin ends. Answers the line `usage` with the resource usage, and `renew` with the
/// address of another echo server.
pub async fn run(cert: &Path, key: &Path) -> Result<(), Failure> {
    let tls = Arc::new(identity(cert, key)?);
    let mut echo = EchoServer::start(&tls).await?;
    let client = Client::builder()
        .tls(trusting(cert)?)
        .http2(http2())
        .socket(socket())
        .idle_timeout(IDLE)
        .max_connections(1024)
        .build()?;
    let bridge = Bridge::new(client, routes(echo.address)?);
    let front = builder(&tls).bind("127.0.0.1:0").await?;
    println!("{} {}", echo.address, front.local_addr()?);

    let forward = bridge.handler();
    let (stop, stopped) = oneshot::channel::<()>();
    let front = front
        .serve(move |request| {
            let forward = forward.clone();
            async move {
                let _open = Open::new();
                forward(request).await;
            }
        })
        .with_graceful_shutdown(async { drop(stopped.await) });
    let front = tokio::spawn(front.into_future());

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "usage" => println!("{}", Usage::now(OPEN.load(Ordering::Relaxed)).line()),
            "renew" => {
                let old = std::mem::replace(&mut echo, EchoServer::start(&tls).await?);
                bridge.replace(routes(echo.address)?);
                println!("{}", echo.address);
                old.shut_down();
            }
            other => return Err(format!("unknown command: {other}").into()),
        }
    }
    drop(stop);
    front.await??;
    let serving = echo.shut_down();
    serving.await?
}

fn builder(tls: &Arc<ServerConfig>) -> ServerBuilder {
    Server::builder()
        .tls(tls.clone())
        .http2(http2().max_concurrent_streams(STREAMS))
        .socket(socket())
        .idle_timeout(IDLE)
}

/// Routes that lead to the echo server at `address`.
fn routes(address: SocketAddr) -> Result<Routes, Failure> {
    let route = Route::builder("*", "/*")?
        .upstream(format!("wss://{address}").parse()?)
        .build()?;
    Ok(Routes::builder().route(route).build()?)
}

struct EchoServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Failure>>,
}

impl EchoServer {
    async fn start(tls: &Arc<ServerConfig>) -> Result<Self, Failure> {
        let server = builder(tls).bind("127.0.0.1:0").await?;
        let address = server.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serving = server
            .serve(|request| async move {
                let _open = Open::new();
                // The client reports how sockets end, so the result is ignored here.
                let _ = echo::handle(request).await;
            })
            .with_graceful_shutdown(async { drop(stopped.await) })
            .drain_timeout(DRAIN_TIMEOUT);
        let serving = tokio::spawn(async {
            serving.await?;
            Ok(())
        });
        Ok(Self {
            address,
            stop,
            serving,
        })
    }

    /// Begins a graceful shutdown, and returns the task that ends with it.
    fn shut_down(self) -> JoinHandle<Result<(), Failure>> {
        drop(self.stop);
        self.serving
    }
}

/// Counts a handler until it returns, or is dropped.
struct Open;

impl Open {
    fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

pub struct ServerProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Where it echoes.
    pub echo: SocketAddr,
    /// Where its bridge listens.
    pub bridge: SocketAddr,
}

impl ServerProcess {
    pub async fn start(cert: &str, key: &str) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", cert, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let line = stdout.next_line().await?;
        let line = line.ok_or("the server did not start")?;
        let (echo, bridge) = line.split_once(' ').ok_or("expected two addresses")?;
        Ok(Self {
            child,
            stdin,
            stdout,
            echo: echo.parse()?,
            bridge: bridge.parse()?,
        })
    }

    pub async fn usage(&mut self) -> Result<Usage, Failure> {
        self.ask("usage").await?.parse()
    }

    /// Starts another echo server, and drains the present one.
    pub async fn renew(&mut self) -> Result<(), Failure> {
        self.echo = self.ask("renew").await?.parse()?;
        Ok(())
    }

    async fn ask(&mut self, command: &str) -> Result<String, Failure> {
        use tokio::io::AsyncWriteExt;
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        let answer = self.stdout.next_line().await?;
        Ok(answer.ok_or("the server has exited")?)
    }

    /// Shuts the server down gracefully, and returns an error unless it exits successfully.
    pub async fn stop(mut self) -> Result<(), Failure> {
        drop(self.stdin);
        let status = self.child.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}
