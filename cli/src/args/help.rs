//! The options of `h2ws help`, and its topics: what concerns several commands. Their texts are files
//! in `topics/`, which end with examples as commands do.

use clap::Args;
use clap::builder::PossibleValuesParser;

pub(super) const EXAMPLES: &str = "\
Topics:
  versions         HTTP versions and fallback
  proxies          forward proxies, and reverse proxies before a server
  tls              TLS in development: mkcert, or a CA of your own
  troubleshooting  when a WebSocket does not open, or does not stay open

Examples:
  h2ws help bench
  h2ws help troubleshooting";

/// What is not a command but has a text.
pub(crate) const TOPICS: [(&str, &str); 4] = [
    ("versions", include_str!("topics/versions.txt")),
    ("proxies", include_str!("topics/proxies.txt")),
    ("tls", include_str!("topics/tls.txt")),
    (
        "troubleshooting",
        include_str!("topics/troubleshooting.txt"),
    ),
];

/// The commands, in order. (They cannot be asked of the definition, which has this.)
const COMMANDS: [&str; 12] = [
    "demo",
    "serve",
    "bridge",
    "connect",
    "tunnel",
    "probe",
    "bench",
    "health",
    "certificate",
    "completions",
    "man",
    "help",
];

#[derive(Clone, Debug, Args)]
pub(crate) struct HelpArgs {
    /// A command, or a topic; without either, the overview
    #[arg(value_name = "COMMAND|TOPIC", value_parser = names(), hide_possible_values = true)]
    pub(crate) about: Option<String>,
}

fn names() -> PossibleValuesParser {
    let topics = TOPICS.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(COMMANDS.into_iter().chain(topics))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_help_and_every_topic_a_line() {
        let root = super::super::Args::command();
        let commands: Vec<_> = root
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        assert_eq!(commands, COMMANDS);
        for (name, text) in TOPICS {
            let title = text.lines().next().expect("a title");
            assert!(EXAMPLES.contains(&format!("  {name} ")), "{name}");
            assert!(title.starts_with(|c: char| c.is_uppercase()), "{title}");
        }
    }
}
