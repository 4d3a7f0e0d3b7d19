//! The terminal: lines that stay, and below them the row in which the user types.

use std::io::{self, Write};

use super::editor::Editor;
use super::render::Style;
use crate::raw_terminal::{self, RawTerminal};

/// Columns of the prompt, and one that stays free, so that no row is ever full: terminals differ in
/// where the cursor is then.
const RESERVED: usize = 3;

pub(super) struct Screen {
    /// Restores the terminal when dropped.
    raw: RawTerminal,
    columns: usize,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let raw = RawTerminal::enter()?;
        let columns = raw_terminal::columns();
        Ok(Self { raw, columns })
    }

    /// Prints lines above the row of the user, who may be typing.
    pub(super) fn print(&mut self, lines: &str, style: Style, editor: &Editor) -> io::Result<()> {
        let mut out = format!("\r\x1b[J{lines}");
        self.row(style, editor, &mut out);
        write(&out)
    }

    pub(super) fn draw(&mut self, style: Style, editor: &Editor) -> io::Result<()> {
        self.print("", style, editor)
    }

    pub(super) fn clear(&mut self, style: Style, editor: &Editor) -> io::Result<()> {
        self.print("\x1b[H\x1b[J", style, editor)
    }

    pub(super) fn resized(&mut self) {
        self.columns = raw_terminal::columns();
    }

    /// After another program, such as a shell, had the terminal.
    pub(super) fn resumed(&mut self) -> io::Result<()> {
        self.raw.enter_again()?;
        self.resized();
        Ok(())
    }

    /// Removes the user's row, prints the last lines and restores the terminal.
    pub(super) fn leave(self, lines: &str) {
        // A terminal that is gone needs neither.
        let _ = write(&format!("\r\x1b[J{lines}"));
    }

    fn row(&self, style: Style, editor: &Editor, out: &mut String) {
        let (view, cursor) = editor.view(self.columns.saturating_sub(RESERVED));
        out.push_str(style.prompt());
        out.push_str(&view);
        let column = cursor + 2;
        out.push_str(&format!("\r\x1b[{column}C"));
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
