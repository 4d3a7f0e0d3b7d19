//! Runs plans, and makes those that fail smaller.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use tokio::runtime::Builder;

use crate::plan::{Ending, Plan, SocketPlan};
use crate::trace::Trace;
use crate::world::World;

/// Plans that are tried to make one smaller.
const TRIES: usize = 400;

/// What became of a run.
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    /// A hash of all events before the shutdown, and their number.
    pub(crate) trace: (u64, u64),
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes panics on each thread, so that those of tasks are found.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            default(info);
        }));
    });
}

pub(crate) fn run(plan: &Plan) -> Report {
    note_panics();
    PANICS.take();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let plan = Arc::new(plan.clone());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let trace = Trace::new();
            let world = World::new(&plan, &trace);
            let ended = world.run_to_the_end().await;
            let mut violations = trace.take_violations();
            let mut hash = trace.hash();
            if let Some(ended) = ended {
                violations.extend(ended.violations());
                hash = ended.trace;
            }
            Report {
                violations,
                trace: hash,
            }
        })
    }));
    drop(runtime);
    let mut report = ran.unwrap_or_else(|_| Report {
        violations: vec!["the run panicked".into()],
        trace: (0, 0),
    });
    let panics = PANICS.take();
    report.violations.extend(panics);
    report
}

/// Leaves out parts of a plan as long as what is left still fails in the same way.
pub(crate) fn shrink(plan: Plan, violations: &[String]) -> Plan {
    let mut plan = plan;
    let kind = violations.first().map(|first| kind_of(first));
    let mut tries = 0;
    loop {
        let smaller = simpler(&plan).into_iter().find(|smaller| {
            tries += 1;
            let fails =
                |violations: Vec<String>| violations.iter().any(|one| Some(kind_of(one)) == kind);
            tries <= TRIES && fails(run(smaller).violations)
        });
        match smaller {
            Some(smaller) => plan = smaller,
            None => return plan,
        }
    }
}

/// What a violation is about, without its numbers.
fn kind_of(violation: &str) -> String {
    let summary = violation.lines().next().unwrap_or_default();
    summary.replace(|c: char| c.is_ascii_digit(), "")
}

/// Returns plans that lack one part each, the largest parts first.
fn simpler(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut without = |leave_out: &dyn Fn(&mut Plan)| {
        let mut simpler = plan.clone();
        leave_out(&mut simpler);
        if !simpler.drains() {
            let waiting = |socket: &&mut SocketPlan| socket.end == Ending::Waits;
            let waiting = simpler.sockets.iter_mut().filter(waiting);
            waiting.for_each(|socket| socket.end = Ending::Both);
        }
        all.push(simpler);
    };
    if plan.sockets.len() > 1 {
        for at in 0..plan.sockets.len() {
            without(&|plan| drop(plan.sockets.remove(at)));
        }
    }
    for at in 0..plan.events.len() {
        without(&|plan| {
            plan.events.remove(at);
        });
    }
    if plan.world.bridge.is_some() {
        without(&|plan| {
            plan.world.bridge = None;
            plan.events.retain(|event| !event.is_of_bridge());
        });
    }
    if plan.world.deflate {
        without(&|plan| plan.world.deflate = false);
    }
    if plan.world.pace.delay > 0 {
        without(&|plan| plan.world.pace.delay = 0);
    }
    for at in 0..plan.sockets.len() {
        for item in 0..plan.sockets[at].up.len() {
            without(&|plan| {
                plan.sockets[at].up.remove(item);
            });
        }
        for item in 0..plan.sockets[at].down.len() {
            without(&|plan| {
                plan.sockets[at].down.remove(item);
            });
        }
        if plan.sockets[at].gives_up.is_some() {
            without(&|plan| plan.sockets[at].gives_up = None);
        }
        if plan.sockets[at].start > 0 {
            without(&|plan| plan.sockets[at].start = 0);
        }
    }
    all
}
