//! The network: hosts by address, and the connections between them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use h2ws::server::Listener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use crate::link::{End, link};
use crate::plan::{Cut, Event, Pace, Plan};
use crate::random::Random;
use crate::trace::Trace;

#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Inner>>);

struct Inner {
    seed: u64,
    pace: Pace,
    events: Vec<Event>,
    links: usize,
    hosts: HashMap<String, UnboundedSender<(End, SocketAddr)>>,
    random: Random,
    trace: Trace,
}

/// Accepts the connections to one host.
pub(crate) struct Host {
    address: SocketAddr,
    connections: UnboundedReceiver<(End, SocketAddr)>,
}

impl Network {
    pub(crate) fn new(plan: &Plan, trace: &Trace) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            seed: plan.seed,
            pace: plan.world.pace,
            events: plan.events.clone(),
            links: 0,
            hosts: HashMap::new(),
            random: Random::of(plan.seed, 1),
            trace: trace.clone(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listen(&self, address: &str) -> Host {
        let (sender, connections) = unbounded_channel();
        self.lock().hosts.insert(address.to_owned(), sender);
        let ip: IpAddr = address.parse().expect("an address");
        Host {
            address: SocketAddr::new(ip, 80),
            connections,
        }
    }

    /// Harms no connection that is made from now on.
    pub(crate) fn calms(&self) {
        self.lock().events.clear();
    }

    /// Connects to `host` as the machine with the address 10.0.1.`from`.
    pub(crate) async fn connect(self, host: String, from: u8) -> io::Result<End> {
        let (number, delay, refused) = {
            let mut inner = self.lock();
            let number = inner.links;
            inner.links += 1;
            let longest = inner.pace.delay + 1;
            let mut delay = inner.random.below(longest) as u64;
            let mut refused = false;
            for event in inner.events.clone() {
                match event {
                    Event::Refuse { link } if link == number => refused = true,
                    Event::Hang { link, milliseconds } if link == number => delay = milliseconds,
                    _ => continue,
                }
                inner.trace.harmed();
            }
            (number, delay, refused)
        };
        sleep(Duration::from_millis(delay)).await;
        let inner = self.lock();
        let cuts = inner.events.iter().filter_map(|event| match event {
            Event::Cut { link, cut } if *link == number => Some(*cut),
            _ => None,
        });
        let cuts: Vec<Cut> = cuts.collect();
        let to = inner.hosts.get(&host).filter(|_| !refused);
        let to = to.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = link(number, inner.seed, inner.pace, &cuts, &inner.trace);
        let peer = SocketAddr::from(([10, 0, 1, from], 1024 + number as u16));
        inner.trace.note(&[6, number as u64]);
        let sent = to.send((far, peer));
        // The end is dropped outside of the lock of this network.
        drop(inner);
        sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }
}

impl Listener for Host {
    type Io = End;

    async fn accept(&mut self) -> io::Result<(End, SocketAddr)> {
        match self.connections.recv().await {
            Some(accepted) => Ok(accepted),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
