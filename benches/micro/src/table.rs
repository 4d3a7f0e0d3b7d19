//! Measures every task, kind and size with every crate.

use std::time::Instant;

use crate::crates::{Crate, Task, Work};
use crate::wire::{Batch, Kind};
use crate::{SIZES, expected};

/// How many turns each crate has.
const ROUNDS: usize = 11;

/// The minimum time of a turn in nanoseconds: enough to replace what the other crates left in the
/// caches.
const TURN: u128 = 2_000_000;

pub(crate) fn print() {
    println!("Nanoseconds per message; ratio: the fastest peer's to ours (more is better).\n");
    print!("| task | kind | bytes |");
    for by in Crate::ALL {
        print!(" {} |", by.name());
    }
    println!(" ratio |\n|---|---|--:|--:|--:|--:|--:|--:|");
    let mut all = Vec::new();
    for task in Task::ALL {
        let mut ratios = Vec::new();
        for kind in Kind::ALL {
            for size in SIZES {
                ratios.push(row(task, &Batch::new(kind, size)));
            }
        }
        println!(
            "| {} | geometric mean | | | | | | {:.2} |",
            task.name(),
            mean(&ratios)
        );
        all.extend(ratios);
    }
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    println!("\nAll: {:.2} on average, {least:.2} at least.", mean(&all));
}

fn row(task: Task, batch: &Batch) -> f64 {
    let mut works = Crate::ALL.map(|by| by.work(task, batch));
    let nanos = medians(&mut works, batch.count, expected(task, batch));
    let peers = nanos[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let ratio = peers / nanos[0];
    print!(
        "| {} | {} | {} |",
        task.name(),
        batch.kind.name(),
        batch.payload.len()
    );
    for nanos in nanos {
        print!(" {nanos:.1} |");
    }
    println!(" {ratio:.2} |");
    ratio
}

/// Returns the median time of each crate, in nanoseconds per message with `count` messages in a
/// batch.
pub(crate) fn medians<const N: usize>(
    works: &mut [Work; N],
    count: usize,
    expected: usize,
) -> [f64; N] {
    let mut samples = [const { Vec::new() }; N];
    let mut batches = [1; N];
    for round in 0..=ROUNDS {
        for (index, work) in works.iter_mut().enumerate() {
            let start = Instant::now();
            for _ in 0..batches[index] {
                assert_eq!(work(), expected);
            }
            let elapsed = start.elapsed().as_nanos().max(1);
            if round == 0 {
                // The first round warms up, and determines the number of batches in a turn.
                batches[index] = (TURN / elapsed) as usize + 1;
            } else {
                samples[index].push(elapsed as f64 / (batches[index] * count) as f64);
            }
        }
    }
    samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    })
}

fn mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}
