//! How the hosts of a run are configured, and what the servers' handlers do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use h2ws::bridge::{BridgeLimits, HeaderRules, Route, Routes, Upstream};
use h2ws::config::ProcessBuffer;
use h2ws::http::StatusCode;
use h2ws::server::WebSocketRequest;
use h2ws::{Client, Http2Config, HttpVersion, Limits, WebSocketConfig};
use tokio::time::sleep;

use crate::network::Network;
use crate::plan::{Answer, Plan};
use crate::talk::{Outcome, talk};

/// Longer than any run.
const LONG: Duration = Duration::from_secs(600);

pub(crate) fn http2_config(plan: &Plan, buffer: &ProcessBuffer) -> Http2Config {
    Http2Config::default()
        .stream_window(plan.world.stream_window)
        .connection_window(plan.world.connection_window)
        .write_buffer(plan.world.write_buffer)
        .max_concurrent_streams(plan.world.max_streams)
        .process_buffer(buffer.clone())
}

/// Undisturbed sockets have all the time that they need, so that a time limit does not hide that
/// they wait for nothing.
pub(crate) fn socket_config(plan: &Plan) -> WebSocketConfig {
    let limits = Limits::default().fragment_size(plan.world.fragment);
    let config = WebSocketConfig::default()
        .limits(limits)
        .write_buffer(plan.world.write_buffer)
        .control_messages(plan.world.control_messages);
    if plan.is_harmed() {
        config
    } else {
        config.close_timeout(LONG).linger(LONG)
    }
}

/// Creates the client on the machine `from`.
pub(crate) fn client(
    plan: &Plan,
    network: &Network,
    buffer: &ProcessBuffer,
    version: HttpVersion,
    from: u8,
) -> Client {
    let network = network.clone();
    Client::builder()
        .version(version)
        .http2(http2_config(plan, buffer))
        .socket(socket_config(plan))
        .deflate(plan.world.deflate.then(Default::default))
        .max_connections(plan.world.max_connections)
        .connector(move |target| network.clone().connect(target.host().to_owned(), from))
        .build()
        .expect("valid settings")
}

/// The routes of the bridge, to one of the servers.
pub(crate) fn routes(plan: &Plan, version: HttpVersion, server: &str) -> Routes {
    let upstream: Upstream = format!("ws://{server}").parse().expect("a URL");
    let route = Route::builder("*", "/*").expect("a pattern");
    // Its value is from the real clock, and its size on the wire depends on the one before.
    let no_date = HeaderRules::default().remove("date").expect("a name");
    // Request IDs are random, and with Huffman coding their size on the wire is too.
    let route = route.upstream(upstream.version(version)).request_id(None);
    let route = route.response_headers(no_date).build();
    Routes::builder()
        .limits(BridgeLimits::default().max_sockets(plan.world.max_bridged))
        .route(route.expect("a route"))
        .build()
        .expect("one route")
}

/// What the handlers of the servers share.
#[derive(Default)]
pub(crate) struct Handled(Mutex<State>);

#[derive(Default)]
struct State {
    outcomes: HashMap<usize, Outcome>,
    running: usize,
    /// Sockets that are open and not being closed, and the most that were at a time.
    open: HashSet<usize>,
    most: usize,
}

/// Counts a handler while it runs, even if the server drops it.
struct Counted<'a>(&'a Handled);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Handled {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn running(&self) -> usize {
        self.lock().running
    }

    pub(crate) fn most(&self) -> usize {
        self.lock().most
    }

    pub(crate) fn outcomes(&self) -> HashMap<usize, Outcome> {
        std::mem::take(&mut self.lock().outcomes)
    }
}

pub(crate) async fn handle(request: WebSocketRequest, plan: Arc<Plan>, handled: Arc<Handled>) {
    handled.lock().running += 1;
    let _counted = Counted(&handled);
    let id = request.path()[1..].parse::<usize>();
    let socket = |id| plan.sockets.iter().find(|socket| socket.id == id);
    let Some(socket) = id.ok().and_then(socket) else {
        return echo(request).await;
    };
    match socket.answer {
        Answer::Accept(after) => sleep(Duration::from_millis(after)).await,
        Answer::Reject => return request.reject(StatusCode::FORBIDDEN),
        Answer::Drop => return,
    }
    let Ok(accepted) = request.accept().await else {
        return;
    };
    {
        let mut state = handled.lock();
        state.open.insert(socket.id);
        state.most = state.most.max(state.open.len());
        // In case that it never ends.
        state.outcomes.insert(socket.id, Outcome::default());
    }
    let on_close = || {
        handled.lock().open.remove(&socket.id);
    };
    let outcome = talk(accepted, socket, true, plan.seed, &on_close).await;
    on_close();
    handled.lock().outcomes.insert(socket.id, outcome);
}

async fn echo(request: WebSocketRequest) {
    let Ok(mut socket) = request.accept().await else {
        return;
    };
    while let Some(Ok(message)) = socket.recv().await {
        if message.is_text() && socket.feed(message).await.is_err() {
            break;
        }
    }
}
