//! The options of logs.

use clap::{Args, ValueEnum};

use super::LOGGING;
use crate::log::{self, AccessLog};

/// The options of logs.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// Format of the logs and of the access log, which has a line per WebSocket and request, and of
    /// the lines about listeners on stdout [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = LOGGING)]
    pub(crate) log_format: Option<LogFormat>,
    /// Another format of the access log: json, none, or a template with the keys of its lines, such as
    /// '{time} {client} "{user_agent}" {status}' [default: as --log-format]
    #[arg(long, value_name = "FORMAT", help_heading = LOGGING)]
    pub(crate) access_log: Option<AccessLog>,
    /// Maximum number of refusals, and of warnings of one kind, that are logged in 10 s; further ones
    /// are counted [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LOGGING)]
    pub(crate) log_limit: Option<u32>,
}

impl LogArgs {
    /// Applies the options, or else these values of a configuration file.
    pub(crate) fn apply(&self, access_log: Option<AccessLog>, limit: Option<u32>) {
        log::set_format(self.access_log.clone().or(access_log).unwrap_or_default());
        log::set_limit(self.log_limit.or(limit).unwrap_or(log::DEFAULT_LIMIT));
    }
}

/// The format of the logs.
// The variants have no doc comments: clap would print those below the option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl LogFormat {
    /// Parses the value of the key in a configuration file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text, false).map_err(|_| format!("expected text or json, not {text:?}"))
    }
}
