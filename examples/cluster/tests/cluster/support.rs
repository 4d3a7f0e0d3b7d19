//! Nodes in this process or in their own, and WebSockets that check what they receive.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use h2ws::socket::{WebSocketReader, WebSocketWriter};
use h2ws::{Client, HttpVersion};
use h2ws_example_cluster::engine::Address;
use h2ws_example_cluster::{Config, Node};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};

/// A node that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    ends: Ends,
}

enum Ends {
    Task(JoinHandle<()>),
    Process { _child: Child },
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ends::Task(task) = &self.ends {
            task.abort();
        }
    }
}

impl Running {
    /// Starts a node in this process.
    pub(crate) async fn here(engine: Address, config: Config) -> Self {
        let node = Node::bind("127.0.0.1:0", engine, config).await.unwrap();
        let addr = node.local_addr().unwrap();
        let task = tokio::spawn(async move {
            node.serve(std::future::pending()).await.unwrap();
        });
        Self {
            addr,
            ends: Ends::Task(task),
        }
    }

    /// Starts the program, which is killed on drop.
    pub(crate) async fn process(engine: &str, presence_seconds: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_h2ws-example-cluster"))
            .args(["127.0.0.1:0", engine, presence_seconds])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        within(stdout.read_line(&mut line)).await.unwrap();
        let (_, addr) = line.trim().rsplit_once('/').expect("an address");
        Self {
            addr: addr.parse().unwrap(),
            ends: Ends::Process { _child: child },
        }
    }

    /// Returns one of the node's metrics.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page = get(self.addr, "/metrics").await;
        let value = page.lines().find_map(|line| {
            let value = line.strip_prefix("cluster_")?.strip_prefix(name)?;
            value.strip_prefix(' ')
        });
        value
            .unwrap_or_else(|| panic!("no {name} in {page}"))
            .parse()
            .unwrap()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until(&self, name: &str, value: u64) {
        eventually(async || self.metric(name).await == value).await;
    }

    /// Opens WebSockets that subscribe to a topic, and waits until the node has all of them.
    pub(crate) async fn join(&self, topic: &str, prefix: &str, count: usize) -> Vec<Member> {
        let client = Client::builder()
            .version(HttpVersion::Http2)
            .build()
            .unwrap();
        let mut opening = JoinSet::new();
        for number in 0..count {
            let name = format!("{prefix}{number}");
            let url = format!("ws://{}/{topic}?{name}", self.addr);
            let client = client.clone();
            opening.spawn(async move {
                let (reader, writer) = within(client.connect(&url)).await.unwrap().split();
                Member {
                    name,
                    reader,
                    writer,
                    sent: 0,
                    next: HashMap::new(),
                }
            });
        }
        let mut members = opening.join_all().await;
        members.sort_by_key(|member| (member.name.len(), member.name.clone()));
        self.until("sockets", count as u64).await;
        members
    }
}

/// Returns the body of a page.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> String {
    let mut io = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    within(io.read_to_string(&mut response)).await.unwrap();
    response
}

/// A WebSocket that is subscribed to a topic. Its messages are its name and their number.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) reader: WebSocketReader,
    pub(crate) writer: WebSocketWriter,
    pub(crate) sent: u64,
    /// The number of each sender's next message.
    pub(crate) next: HashMap<String, u64>,
}

impl Member {
    pub(crate) async fn send(&mut self) {
        let text = format!("{} {}", self.name, self.sent);
        self.sent += 1;
        within(self.writer.send(text)).await.unwrap();
    }

    /// Receives a message, and returns how many of its sender's were left out before it.
    pub(crate) async fn receive(&mut self) -> u64 {
        let Some(Ok(message)) = self.reader.recv().await else {
            panic!("{} ended: {:?}", self.name, self.reader.close_frame());
        };
        let text = message.as_text().unwrap();
        let (sender, number) = text.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        let next = self.next.entry(sender.to_owned()).or_default();
        let left_out = number.checked_sub(*next);
        *next = number + 1;
        left_out.unwrap_or_else(|| panic!("{text:?} came again or late"))
    }

    /// Sends some messages while receiving others, each of which has to be its sender's next.
    async fn take_part(mut self, send: u64, receive: u64) -> Self {
        for _ in 0..send {
            self.send().await;
        }
        for _ in 0..receive {
            assert_eq!(within(self.receive()).await, 0);
        }
        self
    }

    /// Returns how many subscribers the topic has on all nodes, and their names.
    pub(crate) async fn who(&mut self) -> String {
        within(self.writer.send("?who")).await.unwrap();
        let message = within(self.reader.recv()).await.unwrap().unwrap();
        message.as_text().unwrap().to_owned()
    }
}

/// Lets the first `senders` of each group send `each` messages. All members of all groups have to
/// receive each message once, in its sender's order.
pub(crate) async fn converse(groups: &mut [&mut Vec<Member>], senders: usize, each: u64) {
    let receive = each * (senders * groups.len()) as u64;
    let mut tasks = Vec::new();
    for (number, group) in groups.iter_mut().enumerate() {
        for (place, member) in group.drain(..).enumerate() {
            let send = if place < senders { each } else { 0 };
            let task = tokio::spawn(member.take_part(send, receive));
            tasks.push((number, task));
        }
    }
    for (number, task) in tasks {
        groups[number].push(task.await.unwrap());
    }
}

pub(crate) async fn eventually(condition: impl AsyncFn() -> bool) {
    within(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Awaits the future for at most 60 seconds, and panics if it has not completed by then.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(60), future).await {
            Ok(output) => output,
            Err(_) => panic!("timed out at {caller}"),
        }
    }
}
