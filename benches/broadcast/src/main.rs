//! Measures sending one message to many sockets: prepared once, compared with sent to each.
//!
//! The clients run in a separate process. Both methods alternate on the same sockets, and a round
//! ends when every client has received its message.

mod sink;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use h2ws::broadcast::{Broadcast, LagPolicy};
use h2ws::frame::PreparedMessage;
use h2ws::handshake::DeflateConfig;
use h2ws::server::WebSocketRequest;
use h2ws::socket::WebSocketWriter;
use h2ws::{Http2Config, Message, Server};
use tokio::sync::mpsc;

const USAGE: &str = "\
h2ws-broadcast [--sockets N] [--per-connection N] [--bytes N,N,…] [--rounds N]

  --sockets N          open sockets (100000)
  --per-connection N   of them on one HTTP/2 connection (1000)
  --bytes N,N,…        lengths of the messages, JSON (64,1000,16000)
  --rounds N           rounds of each way, in turns (5)

Every length is sent without and with permessage-deflate (no context takeover).";

struct Args {
    sockets: u32,
    per_connection: u32,
    bytes: Vec<usize>,
    rounds: usize,
}

fn args() -> Option<Args> {
    let mut parsed = Args {
        sockets: 100_000,
        per_connection: 1000,
        bytes: vec![64, 1000, 16_000],
        rounds: 5,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next()?;
        match &*name {
            "--sockets" => parsed.sockets = value.parse().ok()?,
            "--per-connection" => parsed.per_connection = value.parse().ok()?,
            "--bytes" => {
                let bytes: Result<_, _> = value.split(',').map(str::parse).collect();
                parsed.bytes = bytes.ok()?;
            }
            "--rounds" => parsed.rounds = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(parsed)
}

fn main() {
    let all: Vec<String> = std::env::args().skip(1).collect();
    if all.first().is_some_and(|first| first == "sink") {
        return sink::run(&all[1..]).expect("ADDRESS CONNECTIONS SOCKETS DEFLATE");
    }
    let Some(args) = args() else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    println!(
        "| bytes | deflate | way | deliveries/s | server CPU, µs each | resident, MB | compressed |"
    );
    println!("|--:|---|---|--:|--:|--:|--:|");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for deflate in [false, true] {
        runtime.block_on(measure(&args, deflate));
    }
}

/// The process of the clients, which reports when messages have arrived.
struct Clients {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    expected: u64,
    compressed: u64,
}

impl Clients {
    fn start(address: std::net::SocketAddr, args: &Args, deflate: bool) -> Self {
        let program = std::env::current_exe().expect("a path");
        let connections = args.sockets.div_ceil(args.per_connection);
        let mut child = Command::new(program)
            .args(["sink", &address.to_string()])
            .args([connections, args.per_connection].map(|n| n.to_string()))
            .arg(deflate.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        Self {
            input: child.stdin.take().expect("piped"),
            output: BufReader::new(child.stdout.take().expect("piped")),
            child,
            expected: 0,
            compressed: 0,
        }
    }

    /// Waits for the clients' next report, and returns how many messages were compressed since the
    /// last.
    fn next_report(&mut self) -> u64 {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("the clients are running");
        let compressed = line.trim().parse().expect("a number");
        compressed - std::mem::replace(&mut self.compressed, compressed)
    }

    fn wait_for(&mut self, messages: usize) -> u64 {
        self.expected += messages as u64;
        writeln!(self.input, "{}", self.expected).expect("the clients are running");
        tokio::task::block_in_place(|| self.next_report())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cost of a method over all of its rounds.
#[derive(Default)]
struct Cost {
    time: Duration,
    cpu: Duration,
    resident: u64,
    compressed: u64,
}

async fn measure(args: &Args, deflate: bool) {
    let (sender, mut opened) = mpsc::unbounded_channel();
    let config = deflate.then(|| DeflateConfig::default().no_context_takeover());
    let server = Server::builder()
        .http2(Http2Config::default().max_concurrent_streams(args.per_connection))
        .deflate(config)
        .bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = server.local_addr().expect("an address");
    let serving = server.serve(move |request: WebSocketRequest| {
        let sender = sender.clone();
        async move {
            let Ok(socket) = request.accept().await else {
                return;
            };
            let (mut reader, writer) = socket.split();
            let _ = sender.send(writer);
            while reader.next().await.is_some() {}
        }
    });
    let serving = tokio::spawn(serving.into_future());
    let mut clients = Clients::start(address, args, deflate);
    let mut sockets = Vec::new();
    let count = args.sockets.div_ceil(args.per_connection) * args.per_connection;
    while sockets.len() < count as usize {
        sockets.push(opened.recv().await.expect("the server runs"));
    }
    tokio::task::block_in_place(|| clients.next_report());
    for bytes in &args.bytes {
        let message = json(*bytes);
        // Warms up: both processes allocate buffers of this size.
        sockets = prepared(sockets, &message, &mut clients, &mut Cost::default()).await;
        let (mut each, mut once) = (Cost::default(), Cost::default());
        for _ in 0..args.rounds {
            sockets = to_each(sockets, &message, &mut clients, &mut each).await;
            sockets = prepared(sockets, &message, &mut clients, &mut once).await;
        }
        let deliveries = sockets.len() * args.rounds;
        row(*bytes, deflate, "each", deliveries, &each);
        row(*bytes, deflate, "prepared", deliveries, &once);
        let by_time = each.time.as_secs_f64() / once.time.as_secs_f64();
        let by_cpu = each.cpu.as_secs_f64() / once.cpu.as_secs_f64();
        println!("| | | **ratio** | **{by_time:.2}** | **{by_cpu:.2}** | | |");
    }
    drop(clients);
    serving.abort();
}

fn row(bytes: usize, deflate: bool, way: &str, deliveries: usize, cost: &Cost) {
    let rate = deliveries as f64 / cost.time.as_secs_f64();
    let cpu = cost.cpu.as_secs_f64() * 1e6 / deliveries as f64;
    println!(
        "| {bytes} | {deflate} | {way} | {rate:.0} | {cpu:.2} | {} | {} |",
        cost.resident >> 20,
        cost.compressed
    );
}

async fn to_each(
    mut sockets: Vec<WebSocketWriter>,
    text: &str,
    clients: &mut Clients,
    cost: &mut Cost,
) -> Vec<WebSocketWriter> {
    let message = Message::text(text.to_owned());
    let (start, cpu) = (Instant::now(), cpu());
    for socket in &mut sockets {
        socket.send(message.clone()).await.expect("open");
    }
    let compressed = clients.wait_for(sockets.len());
    cost.add(start, cpu, compressed);
    sockets
}

async fn prepared(
    sockets: Vec<WebSocketWriter>,
    text: &str,
    clients: &mut Clients,
    cost: &mut Cost,
) -> Vec<WebSocketWriter> {
    let mut group = Broadcast::new(LagPolicy::Wait);
    let members: Vec<_> = sockets.into_iter().map(|s| group.join(s)).collect();
    let (start, cpu) = (Instant::now(), cpu());
    let message = PreparedMessage::new(Message::text(text.to_owned())).expect("short");
    let delivery = group.send(&message).await;
    assert_eq!(delivery.sent, members.len(), "{:?}", delivery.left.first());
    let compressed = clients.wait_for(members.len());
    cost.add(start, cpu, compressed);
    let left = members.into_iter().map(|member| group.leave(member));
    left.map(|socket| socket.expect("a member")).collect()
}

impl Cost {
    fn add(&mut self, start: Instant, before: Duration, compressed: u64) {
        self.time += start.elapsed();
        self.cpu += cpu().saturating_sub(before);
        self.resident = self.resident.max(resident());
        self.compressed += compressed;
    }
}

/// Returns JSON like that of stock quotes, cut to this length.
fn json(bytes: usize) -> String {
    let mut text = String::from("[");
    for n in 0u32.. {
        let price = n.wrapping_mul(2_654_435_761) % 100_000;
        text += &format!(r#"{{"symbol":"S{n}","price":{price},"side":"buy"}},"#);
        if text.len() >= bytes {
            break;
        }
    }
    text.truncate(bytes);
    text
}

/// Returns this process's CPU time, user and system, which the kernel reports in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("a name");
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|f| f.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Returns this process's resident memory in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).expect("pages");
    pages.parse::<u64>().expect("pages") * 4096
}
