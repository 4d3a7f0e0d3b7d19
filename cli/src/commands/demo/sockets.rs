//! The WebSockets of the demo, and what is measured of them.
//!
//! | clock | from | to |
//! |---|---|---|
//! | `open_time` | before the first request, and so before TCP and TLS | the last answer; later ones wait |
//! | `talk_time` | before the first message | the last echo |

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use h2ws::{Client, CloseCode, Message};
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};

use super::super::process;
use crate::args::DemoArgs;
use crate::error::{Failure, with_causes};
use crate::progress::{Count, Progress};

/// Counts echoes, and aborts the server after `--cut-after` of them.
pub(super) struct EchoCounter {
    echoes: Count,
    cut_after: Option<u64>,
    server: JoinHandle<()>,
}

impl EchoCounter {
    pub(super) fn new(cut_after: Option<u64>, server: JoinHandle<()>) -> Arc<Self> {
        Arc::new(Self {
            echoes: Count::default(),
            cut_after,
            server,
        })
    }

    fn echo(&self) {
        let echoes = self.echoes.increment();
        if self.cut_after == Some(echoes) {
            self.server.abort();
        }
    }
}

/// What was measured.
pub(super) struct Outcome {
    pub(super) opened: u32,
    pub(super) over_http2: u32,
    pub(super) echoes: u64,
    pub(super) open_time: Duration,
    /// Time from the first message to the last echo.
    pub(super) talk_time: Duration,
    /// The longest time that one WebSocket took for all of its messages.
    pub(super) slowest: Duration,
    /// Memory that the open WebSockets take in client, bridge and backend together.
    pub(super) memory_kib: Option<u64>,
    /// The first error, and the number of WebSockets that failed.
    pub(super) failure: Option<(String, u32)>,
}

/// Opens all WebSockets, starts the messages once all are open, and closes them.
pub(super) async fn run(
    args: &DemoArgs,
    client: &Client,
    url: &str,
    counter: &Arc<EchoCounter>,
) -> Result<Outcome, Failure> {
    let barrier = Arc::new(Barrier::new(args.sockets as usize + 1));
    let payload = Message::text("x".repeat(args.size as usize));
    let before = process::resident_kib(None);
    let began = Instant::now();
    let total = u64::from(args.sockets);
    let (progress, opened) = Progress::count(!args.json, "opening".to_owned(), total);
    let mut tasks = JoinSet::new();
    for _ in 0..args.sockets {
        let socket = OneSocket {
            client: client.clone(),
            url: url.to_owned(),
            messages: args.messages,
            payload: payload.clone(),
            barrier: barrier.clone(),
            opened: opened.clone(),
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
    drop(progress);
    let total = total * u64::from(args.messages);
    let progress = Progress::follow(!args.json, "echoing".to_owned(), total, &counter.echoes);
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
    drop(progress);
    Ok(outcome)
}

struct OneSocket {
    client: Client,
    url: String,
    messages: u32,
    payload: Message,
    barrier: Arc<Barrier>,
    opened: Count,
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
        self.opened.increment();
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
