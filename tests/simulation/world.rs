//! One run: client, server and, in some, a bridge on one thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use h2ws::bridge::Bridge;
use h2ws::config::ProcessBuffer;
use h2ws::server::{Serve, ServerBuilder, ShutdownReport};
use h2ws::{Client, HttpVersion, Server};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::hosts::{Handled, client, handle, http2_config, routes, socket_config};
use crate::invariants::Ended;
use crate::network::Network;
use crate::plan::{Event, Plan, SocketPlan};
use crate::talk::{Outcome, talk};
use crate::trace::Trace;

const SERVER: &str = "10.0.0.1";
const OTHER_SERVER: &str = "10.0.0.2";
const BRIDGE: &str = "10.0.0.3";

/// No undisturbed run takes so long, and no keep-alive PING is due before. A PING would hide a
/// wake-up that was lost.
const CALM: Duration = Duration::from_secs(25);

/// The longest that anything may take after the worst that a plan has.
const WORST: Duration = Duration::from_secs(3_000);

pub(crate) struct World {
    plan: Arc<Plan>,
    trace: Trace,
    network: Network,
    buffer: ProcessBuffer,
    handled: Arc<Handled>,
    servers: Vec<Running>,
    bridge: Option<Bridge>,
    client: Client,
}

/// A server, or the bridge's.
struct Running {
    name: &'static str,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<ShutdownReport>>,
}

impl World {
    pub(crate) fn new(plan: &Arc<Plan>, trace: &Trace) -> Self {
        let network = Network::new(plan, trace);
        let buffer = ProcessBuffer::new(usize::MAX);
        let handled = Arc::new(Handled::default());
        let mut world = Self {
            client: client(plan, &network, &buffer, plan.world.version, 1),
            plan: plan.clone(),
            trace: trace.clone(),
            network,
            buffer,
            handled,
            servers: Vec::new(),
            bridge: None,
        };
        world.serve(SERVER);
        if let Some(version) = plan.world.bridge {
            world.serve(OTHER_SERVER);
            world.start_bridge(version);
        }
        world
    }

    fn server(&self) -> ServerBuilder {
        let plan = &self.plan;
        let deflate = plan.world.deflate.then(Default::default);
        Server::builder()
            .http2(http2_config(plan, &self.buffer))
            .socket(socket_config(plan))
            .deflate(deflate)
            .max_connections(plan.world.max_accepted)
    }

    fn serve(&mut self, host: &'static str) {
        let listener = self.network.listen(host);
        let server = self.server().listener(listener).expect("valid settings");
        let (plan, handled) = (self.plan.clone(), self.handled.clone());
        let handler = move |request| handle(request, plan.clone(), handled.clone());
        self.run(host, server.serve(handler));
    }

    fn run(&mut self, name: &'static str, serve: Serve) {
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = serve.drain_timeout(WORST).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        self.servers.push(Running {
            name,
            stop: Some(stop),
            task: tokio::spawn(serve.into_future()),
        });
    }

    fn start_bridge(&mut self, version: HttpVersion) {
        let client = client(&self.plan, &self.network, &self.buffer, version, 2);
        let bridge = Bridge::new(client, routes(&self.plan, version, SERVER));
        let listener = self.network.listen(BRIDGE);
        let server = self.server().listener(listener).expect("valid settings");
        self.run(BRIDGE, server.serve(bridge.handler()));
        self.bridge = Some(bridge);
    }

    fn url(&self, path: impl std::fmt::Display) -> String {
        let host = if self.bridge.is_some() {
            BRIDGE
        } else {
            SERVER
        };
        format!("ws://{host}/{path}")
    }

    fn deadline(&self) -> Duration {
        if self.plan.is_harmed() { WORST } else { CALM }
    }

    /// Waits until `is_true`, or reports that it never was.
    async fn until(&self, what: &str, is_true: impl Fn() -> bool) {
        let limit = Instant::now() + self.deadline();
        let mut pause = 1;
        while !is_true() {
            if Instant::now() > limit {
                return self.trace.violation(format!("never: {what}"));
            }
            sleep(Duration::from_millis(pause)).await;
            pause = (pause * 2).min(1_000);
        }
    }

    /// Waits for a call that has to end.
    async fn ends<T>(&self, what: &str, call: impl Future<Output = T>) -> Option<T> {
        let ended = timeout(self.deadline(), call).await;
        if ended.is_err() {
            self.trace.violation(format!("never ended: {what}"));
        }
        ended.ok()
    }

    pub(crate) async fn run_to_the_end(mut self) -> Option<Ended> {
        let sockets = self.plan.sockets.iter();
        let sockets: Vec<_> = sockets.map(|socket| self.open(socket)).collect();
        self.cause_events();
        let mut client_ends = HashMap::new();
        for (socket, task) in self.plan.sockets.clone().iter().zip(sockets) {
            let what = format!("socket {} of the client", socket.id);
            match self.ends(&what, task).await {
                Some(Ok(outcome)) => drop(client_ends.insert(socket.id, outcome)),
                Some(Err(error)) => self.trace.violation(format!("{what}: {error}")),
                None => return None,
            }
        }
        let handled = self.handled.clone();
        self.until("the end of all handlers", || handled.running() == 0)
            .await;
        let slots = "the end of all streams of the client";
        self.until(slots, || is_unused(&self.client)).await;
        if self.bridge.is_some() {
            let clients = self
                .bridge
                .as_ref()
                .map(Bridge::clients)
                .unwrap_or_default();
            let slots = "the end of all streams of the bridge";
            self.until(slots, || clients.iter().all(is_unused)).await;
        }
        if let Some(bridge) = &self.bridge {
            self.ends("the sockets of the bridge", bridge.idle()).await;
        }
        if !self.plan.drains() {
            self.network.calms();
            self.probe().await;
        }
        let mut ended = Ended {
            plan: self.plan.clone(),
            client: client_ends,
            server: HashMap::new(),
            harmed: self.trace.is_harmed(),
            most: self.handled.most(),
            trace: self.trace.hash(),
        };
        let handled = self.handled.clone();
        self.shut_down().await;
        // Not before: a request that was given up may still be on its way to the server.
        ended.server = handled.outcomes();
        Some(ended)
    }

    /// Opens a socket and carries out its plan.
    fn open(&self, socket: &SocketPlan) -> JoinHandle<Outcome> {
        let (client, url, seed) = (self.client.clone(), self.url(socket.id), self.plan.seed);
        let socket = socket.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(socket.start)).await;
            let connecting = client.connect(&url);
            let connected = match socket.gives_up {
                None => connecting.await,
                Some(after) => match timeout(Duration::from_millis(after), connecting).await {
                    Ok(connected) => connected,
                    Err(_) => return Outcome::default(),
                },
            };
            match connected {
                Ok(opened) => talk(opened, &socket, false, seed, &|| {}).await,
                Err(error) => Outcome {
                    end: Some(Err(error)),
                    ..Outcome::default()
                },
            }
        })
    }

    fn cause_events(&mut self) {
        for event in self.plan.events.clone() {
            match event {
                Event::Drain { bridge, at } => {
                    let of = |running: &&mut Running| (running.name == BRIDGE) == bridge;
                    for running in self.servers.iter_mut().filter(of) {
                        let Some(stop) = running.stop.take() else {
                            continue;
                        };
                        tokio::spawn(async move {
                            sleep(Duration::from_millis(at)).await;
                            let _ = stop.send(());
                        });
                    }
                }
                Event::Reload { at } => {
                    let (bridge, plan) = (self.bridge.clone(), self.plan.clone());
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(at)).await;
                        if let (Some(bridge), Some(version)) = (bridge, plan.world.bridge) {
                            bridge.replace(routes(&plan, version, OTHER_SERVER));
                        }
                    });
                }
                Event::Jump { at, seconds } => {
                    let trace = self.trace.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(at)).await;
                        trace.harmed();
                        advance(Duration::from_secs(seconds)).await;
                    });
                }
                Event::Cut { .. } | Event::Refuse { .. } | Event::Hang { .. } => {}
            }
        }
    }

    /// After whatever has happened, as many sockets can be open as before.
    async fn probe(&self) {
        let world = &self.plan.world;
        let limits = [world.max_streams as usize, world.max_connections];
        let few = limits.contains(&1) || world.max_accepted == 1 || world.max_bridged == 1;
        let sockets = if few { 1 } else { 2 };
        for attempt in 1..=20 {
            match self
                .ends("sockets after the run", self.try_sockets(sockets))
                .await
            {
                Some(Err(error)) if attempt == 20 || !self.may_fail() => {
                    let what = format!("no sockets after the run: {error:?}");
                    return self.trace.violation(what);
                }
                Some(Err(_)) => sleep(Duration::from_secs(20)).await,
                Some(Ok(())) | None => break,
            }
        }
    }

    /// Whether a connection may fail at first. At its limit a server closes unused ones, and one
    /// whose request has not arrived yet is such a one. A request that was given up counts until
    /// its reset arrives.
    fn may_fail(&self) -> bool {
        let gives_up = self
            .plan
            .sockets
            .iter()
            .any(|socket| socket.gives_up.is_some());
        self.trace.is_harmed() || self.plan.world.max_accepted < 10 || gives_up
    }

    /// Opens sockets that are all open at once, and uses each.
    async fn try_sockets(&self, count: usize) -> Result<(), h2ws::Error> {
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(self.client.connect(&self.url("echo")).await?);
        }
        for socket in &mut sockets {
            socket.send("still there?").await?;
            socket.recv().await.transpose()?;
        }
        for mut socket in sockets {
            socket.close(None).await?;
        }
        Ok(())
    }

    /// Shuts everything down, and checks that nothing is left of it.
    async fn shut_down(mut self) {
        self.ends("the shutdown of the client", self.client.shutdown())
            .await;
        // From the front to the back: the bridge closes its upstream's sockets.
        while let Some(mut running) = self.servers.pop() {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(());
            }
            let what = format!("the shutdown of {}", running.name);
            match self.ends(&what, running.task).await {
                Some(Ok(Ok(_))) if self.trace.is_harmed() => {}
                Some(Ok(Ok(report))) if report == ShutdownReport::default() => {}
                Some(other) => self.trace.violation(format!("{what}: {other:?}")),
                None => {}
            }
            if running.name == BRIDGE
                && let Some(bridge) = self.bridge.take()
            {
                self.ends("the last of the bridge", bridge.idle()).await;
                for client in bridge.clients() {
                    self.ends("the bridge's client", client.shutdown()).await;
                }
            }
        }
        let Self {
            trace,
            network,
            buffer,
            client,
            ..
        } = self;
        drop((client, network));
        let limit = Instant::now() + WORST;
        let tasks = || Handle::current().metrics().num_alive_tasks();
        while tasks() > 0 || trace.open_ends() > 0 {
            if Instant::now() > limit {
                let (tasks, ends) = (tasks(), trace.open_ends());
                trace.violation(format!(
                    "{tasks} tasks and {ends} ends of connections are left"
                ));
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        if buffer.held() > 0 {
            trace.violation(format!("{} bytes of the buffer are held", buffer.held()));
        }
    }
}

/// Whether no stream of the client's connections is open.
fn is_unused(client: &Client) -> bool {
    let connections = client.connections();
    connections
        .iter()
        .all(|connection| connection.streams_open == 0)
}
