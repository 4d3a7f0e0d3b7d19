//! The options of `h2ws connect`.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use h2ws::handshake::HostPort;

use super::values::{
    ColorChoice, SecondsOrNone, host_and_port, positive_seconds, seconds_or_none, url,
};
use super::{BY_HAND, CONNECTION, MESSAGES, RequestArgs, TIMEOUTS};
use crate::error::Usage;

pub(super) const EXAMPLES: &str = "\
At a terminal, type messages; /help lists commands. Elsewhere, or with one of the options under
Messages, stdin is sent and what arrives is printed.

Examples:
  echo hello | h2ws connect --insecure wss://127.0.0.1:8443/
  echo hello | h2ws connect --http1 -H 'Authorization: Bearer TOKEN' ws://127.0.0.1:8080/
  h2ws connect -x '{\"op\":\"ping\"}' --one-message ws://127.0.0.1:8080/";

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// wss:// (the default) or ws:// URL (https:// and http:// mean the same), or
    /// ws+unix:/run/app.sock:/path
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Send this message once open, and do not read stdin (repeatable); with --reconnect, again
    /// after each reconnect
    #[arg(short = 'x', long, value_name = "MESSAGE", allow_hyphen_values = true, help_heading = MESSAGES)]
    pub(crate) execute: Vec<String>,
    /// Send the first line (with --binary all) of stdin, print the first message, and close;
    /// fail if none arrives
    #[arg(short = '1', long, help_heading = MESSAGES)]
    pub(crate) one_message: bool,
    /// Send stdin as binary messages, one per block that was read; print payloads without line
    /// feeds
    #[arg(short, long, help_heading = MESSAGES)]
    pub(crate) binary: bool,
    /// Send each line, which must be base64, as a binary message; print binary messages as base64
    #[arg(long, conflicts_with = "binary", help_heading = MESSAGES)]
    pub(crate) base64: bool,
    /// Connect to this address instead of the URL's; the request and the name in the certificate
    /// stay the same
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port, help_heading = CONNECTION)]
    pub(crate) connect_to: Option<HostPort>,
    /// Connect again when the WebSocket is lost, and if the first attempt fails, after 1 to 60 s;
    /// stop at what is final, such as close code 1000 and status 403
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// After the end of stdin, close after this long without a message; none waits until the
    /// server closes
    #[arg(short, long, default_value = "3", value_name = "SECONDS", value_parser = seconds_or_none, help_heading = TIMEOUTS)]
    pub(crate) wait: SecondsOrNone,
    /// Time for connecting, and then for the server's response
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS", value_parser = positive_seconds, help_heading = TIMEOUTS)]
    pub(crate) timeout: f64,
    /// Send a Ping after this long without a message; the WebSocket is lost if nothing arrives
    /// within 20 s after it [default: no Pings]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, help_heading = TIMEOUTS)]
    pub(crate) ping_interval: Option<f64>,
    /// Colors at a terminal; auto: unless NO_COLOR is set
    #[arg(long, default_value = "auto", value_name = "WHEN", help_heading = BY_HAND)]
    pub(crate) color: ColorChoice,
    /// Lay out messages that are JSON
    #[arg(long, help_heading = BY_HAND)]
    pub(crate) pretty: bool,
    /// Show the time of each message, UTC
    #[arg(long, help_heading = BY_HAND)]
    pub(crate) times: bool,
}

/// How the payloads of messages are read and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Text, one message per line.
    Lines,
    /// Binary, as it is.
    Binary,
    /// Binary in base64, one message per line.
    Base64,
}

impl ConnectArgs {
    pub(crate) fn encoding(&self) -> Encoding {
        match self {
            Self { binary: true, .. } => Encoding::Binary,
            Self { base64: true, .. } => Encoding::Base64,
            _ => Encoding::Lines,
        }
    }

    /// Whether an option asks for the behavior of a pipe at a terminal too.
    #[cfg(unix)]
    pub(crate) fn is_scripted(&self) -> bool {
        !self.execute.is_empty() || self.one_message || self.encoding() != Encoding::Lines
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    pub(crate) fn ping_interval(&self) -> Option<Duration> {
        self.ping_interval.map(Duration::from_secs_f64)
    }

    /// Returns the messages of `--execute`.
    pub(crate) fn messages(&self) -> Result<Vec<h2ws::Message>, Usage> {
        if self.one_message && self.execute.len() > 1 {
            let count = self.execute.len();
            let error = format_args!("--one-message sends one message, not {count} by --execute");
            return Err(Usage::options(&error));
        }
        let encoding = self.encoding();
        let messages = self.execute.iter().map(|text| {
            encoding
                .message(text.clone().into_bytes())
                .map_err(|error| Usage::option("--execute", &error))
        });
        messages.collect()
    }
}

impl Encoding {
    /// Makes a message of a line, or of an argument.
    pub(crate) fn message(self, bytes: Vec<u8>) -> Result<h2ws::Message, String> {
        match self {
            Self::Lines => String::from_utf8(bytes)
                .map(h2ws::Message::text)
                .map_err(|_| "not UTF-8 (--binary sends any bytes)".into()),
            Self::Binary => Ok(h2ws::Message::binary(bytes)),
            Self::Base64 => BASE64_STANDARD
                .decode(bytes.trim_ascii())
                .map(h2ws::Message::binary)
                .map_err(|error| format!("not base64: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_host_and_a_port() {
        for text in ["127.0.0.1:1", "[::1]:65535", "example.com:443"] {
            assert!(host_and_port(text).is_ok(), "{text}");
        }
        for text in [
            "", "a", ":1", "a:", "a:0", "a:65536", "a:1:b:2", "::1:80", "ws://a:1",
        ] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_is_a_message_of_its_encoding() {
        let message = |encoding: Encoding, bytes: &[u8]| encoding.message(bytes.to_vec());
        assert_eq!(message(Encoding::Lines, b"a b"), Ok("a b".into()));
        assert!(message(Encoding::Lines, b"\xff").is_err());
        let bytes = h2ws::Message::binary(&b"\xff\0"[..]);
        assert_eq!(message(Encoding::Binary, b"\xff\0"), Ok(bytes.clone()));
        assert_eq!(message(Encoding::Base64, b" /wA=\t"), Ok(bytes));
        for wrong in ["/wA", "/wA==", "?", "/w A="] {
            assert!(
                message(Encoding::Base64, wrong.as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }
}
