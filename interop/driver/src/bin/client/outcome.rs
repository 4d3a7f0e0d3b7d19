//! The answer to an order.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use h2ws::Transport;
use interop_driver::Failure;

/// What carried the socket, or why it failed.
pub type Carried = Result<Transport, Failure>;

/// How an order went: `done/asked connections what-was-said`, the last part with the number of
/// times that it was said.
#[derive(Default)]
pub struct Outcome {
    pub done: usize,
    pub asked: usize,
    connections: HashSet<u64>,
    said: BTreeMap<String, usize>,
}

impl Outcome {
    pub fn count(&mut self, result: Carried) {
        self.asked += 1;
        match result {
            Ok(transport) => {
                self.done += 1;
                if let Transport::Http2 { connection, .. } | Transport::Http1 { connection } =
                    transport
                {
                    self.connections.insert(connection);
                }
            }
            Err(error) => self.say(error.to_string()),
        }
    }

    pub fn count_all(&mut self, results: Vec<Carried>) {
        for result in results {
            self.count(result);
        }
    }

    pub fn say(&mut self, what: String) {
        *self.said.entry(what.replace('\n', " ")).or_default() += 1;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said: Vec<_> = self
            .said
            .iter()
            .map(|(what, times)| format!("{times} x {what}"))
            .collect();
        let connections = self.connections.len();
        write!(
            f,
            "{}/{} {connections} {}",
            self.done,
            self.asked,
            said.join(" | ")
        )
    }
}
