//! Returns freed memory to the operating system.
//!
//! A thousand WebSockets whose peers do not read hold hundreds of megabytes while they last. The C
//! library would keep much of that afterwards: free memory between allocations, and everything in
//! the arenas of idle threads. jemalloc returns free pages by age, from its own threads, so it does
//! that even when the program is idle.

// AddressSanitizer has its own.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use tikv_jemalloc_ctl::{Access, AsName, Error, arenas, background_thread};

/// How long free pages are kept for reuse, in milliseconds, by stage: until a page is marked
/// reclaimable, and from then until it is returned. Marked pages would still count as resident, so
/// that stage is skipped.
const DECAY: [(&str, isize); 2] = [("dirty_decay_ms", 250), ("muzzy_decay_ms", 0)];

/// Turns this on. Called before other threads are started.
pub(crate) fn return_freed_pages() {
    if let Err(error) = set() {
        tracing::warn!(%error, "jemalloc will not return freed memory");
    }
}

fn set() -> Result<(), Error> {
    for (stage, decay) in DECAY {
        // For arenas that are created later; each serves some of the threads.
        format!("arenas.{stage}\0").name().write(decay)?;
        // There is a name for all existing arenas, but the setting cannot be written by it.
        for arena in 0..arenas::narenas::read()? {
            let set = format!("arena.{arena}.{stage}\0").name().write(decay);
            // The first arena serves this thread; the others may not exist yet.
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
    fn freed_pages_are_returned_by_a_thread_after_the_configured_time() {
        set().expect("jemalloc has these settings");
        assert_eq!(background_thread::read(), Ok(true));
        for name in ["arenas", "arena.0"] {
            for (stage, decay) in DECAY {
                let set = format!("{name}.{stage}\0").name().read();
                assert_eq!(set, Ok(decay), "{name}.{stage}");
            }
        }
    }
}
