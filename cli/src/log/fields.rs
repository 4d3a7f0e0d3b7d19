//! Formats the fields of a log line as logfmt: `key=value`, separated by spaces.
//!
//! A value is put in double quotes if it is empty or has white space, quotes, `=` or invisible
//! characters. `"`, `\` and control characters are escaped as in JSON. So a value is always one
//! word or one quoted string, and cannot send commands to a terminal. Keys without a value are
//! left out.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

use crate::terminal;

/// The fields as logfmt, or as JSON if all lines are objects.
#[derive(Default)]
pub(super) struct Fields(JsonFields);

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        if super::is_json() {
            return self.0.format_fields(writer, fields);
        }
        let mut line = Line {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        if current.fields.is_empty() {
            return self.format_fields(current.as_writer(), fields);
        }
        if !super::is_json() {
            current.fields.push(' ');
            return self.format_fields(current.as_writer(), fields);
        }
        let object = |text: &str| {
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
            parsed.map_err(|_| fmt::Error)
        };
        let mut added = String::new();
        self.0.format_fields(Writer::new(&mut added), fields)?;
        let mut all = object(&current.fields)?;
        all.extend(object(&added)?);
        current.fields = serde_json::Value::Object(all).to_string();
        Ok(())
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = self.try_write(field, value);
        }
    }

    fn try_write(&mut self, field: &Field, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        match field.name() {
            "message" => terminal::escape(value, &mut self.writer),
            name => {
                write!(self.writer, "{name}=")?;
                quote(value, &mut self.writer)
            }
        }
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, value);
    }
}

fn quote(value: &str, out: &mut impl Write) -> fmt::Result {
    let is_word = |c: char| !c.is_whitespace() && !"\"=\\".contains(c) && terminal::is_printable(c);
    if !value.is_empty() && value.chars().all(is_word) {
        return out.write_str(value);
    }
    out.write_char('"')?;
    escape(value, out)?;
    out.write_char('"')
}

/// Writes what is between the quotes.
pub(super) fn escape(value: &str, out: &mut impl Write) -> fmt::Result {
    for c in value.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\n' => out.write_str("\\n")?,
            '\t' => out.write_str("\\t")?,
            c if terminal::is_printable(c) => out.write_char(c)?,
            c => terminal::escape_char(c, out)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_or_one_quoted_string() {
        for (value, written) in [
            ("/chat", "/chat"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("čaj", "čaj"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a=b", "\"a=b\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
            ("back\\slash", "\"back\\\\slash\""),
            ("two\nlines", "\"two\\nlines\""),
            ("\u{1b}[31m", "\"\\u001b[31m\""),
            ("\u{9b}31m", "\"\\u009b31m\""),
        ] {
            let mut out = String::new();
            quote(value, &mut out).expect("writing to a string succeeds");
            assert_eq!(out, written);
        }
    }
}
