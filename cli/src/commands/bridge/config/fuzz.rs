//! Any text as a configuration file: it is read, or each error names a line of it; and a comment on a
//! line before it changes nothing but these lines.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::super::connections::Connections;
use super::{Clients, Config, RouteClients};
use crate::args::TcpArgs;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let read = parse(text);
    if let Err(errors) = &read {
        assert!(!errors.is_empty(), "rejected without an error");
        let lines = text.lines().count().max(1) + 1;
        for (line, error) in errors {
            assert!((1..=lines).contains(line), "line {line}: {error}");
        }
    }
    // A byte order mark is allowed only at the very beginning, where the comment would be.
    if text.starts_with('\u{feff}') {
        return;
    }
    let moved = parse(&format!("# A comment.\n{text}"));
    let errors = |read: &Result<usize, Vec<(usize, String)>>, moved| {
        let errors = read.as_ref().err().into_iter().flatten();
        // What is missing is missed on the first line; and an error may name another line.
        let error = |(line, error): &(usize, String)| {
            let line = line.saturating_sub(moved).max(1);
            (line, error.replace(char::is_numeric, ""))
        };
        errors.map(error).collect::<BTreeSet<_>>()
    };
    assert_eq!(moved.as_ref().ok(), read.as_ref().ok(), "with a comment");
    assert_eq!(errors(&moved, 1), errors(&read, 0), "with a comment");
}

/// Returns the number of routes, or the errors with their lines.
fn parse(text: &str) -> Result<usize, Vec<(usize, String)>> {
    match Config::parse(Path::new("f"), text, &clients()) {
        Ok(config) => Ok(config.routes.iter().count()),
        Err(errors) => Err(errors
            .lines()
            .map(|error| {
                let error = error.strip_prefix("f:").expect("the file");
                let (line, error) = error.split_once(": ").expect("a line");
                (line.parse().expect("a number"), error.to_owned())
            })
            .collect()),
    }
}

pub(super) fn clients() -> Clients {
    Clients {
        insecure: false,
        metrics: false,
        observer: Arc::new(Connections::default()),
        tcp: TcpArgs::default(),
        of_routes: RouteClients::new(),
    }
}
