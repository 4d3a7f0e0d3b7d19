//! The program's memory: what was freed goes back to the operating system.
//!
//! A thousand sockets whose peers do not read hold hundreds of megabytes for as
//! long as they last. The C library keeps much of that: what lies between
//! pieces that are in use, and all that is free in the arenas of idle threads.
//! jemalloc gives free pages back by their age, from threads of its own, so also
//! when nothing happens any more.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use tikv_jemalloc_ctl::{Access, AsName, Error, arenas, background_thread};

/// How long free pages are kept for reuse, in milliseconds.
const DECAY: isize = 1_000;

/// The two stages of giving a page back: it may be reclaimed, it is unmapped.
const STAGES: [&str; 2] = ["dirty_decay_ms", "muzzy_decay_ms"];

/// Has free memory given back. To be called before other threads are started.
pub(crate) fn give_back() {
    if let Err(error) = set() {
        tracing::warn!(%error, "memory that was freed stays with the program");
    }
}

fn set() -> Result<(), Error> {
    for stage in STAGES {
        // For the arenas to come, each of which serves some of the threads.
        format!("arenas.{stage}\0").name().write(DECAY)?;
        // jemalloc has a name for all that exist, but takes no time by it.
        for arena in 0..arenas::narenas::read()? {
            let set = format!("arena.{arena}.{stage}\0").name().write(DECAY);
            // The first one serves this thread; others may not be made yet.
            if arena == 0 {
                set?;
            }
        }
    }
    background_thread::write(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_given_back_at_its_time_and_by_a_thread() {
        set().expect("jemalloc has these settings");
        assert_eq!(background_thread::read(), Ok(true));
        for name in ["arenas", "arena.0"] {
            for stage in STAGES {
                let decay = format!("{name}.{stage}\0").name().read();
                assert_eq!(decay, Ok(DECAY), "{name}.{stage}");
            }
        }
    }
}
