//! The result of a command.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use h2ws::Transport;
use interop_driver::Failure;

/// The transport of the socket, or why it failed.
pub type SocketResult = Result<Transport, Failure>;

/// The result of a command, printed as `DONE/ASKED CONNECTIONS TEXTS`: how many sockets succeeded,
/// of how many, over how many connections, and each recorded text with the number of its
/// occurrences.
#[derive(Default)]
pub struct Outcome {
    pub done: usize,
    pub asked: usize,
    connections: HashSet<u64>,
    texts: BTreeMap<String, usize>,
}

impl Outcome {
    pub fn count(&mut self, result: SocketResult) {
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
            Err(error) => self.record(error.to_string()),
        }
    }

    pub fn count_all(&mut self, results: Vec<SocketResult>) {
        for result in results {
            self.count(result);
        }
    }

    pub fn record(&mut self, text: String) {
        *self.texts.entry(text.replace('\n', " ")).or_default() += 1;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self
            .texts
            .iter()
            .map(|(text, times)| format!("{times} x {text}"))
            .collect();
        let connections = self.connections.len();
        write!(
            f,
            "{}/{} {connections} {}",
            self.done,
            self.asked,
            texts.join(" | ")
        )
    }
}
