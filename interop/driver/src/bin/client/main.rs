//! An `h2ws::Client` that is controlled through stdin: `interop-client [OPTION…] CERT URL`.
//!
//! Options: `--subprotocol NAME`, `--deflate PARAMETERS` (see `interop_driver::deflate`), `--http1`
//! (instead of only HTTP/2), `--proxy URL`.
//!
//! Each line of stdin is a command. The program prints one line for each, an [`Outcome`]:
//!
//! - `open N`: opens N sockets concurrently and keeps them
//! - `echo`: echoes a message on each socket; `large BYTES`: one of that size; `talk N`: N messages
//!   of many sizes; `ask TEXT`: sends the text on each and prints the replies
//! - `close`: closes all sockets; `abort N`: drops N of them without a Close frame
//! - `chat`: echoes on each socket in the background, until the socket ends or `hush` stops all
//! - `ends`: waits until the peer has ended every socket, also those of `chat`, and prints how
//! - `row N`: opens, echoes on and closes N sockets, one after another
//! - `churn MILLISECONDS`: opens, echoes on and closes a socket at this interval, until `churned`

mod churn;
mod outcome;
mod sockets;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use h2ws::{Client, HttpVersion, Transport, WebSocket};
use interop_driver::{Failure, deflate, trusting};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

use churn::Churn;
use outcome::Outcome;
use sockets::Target;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut driver = Driver::new(std::env::args().skip(1))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(command) = lines.next_line().await? {
        println!("{}", driver.execute(&command).await?);
    }
    Ok(())
}

struct Driver {
    target: Target,
    sockets: Vec<WebSocket>,
    chats: Vec<JoinHandle<Result<WebSocket, (Transport, String)>>>,
    hush: Arc<AtomicBool>,
    churn: Option<Churn>,
}

impl Driver {
    fn new(mut args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut builder = Client::builder();
        let (mut version, mut subprotocol, mut plain) = (HttpVersion::Http2, None, Vec::new());
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--subprotocol" => subprotocol = Some(value()?),
                "--deflate" => builder = builder.deflate(deflate(&value()?)?),
                "--proxy" => builder = builder.proxy(&value()?),
                "--http1" => version = HttpVersion::Http1,
                _ => plain.push(arg),
            }
        }
        let [cert, url] = <[String; 2]>::try_from(plain).map_err(|_| "expected CERT URL")?;
        let client = builder
            .tls(trusting(&PathBuf::from(cert))?)
            .version(version)
            .build()?;
        Ok(Self {
            target: Target {
                client,
                url,
                subprotocol,
            },
            sockets: Vec::new(),
            chats: Vec::new(),
            hush: Arc::default(),
            churn: None,
        })
    }

    async fn execute(&mut self, command: &str) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match name {
            "open" => self.open(rest.parse()?, &mut outcome).await,
            "echo" => outcome.count_all(join_all(self.sockets.iter_mut().map(sockets::echo)).await),
            "large" => {
                let size = rest.parse()?;
                let sending = self
                    .sockets
                    .iter_mut()
                    .map(|socket| sockets::large(socket, size));
                outcome.count_all(join_all(sending).await);
            }
            "talk" => self.talk(rest.parse()?, &mut outcome).await,
            "ask" => self.ask(rest, &mut outcome).await,
            "close" => {
                outcome.count_all(join_all(self.sockets.drain(..).map(sockets::close)).await)
            }
            "abort" => {
                let count = self.sockets.len().min(rest.parse()?);
                for socket in self.sockets.drain(..count) {
                    outcome.count(Ok(socket.transport()));
                }
            }
            "row" => self.row(rest.parse()?, &mut outcome).await,
            "chat" => {
                for socket in self.sockets.drain(..) {
                    outcome.count(Ok(socket.transport()));
                    self.chats
                        .push(tokio::spawn(sockets::chat(socket, self.hush.clone())));
                }
            }
            "hush" => {
                self.hush.store(true, Ordering::Relaxed);
                self.chats_end(&mut outcome).await?;
                self.hush.store(false, Ordering::Relaxed);
            }
            "ends" => self.ends(&mut outcome).await?,
            "churn" => {
                let pause = Duration::from_millis(rest.parse()?);
                self.churn = Some(Churn::start(self.target.clone(), pause));
            }
            "churned" => {
                let churn = self.churn.take().ok_or("no churn to stop")?;
                churn.finish(&mut outcome).await?;
            }
            _ => return Err(format!("unknown command: {command}").into()),
        }
        Ok(outcome)
    }

    async fn open(&mut self, count: usize, outcome: &mut Outcome) {
        let target = &self.target;
        for result in join_all((0..count).map(|_| target.open())).await {
            outcome.count(result.map(|socket| {
                let transport = socket.transport();
                self.sockets.push(socket);
                transport
            }));
        }
    }

    async fn talk(&mut self, count: usize, outcome: &mut Outcome) {
        let talking = self
            .sockets
            .drain(..)
            .map(|socket| sockets::talk(socket, count));
        for result in join_all(talking).await {
            outcome.count(result.map(|socket| {
                let transport = socket.transport();
                self.sockets.push(socket);
                transport
            }));
        }
    }

    async fn ask(&mut self, text: &str, outcome: &mut Outcome) {
        for socket in &mut self.sockets {
            match sockets::ask(socket, text).await {
                Ok(answer) => {
                    outcome.count(Ok(socket.transport()));
                    outcome.record(answer);
                }
                Err(error) => outcome.count(Err(error)),
            }
        }
    }

    async fn row(&self, count: usize, outcome: &mut Outcome) {
        for _ in 0..count {
            let result = self.target.one().await;
            let failed = result.is_err();
            outcome.count(result);
            if failed {
                break;
            }
        }
    }

    async fn ends(&mut self, outcome: &mut Outcome) -> Result<(), Failure> {
        for (transport, end) in join_all(self.sockets.drain(..).map(sockets::end)).await {
            outcome.count(Ok(transport));
            outcome.record(end);
        }
        self.chats_end(outcome).await
    }

    async fn chats_end(&mut self, outcome: &mut Outcome) -> Result<(), Failure> {
        for chat in self.chats.drain(..) {
            match chat.await? {
                Ok(socket) => {
                    outcome.count(Ok(socket.transport()));
                    self.sockets.push(socket);
                }
                Err((transport, end)) => {
                    outcome.count(Ok(transport));
                    outcome.record(end);
                }
            }
        }
        Ok(())
    }
}
