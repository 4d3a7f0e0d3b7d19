//! The program's memory: what was freed goes back to the operating system.
//!
//! A thousand sockets whose peers do not read hold hundreds of megabytes for as
//! long as they last. The C library keeps much of that: what lies between
//! pieces that are in use, and all that is free in the arenas of idle threads.
//! jemalloc gives free pages back by their age, from threads of its own, so also
//! when nothing happens any more.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use tikv_jemalloc_ctl::{Access, AsName, Error, background_thread};

/// How long free pages are kept for whoever needs some again, in milliseconds.
const DECAY: isize = 1_000;

/// For the arenas that are there, all of them (`MALLCTL_ARENAS_ALL`), and for
/// those to come.
const SETTINGS: [&[u8]; 4] = [
    b"arena.4096.dirty_decay_ms\0",
    b"arena.4096.muzzy_decay_ms\0",
    b"arenas.dirty_decay_ms\0",
    b"arenas.muzzy_decay_ms\0",
];

/// Has free memory given back; before other threads are started.
pub(crate) fn give_back() {
    if let Err(error) = set() {
        // Not worth to fail for.
        tracing::debug!(%error, "free memory stays with the program");
    }
}

fn set() -> Result<(), Error> {
    for setting in SETTINGS {
        setting.name().write(DECAY)?;
    }
    background_thread::write(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_back_runs_and_is_in_no_hurry() {
        set().expect("jemalloc has these settings");
        assert_eq!(background_thread::read(), Ok(true));
        let decay: isize = SETTINGS[2].name().read().expect("a time");
        assert_eq!(decay, DECAY);
    }
}
