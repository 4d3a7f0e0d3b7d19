//! The framing core against its peers, on the same bytes and without I/O.
//!
//! `cargo run --release` prints, per message, the nanoseconds of each crate and the ratio of the
//! fastest peer's to ours. The crates take turns, and each figure is a median: what disturbs the
//! machine disturbs all of them alike. `-- count CRATE TASK KIND SIZE MESSAGES BATCHES` does that work and
//! nothing else: for callgrind (see `./instructions`).

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
    batch.rests = batch.count == 1;
    let expected = expected(task, &batch);
    let mut work = by.expect("a crate").work(task, &batch);
    for _ in 0..number(batches) {
        assert_eq!(work(), expected);
    }
}

/// What a batch must come to, in bytes.
fn expected(task: Task, batch: &Batch) -> usize {
    if task.decodes() {
        batch.total()
    } else {
        batch.count * frame_len(batch, task.masked())
    }
}
