//! The server process (`interop-soak --serve`), and the handle that controls it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2ws::{Http2Config, Server};
use interop_driver::{Failure, echo, identity};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::usage::Usage;

/// Streams per connection. The number is low, so that there are many connections and a cut one ends
/// few sockets.
const STREAMS: u32 = 100;

/// The number of handlers that have not returned.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Serves until stdin ends, and prints the resource usage for each line of it.
pub async fn run(cert: &Path, key: &Path, idle: Duration) -> Result<(), Failure> {
    let server = Server::builder()
        .tls(identity(cert, key)?)
        .http2(Http2Config::default().max_concurrent_streams(STREAMS))
        .idle_timeout(idle)
        .bind("127.0.0.1:0")
        .await?;
    println!("{}", server.local_addr()?);
    let commands = async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            println!("{}", Usage::now(OPEN.load(Ordering::Relaxed)).line());
        }
    };
    let serving = server.serve(|request| async move {
        OPEN.fetch_add(1, Ordering::Relaxed);
        // The client reports how sockets end, so the result is ignored here.
        let _ = echo::handle(request).await;
        OPEN.fetch_sub(1, Ordering::Relaxed);
    });
    serving.with_graceful_shutdown(commands).await?;
    Ok(())
}

pub struct ServerProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
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
        let address = stdout
            .next_line()
            .await?
            .ok_or("the server did not start")?
            .parse()?;
        Ok(Self {
            child,
            stdin,
            stdout,
            address,
        })
    }

    pub async fn usage(&mut self) -> Result<Usage, Failure> {
        use tokio::io::AsyncWriteExt;
        self.stdin.write_all(b"\n").await?;
        self.stdout
            .next_line()
            .await?
            .ok_or("the server has exited")?
            .parse()
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
