//! The line that is being typed, and the ones before it.

use unicode_width::UnicodeWidthChar;

use super::keys::Key;
use crate::terminal;

#[derive(Default)]
pub(super) struct Editor {
    text: Vec<char>,
    /// Index into `text`.
    cursor: usize,
    history: Vec<String>,
    /// Index into `history`; its length while a new line is typed.
    shown: usize,
    /// The new line, while one of the history is shown.
    draft: Vec<char>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Edited,
    Line(String),
    ClearScreen,
    EndOfInput,
}

impl Editor {
    pub(super) fn new(history: Vec<String>) -> Self {
        Self {
            shown: history.len(),
            history,
            ..Self::default()
        }
    }

    pub(super) fn press(&mut self, key: Key) -> Pressed {
        match key {
            Key::Char(c) => {
                self.text.insert(self.cursor, c);
                self.cursor += 1;
            }
            Key::Paste(text) => {
                let before = self.text.len();
                self.text.splice(self.cursor..self.cursor, text.chars());
                self.cursor += self.text.len() - before;
            }
            Key::Enter => return Pressed::Line(self.submit()),
            Key::Backspace => self.delete(self.left()),
            Key::EndOfInput if self.text.is_empty() => return Pressed::EndOfInput,
            Key::Delete | Key::EndOfInput => self.delete(self.right()),
            Key::DeleteWord => self.delete(self.word_left()),
            Key::DeleteToStart => self.delete(0),
            Key::DeleteToEnd => self.delete(self.text.len()),
            Key::Left => self.cursor = self.left(),
            Key::Right => self.cursor = self.right(),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Up => self.show(self.shown.saturating_sub(1)),
            Key::Down => self.show(self.history.len().min(self.shown + 1)),
            Key::ClearScreen => return Pressed::ClearScreen,
        }
        Pressed::Edited
    }

    fn submit(&mut self) -> String {
        let line: String = std::mem::take(&mut self.text).into_iter().collect();
        self.cursor = 0;
        self.draft.clear();
        if super::history::is_kept(&line) && self.history.last() != Some(&line) {
            self.history.push(line.clone());
        }
        self.shown = self.history.len();
        line
    }

    fn show(&mut self, index: usize) {
        if index == self.shown {
            return;
        }
        if self.shown == self.history.len() {
            self.draft = std::mem::take(&mut self.text);
        }
        self.text = match self.history.get(index) {
            Some(line) => line.chars().collect(),
            None => std::mem::take(&mut self.draft),
        };
        self.shown = index;
        self.cursor = self.text.len();
    }

    /// Deletes what is between the cursor and an index.
    fn delete(&mut self, to: usize) {
        let range = self.cursor.min(to)..self.cursor.max(to);
        self.cursor = range.start;
        self.text.drain(range);
    }

    /// Returns the index of the character before the cursor, over combining ones.
    fn left(&self) -> usize {
        let before = &self.text[..self.cursor];
        before
            .iter()
            .rposition(|c| !is_combining(*c))
            .unwrap_or_default()
    }

    fn right(&self) -> usize {
        let after = self.text.iter().enumerate().skip(self.cursor + 1);
        let next = after.filter(|(_, c)| !is_combining(**c)).map(|(at, _)| at);
        next.min().unwrap_or(self.text.len())
    }

    fn word_left(&self) -> usize {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|c| c.is_alphanumeric());
        let start = end.and_then(|end| before[..end].iter().rposition(|c| !c.is_alphanumeric()));
        match (end, start) {
            (Some(_), Some(space)) => space + 1,
            _ => 0,
        }
    }

    fn word_right(&self) -> usize {
        let after = self.text.iter().enumerate().skip(self.cursor);
        let mut after = after.skip_while(|(_, c)| !c.is_alphanumeric());
        let space = after.find(|(_, c)| !c.is_alphanumeric());
        space.map_or(self.text.len(), |(at, _)| at)
    }

    /// Returns the part of the line around the cursor that fits into so many columns, and the
    /// cursor's column in it.
    pub(super) fn view(&self, columns: usize) -> (String, usize) {
        let mut start = self.cursor;
        let mut column = 0;
        while start > 0 && column + width(self.text[start - 1]) <= columns {
            start -= 1;
            column += width(self.text[start]);
        }
        let mut end = self.cursor;
        let mut used = column;
        while end < self.text.len() && used + width(self.text[end]) <= columns {
            used += width(self.text[end]);
            end += 1;
        }
        let mut view = String::new();
        for c in &self.text[start..end] {
            draw(*c, &mut view);
        }
        (view, column)
    }
}

fn is_combining(c: char) -> bool {
    terminal::is_printable(c) && c.width() == Some(0)
}

/// Draws a character of the line, which has one row, in as many columns as [`width`] returns.
fn draw(c: char, out: &mut String) {
    match c {
        '\n' => out.push('⏎'),
        '\t' => out.push(' '),
        c if terminal::is_printable(c) => out.push(c),
        _ => out.push('\u{fffd}'),
    }
}

fn width(c: char) -> usize {
    if terminal::is_printable(c) {
        c.width().unwrap_or(1)
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(editor: &mut Editor, text: &str) {
        for c in text.chars() {
            editor.press(Key::Char(c));
        }
    }

    fn line(editor: &mut Editor) -> String {
        match editor.press(Key::Enter) {
            Pressed::Line(line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_edit_the_line() {
        for (keys, expected) in [
            (&[Key::Left, Key::Char('x')][..], "one twxo"),
            (&[Key::Home, Key::Delete], "ne two"),
            (&[Key::DeleteWord, Key::Char('x')], "one x"),
            (&[Key::WordLeft, Key::DeleteToEnd], "one "),
            (&[Key::WordLeft, Key::DeleteToStart], "two"),
            (&[Key::Home, Key::WordRight, Key::Backspace], "on two"),
            (&[Key::Home, Key::EndOfInput], "ne two"),
            (
                &[Key::Home, Key::Paste("a\nb".into()), Key::End],
                "a\nbone two",
            ),
            (&[Key::Home, Key::Backspace, Key::Left, Key::Up], "one two"),
            (&[Key::Right, Key::Delete, Key::Down], "one two"),
        ] {
            let mut editor = Editor::default();
            typed(&mut editor, "one two");
            for key in keys {
                assert_eq!(editor.press(key.clone()), Pressed::Edited);
            }
            assert_eq!(line(&mut editor), expected, "{keys:?}");
        }
        assert_eq!(
            Editor::default().press(Key::EndOfInput),
            Pressed::EndOfInput
        );
    }

    #[test]
    fn a_combining_character_goes_with_the_one_before_it() {
        let mut editor = Editor::default();
        typed(&mut editor, "ae\u{301}");
        editor.press(Key::Backspace);
        assert_eq!(line(&mut editor), "a");
    }

    #[test]
    fn earlier_lines_come_back_and_so_does_the_new_one() {
        let mut editor = Editor::new(vec!["old".into()]);
        typed(&mut editor, "new");
        line(&mut editor);
        typed(&mut editor, "new");
        line(&mut editor);
        typed(&mut editor, "draft");
        let mut seen = Vec::new();
        for key in [Key::Up, Key::Up, Key::Up, Key::Down, Key::Down, Key::Down] {
            editor.press(key);
            seen.push(editor.view(80).0);
        }
        assert_eq!(seen, ["new", "old", "old", "new", "draft", "draft"]);
    }

    #[test]
    fn the_view_has_one_row_around_the_cursor() {
        let mut editor = Editor::default();
        editor.press(Key::Paste("one\ntwo\tthree \u{1b}[2J 漢字".into()));
        assert_eq!(
            editor.view(80),
            ("one⏎two three \u{fffd}[2J 漢字".into(), 23)
        );
        // A character of two columns is not cut.
        assert_eq!(editor.view(3), ("字".into(), 2));
        editor.press(Key::Home);
        assert_eq!(editor.view(5), ("one⏎t".into(), 0));
        assert_eq!(editor.view(0), (String::new(), 0));
    }
}
