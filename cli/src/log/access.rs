//! The format of access lines: like other lines, as JSON, by a template, or none at all.
//!
//! A template is text with the keys of the access line in braces, such as `{client}`; `{{` and `}}`
//! are braces. A value is escaped as within a JSON string: quotes, backslashes, control characters
//! and invisible characters. So it ends neither a quoted string of the template nor the line, and
//! templates should quote what clients choose. A key without a value becomes `-`.

use std::fmt::{self, Debug};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields;

/// The target of access lines.
pub(super) const TARGET: &str = "h2ws::access";

/// The keys of access lines that a template may name, besides `time`, in the order of
/// `docs/bridge.md`.
const KEYS: [&str; 32] = [
    "message",
    "peer",
    "client",
    "version",
    "connection",
    "stream",
    "method",
    "authority",
    "path",
    "origin",
    "user_agent",
    "request_id",
    "trace_id",
    "span_id",
    "route",
    "upstream",
    "address",
    "upstream_version",
    "status",
    "subprotocol",
    "extensions",
    "messages_up",
    "messages_down",
    "bytes_up",
    "bytes_down",
    "answer_ms",
    "first_byte_ms",
    "duration_ms",
    "closed_by",
    "closed",
    "code",
    "reason",
];

static FORMAT: RwLock<AccessLog> = RwLock::new(AccessLog::LikeOthers);

/// Sets the format of all further access lines.
pub(crate) fn set_format(format: AccessLog) {
    *FORMAT.write().unwrap_or_else(PoisonError::into_inner) = format;
}

/// The format of access lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// As `--log-format` has it.
    #[default]
    LikeOthers,
    None,
    Json,
    Template(Arc<Template>),
}

impl FromStr for AccessLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "json" => Ok(Self::Json),
            text if text.contains('{') => Ok(Self::Template(Arc::new(text.parse()?))),
            _ => Err(format!(
                "expected json, none, or a template such as '{{client}} {{status}}', not {text:?}"
            )),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Time,
    Key(&'static str),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(char::is_control) {
            return Err("a template is one line, without control characters".into());
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.split_once('}').filter(|_| brace == "{") else {
                return Err(format!(
                    "a single {brace} in the template; write {brace}{brace}"
                ));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::named(name)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }
}

impl Part {
    fn named(name: &str) -> Result<Self, String> {
        if name == "time" {
            return Ok(Self::Time);
        }
        let key = KEYS.iter().find(|key| **key == name);
        key.map(|key| Self::Key(key)).ok_or_else(|| {
            format!(
                "unknown field {{{name}}}; expected one of time, {}",
                KEYS.join(", ")
            )
        })
    }
}

impl Template {
    fn write(&self, event: &Event<'_>, out: &mut Writer<'_>) -> fmt::Result {
        let mut values = Values {
            wanted: &self.0,
            found: Vec::new(),
        };
        event.record(&mut values);
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_str(text)?,
                Part::Time => SystemTime.format_time(out)?,
                Part::Key(key) => match values.found.iter().find(|(name, _)| name == key) {
                    Some((_, value)) => fields::escape(value, out)?,
                    None => out.write_char('-')?,
                },
            }
        }
        out.write_char('\n')
    }
}

/// The values of the keys that a template has.
struct Values<'a> {
    wanted: &'a [Part],
    found: Vec<(&'static str, String)>,
}

impl Visit for Values<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let key = field.name();
        if (self.wanted.iter()).any(|part| matches!(part, Part::Key(wanted) if *wanted == key)) {
            self.found.push((key, value.to_owned()));
        }
    }
}

/// Formats access lines as [`set_format`] says, and others as [`set_log_format`](super::set_log_format)
/// does.
pub(super) struct Lines {
    text: Format,
    json: Format<Json>,
    /// Without spans, which are formatted for the others.
    access_json: Format<Json>,
}

impl Lines {
    pub(super) fn new(text: Format) -> Self {
        let json = tracing_subscriber::fmt::format().json().flatten_event(true);
        Self {
            text,
            access_json: json.clone().with_current_span(false).with_span_list(false),
            json,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let format = match event.metadata().target() {
            TARGET => FORMAT
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            _ => AccessLog::LikeOthers,
        };
        match format {
            AccessLog::LikeOthers if super::is_json() => {
                self.json.format_event(context, writer, event)
            }
            AccessLog::LikeOthers => self.text.format_event(context, writer, event),
            AccessLog::None => Ok(()),
            AccessLog::Json => self.access_json.format_event(context, writer, event),
            AccessLog::Template(template) => template.write(event, &mut writer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AccessLog, String> {
        text.parse()
    }

    #[test]
    fn every_key_is_documented() {
        let documented = include_str!("../../../docs/bridge.md");
        for key in KEYS {
            assert!(documented.contains(&format!("`{key}`")), "{key}");
        }
        let mut lines = documented.lines();
        let example = lines.find_map(|line| line.strip_prefix("access_log = '"));
        let example = example
            .and_then(|line| line.strip_suffix('\''))
            .expect("an example");
        assert!(
            matches!(parse(example), Ok(AccessLog::Template(_))),
            "{example}"
        );
    }

    #[test]
    fn a_template_has_known_fields_and_escaped_braces() {
        let parsed: Template = "{time} {{\"c\": \"{client}\"}}".parse().expect("valid");
        let expected = [
            Part::Time,
            Part::Text(" {\"c\": \"".into()),
            Part::Key("client"),
            Part::Text("\"}".into()),
        ];
        assert_eq!(parsed.0, expected);
        assert_eq!(parse("json"), Ok(AccessLog::Json));
        assert_eq!(parse("none"), Ok(AccessLog::None));
        for (text, error) in [
            ("", "expected json, none"),
            ("combined", "expected json, none"),
            (
                "{clint}",
                "unknown field {clint}; expected one of time, message",
            ),
            ("{}", "unknown field {}"),
            ("{client", "a single {"),
            ("{client}}", "a single }"),
            ("{client}\n", "one line"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
