//! Compares the framing core with its peers, on the same bytes and without I/O.
//!
//! `cargo run --release` prints the nanoseconds per message of each crate, and the ratio of the
//! fastest peer to h2ws. The crates take turns and each value is a median, so that other load on
//! the machine affects all of them alike. `-- count CRATE TASK KIND SIZE MESSAGES BATCHES` does
//! only that work, for callgrind (see `./instructions`).

mod crates;
mod parts;
mod table;
mod wire;

use crate::crates::{Crate, Task, frame_len};
use crate::wire::{Batch, Kind};

const SIZES: [usize; 9] = [
    16,
    64,
    125,
    126,
    1024,
    4096,
    16 * 1024,
    64 * 1024,
    1024 * 1024,
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            table::print();
            parts::print();
        }
        ["table"] => table::print(),
        ["parts"] => parts::print(),
        ["count", name, task, kind, size, messages, batches] => {
            count(name, task, kind, size, messages, batches);
        }
        _ => {
            eprintln!("usage: [table | parts | count CRATE TASK KIND SIZE MESSAGES BATCHES]");
            std::process::exit(2);
        }
    }
}

fn count(name: &str, task: &str, kind: &str, size: &str, messages: &str, batches: &str) {
    let number = |word: &str| word.parse().expect("a number");
    let by = Crate::ALL.into_iter().find(|by| by.name() == name);
    let task = Task::ALL.into_iter().find(|known| known.name() == task);
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let task = task.expect("a task");
    let mut batch = Batch::new(kind.expect("a kind"), number(size));
    batch.count = number(messages);
    batch.idles = batch.count == 1;
    let expected = expected(task, &batch);
    let mut work = by.expect("a crate").work(task, &batch);
    for _ in 0..number(batches) {
        assert_eq!(work(), expected);
    }
}

/// Returns the number of bytes that a batch must produce.
fn expected(task: Task, batch: &Batch) -> usize {
    if task.decodes() {
        batch.total()
    } else {
        batch.count * frame_len(batch, task.masked())
    }
}
