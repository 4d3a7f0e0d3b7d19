//! `h2ws help`: the help of a command, or the text of a topic.

use std::io::{self, Write as _};

use clap::Parser;

use crate::args::{Args, HelpArgs, TOPICS};
use crate::terminal;

pub(crate) fn run(args: &HelpArgs) -> io::Result<()> {
    let about = args.about.as_deref();
    let topic = TOPICS.iter().find(|(name, _)| Some(*name) == about);
    if let Some((_, text)) = topic {
        return terminal::stdout().write_all(text.as_bytes());
    }
    // As if asked with --help, so that the two cannot differ.
    let line = ["h2ws"].into_iter().chain(about).chain(["--help"]);
    match Args::try_parse_from(line) {
        Ok(_) => Ok(()),
        Err(help) => help.print(),
    }
}
