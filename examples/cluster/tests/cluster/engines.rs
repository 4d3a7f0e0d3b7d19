//! With Redis and NATS, and each node a process. `.ci/run examples` runs these.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::scenarios::{TOPIC, an_engine_that_fails_for_a_while, two_nodes_of_which_one_is_killed};
use crate::support::{Running, eventually, get, within};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Redis,
    Nats,
}

/// A server of an engine, which can be killed and started again at the same port.
struct EngineServer {
    kind: Kind,
    port: u16,
    monitor: u16,
    child: Option<Child>,
}

impl EngineServer {
    async fn start(kind: Kind) -> Self {
        let mut server = Self {
            kind,
            port: free_port().await,
            monitor: free_port().await,
            child: None,
        };
        server.restart().await;
        server
    }

    fn url(&self) -> String {
        match self.kind {
            Kind::Redis => format!("redis://127.0.0.1:{}", self.port),
            Kind::Nats => format!("nats://127.0.0.1:{}", self.port),
        }
    }

    async fn restart(&mut self) {
        let (port, monitor) = (self.port.to_string(), self.monitor.to_string());
        let mut command = match self.kind {
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--port", &port]);
                command.args(["--save", "", "--appendonly", "no"]);
                command
            }
            Kind::Nats => {
                let mut command = Command::new("nats-server");
                command.args(["-a", "127.0.0.1", "-p", &port, "-m", &monitor]);
                command
            }
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{:?}: {error}", self.kind)));
        let addr = SocketAddr::from(([127, 0, 0, 1], self.port));
        eventually(async || TcpStream::connect(addr).await.is_ok()).await;
    }

    async fn kill(&mut self) {
        within(self.child.take().unwrap().kill()).await.unwrap();
    }

    /// Returns how many subscriptions to the topic the engine has.
    async fn subscriptions(&self) -> u64 {
        let channel = format!("h2ws-{TOPIC}");
        match self.kind {
            Kind::Redis => {
                let client = redis::Client::open(self.url()).unwrap();
                let config = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(None)
                    .set_response_timeout(None);
                let connecting = client.get_multiplexed_async_connection_with_config(&config);
                let mut connection = within(connecting).await.unwrap();
                let mut query = redis::cmd("PUBSUB");
                query.arg("NUMSUB").arg(channel);
                let counted = within(query.query_async(&mut connection)).await;
                let (_, count): (String, u64) = counted.unwrap();
                count
            }
            Kind::Nats => {
                let monitor = SocketAddr::from(([127, 0, 0, 1], self.monitor));
                let connections = get(monitor, "/connz?subs=1").await;
                connections.matches(&format!("\"{channel}\"")).count() as u64
            }
        }
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn a_thousand_sockets_on_each_node(kind: Kind) {
    let server = EngineServer::start(kind).await;
    let a = Running::process(&server.url(), "1").await;
    let b = Running::process(&server.url(), "1").await;
    let counting = async {
        // Once both have joined, and for as long as they are.
        eventually(async || server.subscriptions().await == 2).await;
        loop {
            assert!(server.subscriptions().await <= 2);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = two_nodes_of_which_one_is_killed(&a, b, 1000) => {}
        () = counting => unreachable!("it counts forever"),
    }
    assert_eq!(server.subscriptions().await, 1);
}

async fn killed_in_the_midst(kind: Kind) {
    let server = EngineServer::start(kind).await;
    let a = Running::process(&server.url(), "1").await;
    let b = Running::process(&server.url(), "1").await;
    let server = tokio::sync::Mutex::new(server);
    let kill = async || {
        server.lock().await.kill().await;
        a.until("engine_up", 0).await;
        b.until("engine_up", 0).await;
    };
    let restart = async || server.lock().await.restart().await;
    // More than the queue holds.
    an_engine_that_fails_for_a_while(&a, &b, 2000, kill, restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn redis_connects_a_thousand_sockets_on_each_of_two_nodes() {
    a_thousand_sockets_on_each_node(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn nats_connects_a_thousand_sockets_on_each_of_two_nodes() {
    a_thousand_sockets_on_each_node(Kind::Nats).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn redis_is_killed_in_the_midst() {
    killed_in_the_midst(Kind::Redis).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn nats_is_killed_in_the_midst() {
    killed_in_the_midst(Kind::Nats).await;
}
