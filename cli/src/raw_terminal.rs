//! The terminal without its own line editing, and back.
//!
//! However the program ends, the user's shell must find the terminal as it was: the value restores
//! it when it is dropped, and [`restore`] where the program exits without dropping anything.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};

/// What to restore.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Makes terminals mark where a paste begins and ends.
const PASTE_ON: &[u8] = b"\x1b[?2004h";
const PASTE_OFF: &[u8] = b"\x1b[?2004l";

pub(crate) struct RawTerminal {
    raw: Termios,
}

impl RawTerminal {
    /// Reads keys as they are typed, without echo. Ctrl-C and Ctrl-Z still send signals, and line
    /// feeds still return the carriage, so that what else the program prints looks right.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR;
        raw.input_modes -= InputModes::IXON | InputModes::ISTRIP;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Ctrl-\ would end the program without restoring the terminal.
        raw.special_codes[SpecialCodeIndex::VQUIT] = 0;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let terminal = Self { raw };
        terminal.enter_again()?;
        Ok(terminal)
    }

    /// After the program was stopped and continued.
    pub(crate) fn enter_again(&self) -> io::Result<()> {
        tcsetattr(io::stdin(), OptionalActions::Drain, &self.raw)?;
        let mut out = io::stdout().lock();
        out.write_all(PASTE_ON)?;
        out.flush()
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal if it is raw.
pub(crate) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Not through stdout's lock, which a thread may hold that waits for the terminal.
        let _ = rustix::io::write(rustix::stdio::stdout(), PASTE_OFF);
        // What was typed and not read goes to the next program.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Returns the width of the terminal.
pub(crate) fn columns() -> usize {
    let columns = tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    if columns == 0 { 80 } else { columns.into() }
}
