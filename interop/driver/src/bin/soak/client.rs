//! The client's side: tasks that repeatedly open a socket, exchange messages and end the socket in
//! a random way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::handshake::DeflateConfig;
use h2ws::{Client, CloseCode, CloseFrame, HttpVersion, Message, WebSocket};
use interop_driver::Failure;
use interop_driver::messages::{self, Random};
use tokio::task::JoinSet;

/// A socket whose life takes longer counts as hung.
const LIFE_TIMEOUT: Duration = Duration::from_secs(60);

/// The counts of all sockets.
#[derive(Default)]
pub struct Tally {
    pub opened: usize,
    pub messages: usize,
    pub ends: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.messages += other.messages;
        for (end, times) in other.ends {
            *self.ends.entry(end).or_default() += times;
        }
    }

    fn end(&mut self, how: impl Into<String>) {
        *self.ends.entry(how.into()).or_default() += 1;
    }

    /// Returns the ends that are errors of the library.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self
            .ends
            .keys()
            .filter(|end| end.starts_with("WRONG"))
            .cloned()
            .collect();
        if self.opened == 0 || self.messages == 0 {
            wrong.push("no message was exchanged".into());
        }
        wrong
    }
}

/// A number of tasks, each of which has one socket at a time.
pub struct Slots {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Tally>,
}

impl Slots {
    /// Starts `count` tasks, whose sockets are opened at the URLs in turn.
    pub fn start(client: &Client, urls: &[String], count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let slot = Slot {
                client: client.clone(),
                url: urls[number % urls.len()].clone(),
                random: Random::new(number as u64),
                tally: Tally::default(),
            };
            tasks.spawn(slot.run(stop.clone()));
        }
        Self { stop, tasks }
    }

    /// Waits until each task has ended its present socket, and returns the counts.
    pub async fn stop(&mut self) -> Result<Tally, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        while let Some(done) = self.tasks.join_next().await {
            tally.add(done?);
        }
        Ok(tally)
    }
}

struct Slot {
    client: Client,
    url: String,
    random: Random,
    tally: Tally,
}

impl Slot {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Tally {
        while !stop.load(Ordering::Relaxed) {
            let pause = self.random.below(500) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let how = match tokio::time::timeout(LIFE_TIMEOUT, self.life()).await {
                Ok(Ok(how)) => how.to_owned(),
                // A connection that was cut. The error's text differs by port, so it is left out.
                Ok(Err(error)) if error.is_abnormal_closure() => "cut (1006)".into(),
                Ok(Err(error)) => format!(
                    "error: {}",
                    error.to_string().split(':').next().unwrap_or_default()
                ),
                Err(_) => format!("WRONG: a call hung for {LIFE_TIMEOUT:?}"),
            };
            self.tally.end(how);
        }
        self.tally
    }

    /// Opens a socket: one in sixteen over HTTP/1.1, and half of all with compression.
    async fn open(&mut self) -> Result<WebSocket, h2ws::Error> {
        let mut request = self.client.request(&self.url);
        if self.random.below(16) == 0 {
            request = request.version(HttpVersion::Http1);
        }
        request = request.deflate(match self.random.below(4) {
            0 => Some(DeflateConfig::default()),
            1 => Some(DeflateConfig::default().no_context_takeover()),
            _ => None,
        });
        request.connect().await
    }

    async fn life(&mut self) -> Result<&'static str, h2ws::Error> {
        let mut socket = self.open().await?;
        self.tally.opened += 1;
        for _ in 0..self.random.below(30) {
            let sent = messages::numbered(self.random.below(100_000));
            socket.send(sent.clone()).await?;
            match socket.next().await.transpose()? {
                Some(message) if message == sent => self.tally.messages += 1,
                Some(_) => return Ok("WRONG: another message came back"),
                None => return Ok("closed early by the server"),
            }
            let pause = self.random.below(200) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.end(socket).await
    }

    async fn end(&mut self, mut socket: WebSocket) -> Result<&'static str, h2ws::Error> {
        match self.random.below(5) {
            0 | 1 => {
                socket.close(CloseFrame::from(CloseCode::NORMAL)).await?;
                Ok("closed by the client")
            }
            2 => {
                let how = if self.random.below(2) == 0 {
                    "?close 4000 bye"
                } else {
                    "?abort"
                };
                socket.send(Message::text(how.to_owned())).await?;
                while let Some(message) = socket.next().await {
                    message?;
                }
                Ok("closed by the server")
            }
            3 => {
                // While messages are in transit in both directions.
                for number in 0..4 {
                    socket.feed(messages::numbered(number)).await?;
                }
                drop(socket);
                Ok("dropped by the client in the midst")
            }
            _ => {
                drop(socket);
                Ok("dropped by the client")
            }
        }
    }
}
