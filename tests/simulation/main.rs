//! Deterministic simulation: client, server and bridge on one thread, over a network in memory and
//! with a clock that only moves when all wait. All randomness is from one seed, so that a run
//! which fails fails again. (One order is not from it: in which a drain reaches connections.)
//!
//! | variable | runs |
//! |---|---|
//! | none | a few seeds, always the same |
//! | `SIMULATION_RUNS=100000` | so many seeds, on all cores; use `--release` |
//! | `SIMULATION_FIRST=5000` | beginning with this one |
//! | `SIMULATION_FAILURES=9` | until so many have failed, instead of one |
//! | `SIMULATION_SEED=17` | that one; `SIMULATION_TRACE=1` prints its events |
//!
//! [`plan`] has what is attempted, [`link`] and [`network`] what the network does, [`invariants`],
//! [`tap`] and [`world`] what must be true.

mod hosts;
mod invariants;
mod link;
mod network;
mod plan;
mod random;
mod run;
mod talk;
mod tap;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::plan::Plan;
use self::run::{run, shrink};

/// Seeds that `cargo test` runs.
const FEW: u64 = 100;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .ok()
            .unwrap_or_else(|| panic!("{name}={value}")),
    )
}

/// Panics with the smallest plan found that fails.
fn fail(seed: u64, violations: &[String]) -> ! {
    let smaller = shrink(Plan::new(seed), violations);
    let still = run(&smaller).violations;
    panic!(
        "seed {seed}: {}\n\nsmaller: {}\n\n{smaller:#?}\n\n\
         run it alone: SIMULATION_SEED={seed} cargo test --test simulation",
        violations.join("\n"),
        still.join("\n"),
    );
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = setting("SIMULATION_SEED") {
        println!("{:#?}", Plan::new(seed));
        for _ in 0..if Plan::new(seed).drains() { 20 } else { 1 } {
            let report = run(&Plan::new(seed));
            if !report.violations.is_empty() {
                fail(seed, &report.violations);
            }
        }
        return;
    }
    let first = setting("SIMULATION_FIRST").unwrap_or(0);
    let runs: u64 = setting("SIMULATION_RUNS").unwrap_or(FEW);
    let enough = setting("SIMULATION_FAILURES").unwrap_or(1);
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let failed = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + runs || failed.lock().unwrap().len() >= enough {
                        return;
                    }
                    let report = run(&Plan::new(seed));
                    if let Some(first) = report.violations.first() {
                        println!("seed {seed}: {}", first.lines().next().unwrap_or_default());
                        failed.lock().unwrap().insert(seed, report.violations);
                    }
                }
            });
        }
    });
    if let Some((seed, violations)) = failed.into_inner().unwrap().pop_first() {
        fail(seed, &violations);
    }
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    println!("{runs} runs, {rate:.0} per second");
}

/// Whatever is random besides the seed, and whatever looks at the real clock, shows here.
///
/// Not with a drain: tokio's `watch` channel wakes those that wait for it in a random order.
#[test]
fn a_seed_repeats_every_event() {
    for seed in 0..20 {
        let plan = Plan::new(seed);
        if plan.drains() {
            continue;
        }
        let (one, other) = (run(&plan).trace, run(&plan).trace);
        assert_eq!(one, other, "seed {seed}");
        assert!(one.1 > 10, "seed {seed} did nothing");
    }
}
