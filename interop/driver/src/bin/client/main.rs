//! One `h2ws::Client` under orders: `interop-client [OPTION…] CERT URL`.
//!
//! Options: `--subprotocol NAME`, `--deflate PARAMETERS` (see `interop_driver::deflate`), `--http1`
//! (otherwise HTTP/2 alone), `--proxy URL`.
//!
//! Each line of stdin is an order, and is answered by one line, an [`Outcome`]:
//!
//! - `open N`: opens so many sockets at once and keeps them
//! - `echo`: a message on each of them and back; `large BYTES`: one of that size;
//!   `talk N`: so many of many sizes; `ask TEXT`: says what was answered
//! - `close`: closes them all; `abort N`: drops so many without a word
//! - `ends`: waits until the peer has ended every one, and says how; what `chat` began too
//! - `chat`: each of them echoes without a pause in the background until it ends, or all are told
//!   to `hush`
//! - `row N`: opens, echoes on and closes one socket after another
//! - `churn MILLISECONDS`: begins to open, echo and close a socket every so often; `churned`: stops

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
use sockets::Goal;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut driver = Driver::new(std::env::args().skip(1))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = lines.next_line().await? {
        println!("{}", driver.obey(&order).await?);
    }
    Ok(())
}

struct Driver {
    goal: Goal,
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
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--subprotocol" => subprotocol = Some(value()?),
                "--deflate" => builder = builder.deflate(deflate(&value()?)?),
                "--proxy" => builder = builder.proxy(&value()?),
                "--http1" => version = HttpVersion::Http1,
                _ => plain.push(arg),
            }
        }
        let [cert, url] = <[String; 2]>::try_from(plain).map_err(|_| "wanted CERT URL")?;
        let client = builder
            .tls(trusting(&PathBuf::from(cert))?)
            .version(version)
            .build()?;
        Ok(Self {
            goal: Goal {
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

    async fn obey(&mut self, order: &str) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
        match verb {
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
                self.churn = Some(Churn::start(self.goal.clone(), pause));
            }
            "churned" => {
                let churn = self.churn.take().ok_or("nothing to stop")?;
                churn.finish(&mut outcome).await?;
            }
            _ => return Err(format!("no such order: {order}").into()),
        }
        Ok(outcome)
    }

    async fn open(&mut self, count: usize, outcome: &mut Outcome) {
        let goal = &self.goal;
        for result in join_all((0..count).map(|_| goal.open())).await {
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
                    outcome.say(answer);
                }
                Err(error) => outcome.count(Err(error)),
            }
        }
    }

    async fn row(&self, count: usize, outcome: &mut Outcome) {
        for _ in 0..count {
            let result = self.goal.one().await;
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
            outcome.say(end);
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
                    outcome.say(end);
                }
            }
        }
        Ok(())
    }
}
