//! What must be true of the sockets of a run, however it went.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use h2ws::{CloseCode, Error};

use crate::plan::{Answer, Ending, Plan, SocketPlan, Way};
use crate::talk::{Outcome, own_code};

/// How the sockets of a run ended.
pub(crate) struct Ended {
    pub(crate) plan: Arc<Plan>,
    pub(crate) client: HashMap<usize, Outcome>,
    pub(crate) server: HashMap<usize, Outcome>,
    /// Whether the network or the clock did what may break a socket.
    pub(crate) harmed: bool,
    /// The most sockets that were open at the servers at a time.
    pub(crate) most: usize,
    /// A hash of all events before the shutdown, and their number.
    pub(crate) trace: (u64, u64),
}

impl Ended {
    /// Describes each broken invariant.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for socket in &self.plan.sockets {
            let Some(client) = self.client.get(&socket.id) else {
                continue;
            };
            let server = self.server.get(&socket.id);
            for what in self.of_socket(socket, client, server) {
                found.push(format!(
                    "{what}\n  client: {client:?}\n  server: {server:?}\n  of {socket:?}"
                ));
            }
        }
        let world = &self.plan.world;
        // The bridge is done with a socket that broke before the server hears of it.
        let breaks =
            |plan: &SocketPlan| matches!(plan.end, Ending::Drops { .. }) || plan.gives_up.is_some();
        let broke = self.harmed || self.plan.drains() || self.plan.sockets.iter().any(breaks);
        if world.bridge.is_some() && !broke && self.most > world.max_bridged {
            found.push(format!("{} sockets through the bridge", self.most));
        }
        found
    }

    fn of_socket(
        &self,
        plan: &SocketPlan,
        client: &Outcome,
        server: Option<&Outcome>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let drains = self.plan.drains();
        if !self.harmed && !drains {
            found.extend(self.opens(plan, client));
        }
        let Some(server) = server else {
            if client.opened {
                found.push("open only at the client".into());
            }
            return found;
        };
        for (outcome, name) in [(client, "client"), (server, "server")] {
            if let Some(wrong) = &outcome.wrong {
                found.push(format!("the {name} received {wrong}"));
            }
        }
        if !server.opened {
            found.push("the server's end never ended".into());
            return found;
        }
        found.extend(codes(plan, client, server, drains));
        for (near, far, name) in [(client, server, "client"), (server, client, "server")] {
            let clean = matches!(near.end, Some(Ok(code)) if code.is_none() || code == far.closed);
            if clean && near.closed.is_none() && far.closed.is_some() && near.received < far.sent {
                found.push(format!("the {name} lost a message and saw a clean end"));
            }
        }
        if client.opened && !self.harmed {
            if drains {
                found.extend(ends_in_drain(
                    plan,
                    client,
                    server,
                    self.plan.world.bridge.is_some(),
                ));
            } else {
                found.extend(ends_as_planned(plan, client, server));
            }
        }
        found
    }

    fn opens(&self, plan: &SocketPlan, client: &Outcome) -> Option<String> {
        let world = &self.plan.world;
        let status = match &client.end {
            Some(Err(error)) => error
                .rejected_response()
                .map(|response| response.status.as_u16()),
            _ => None,
        };
        let limited = world.bridge.is_some() && world.max_bridged < self.plan.sockets.len();
        match plan.answer {
            _ if client.opened != matches!(plan.answer, Answer::Accept(_)) && !client.opened => {
                let excused = plan.gives_up.is_some()
                    || world.max_accepted < 10
                    || limited && status == Some(503)
                    || matches!(plan.answer, Answer::Reject if status == Some(403))
                    || matches!(plan.answer, Answer::Drop if client.end.is_some());
                (!excused).then(|| format!("not opened, status {status:?}"))
            }
            Answer::Reject | Answer::Drop if client.opened => Some("opened".into()),
            _ => None,
        }
    }
}

/// Checks that both ends saw the same Close frames.
fn codes(plan: &SocketPlan, client: &Outcome, server: &Outcome, drains: bool) -> Option<String> {
    let mut seen = [None, None];
    for (at, (near, far)) in [(client, server), (server, client)].into_iter().enumerate() {
        let Some(Ok(code)) = near.end else { continue };
        let Some(code) = code else {
            let has_code = near.opened && plan.ways[at] != Way::Bytes;
            if has_code {
                return Some("ended in order, without a code".into());
            }
            continue;
        };
        seen[at] = Some(code);
        let drained = drains && code == CloseCode::GOING_AWAY;
        if Some(code) != far.closed && Some(code) != near.closed && !drained {
            return Some(format!("code {code} was sent by nobody"));
        }
    }
    let own = [false, true].map(|server| Some(own_code(plan, server)));
    // Each would have echoed the Close frame of the other instead of sending its own.
    if seen == own && own[0] != own[1] {
        return Some("each end saw its own code".into());
    }
    None
}

fn ends_as_planned(plan: &SocketPlan, client: &Outcome, server: &Outcome) -> Option<String> {
    let ends = [(client, false), (server, true)];
    match plan.end {
        Ending::Closes { .. } | Ending::Both | Ending::Waits => {
            for (outcome, of_server) in ends {
                let whole = outcome.received == plan.items(!of_server).len();
                if !whole || !matches!(outcome.end, Some(Ok(_))) {
                    return Some(format!("server {of_server} did not end as planned"));
                }
            }
        }
        Ending::ClosesEarly { server: by } => {
            let (closer, other) = if by {
                (server, client)
            } else {
                (client, server)
            };
            let all = plan.items(by).len();
            let clean = [closer, other].map(|outcome| matches!(outcome.end, Some(Ok(_))));
            if closer.sent != all || other.received != all || clean != [true; 2] {
                return Some("an early close lost something".into());
            }
        }
        Ending::Drops { server: by, .. } => {
            let (leaver, other) = if by {
                (server, client)
            } else {
                (client, server)
            };
            if other.received < leaver.sent {
                return Some("a drop lost what was sent before it".into());
            }
            if !matches!(other.end, Some(Err(_))) {
                return Some("a drop looked like a close".into());
            }
        }
    }
    None
}

/// A drain closes sockets, but it breaks and loses nothing.
fn ends_in_drain(
    plan: &SocketPlan,
    client: &Outcome,
    server: &Outcome,
    bridged: bool,
) -> Option<String> {
    if !bridged && matches!(client.end, Some(Ok(_))) && client.closed.is_none() {
        let lost = client.received < server.sent;
        if lost {
            return Some("a drain lost what the server had sent".into());
        }
    }
    if matches!(plan.end, Ending::Drops { .. }) {
        return None;
    }
    for (at, (outcome, name)) in [(client, "client"), (server, "server")].iter().enumerate() {
        // To a byte stream, code 1001 means that bytes may be missing.
        let is_in_order = match &outcome.end {
            Some(Err(Error::Io(error))) => {
                plan.ways[at] == Way::Bytes && error.kind() == io::ErrorKind::ConnectionAborted
            }
            end => matches!(end, Some(Ok(_))),
        };
        if !is_in_order {
            return Some(format!("a drain broke the socket of the {name}"));
        }
    }
    None
}
