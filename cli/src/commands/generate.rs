//! `h2ws completions` and `h2ws man`: files for the shell and for man, from the definition of the
//! command line, so that they cannot differ from its help.

use std::io::{self, Write as _};
use std::path::Path;

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, CompletionsArgs, ManArgs, TOPICS};
use crate::error::Failure;
use crate::terminal;

pub(crate) fn completions(args: CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "h2ws", &mut script);
    Ok(terminal::stdout().write_all(&script)?)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let directory = &args.directory;
    let failed = |error: io::Error| format!("cannot write to {}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(failed)?;
    let root = definition();
    let pages = pages(&root, directory).map_err(failed)?;
    writeln!(
        terminal::stdout(),
        "{pages} pages in {}",
        directory.display()
    )?;
    Ok(())
}

fn definition() -> Command {
    let mut root = Args::command();
    root.build();
    root
}

fn pages(root: &Command, directory: &Path) -> io::Result<usize> {
    let mut pages = 0;
    for command in std::iter::once(root).chain(root.get_subcommands()) {
        let file = directory.join(format!("{}.1", name(command)));
        std::fs::write(file, page(root, command)?)?;
        pages += 1;
    }
    Ok(pages)
}

/// Returns the page of a command. clap_mangen would list each of fifty options in the synopsis, and
/// fill the lines of the examples as if they were a paragraph.
fn page(root: &Command, command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(
        command
            .clone()
            .mut_args(with_values_in_help)
            .subcommand_help_heading("COMMANDS"),
    );
    page.extend(title(root, command).into_bytes());
    man.render_name_section(&mut page)?;
    synopsis(command).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_help().map(ToString::to_string);
    sections(&after.unwrap_or_default()).to_writer(&mut page)?;
    if command.get_name() == "help" {
        for (_, text) in TOPICS {
            topic(text).to_writer(&mut page)?;
        }
    }
    see_also(root, command).to_writer(&mut page)?;
    Ok(page)
}

fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// Makes the first line. It has no date, so that the same version makes the same page; `roff` cannot
/// write an empty argument.
fn title(root: &Command, command: &Command) -> String {
    let version = root.get_version().unwrap_or_default();
    format!(
        ".TH {} 1 \"\" \"h2ws {version}\" \"h2ws manual\"\n",
        name(command)
    )
}

/// Lists an argument's values in its help, as `--help` does, instead of in a list of their own.
fn with_values_in_help(arg: Arg) -> Arg {
    let values = arg.get_possible_values();
    let names: Vec<_> = values.iter().map(PossibleValue::get_name).collect();
    if names.is_empty() || !arg.get_action().takes_values() {
        return arg;
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = format!("{help} [possible values: {}]", names.join(", "));
    arg.hide_possible_values(true).help(help)
}

fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (at, line) in usage.lines().map(str::trim).enumerate() {
        if at > 0 {
            roff.control("br", []);
        }
        roff.text([roman(line)]);
    }
    roff
}

/// Makes sections of the text below the options: a line with a colon at its end is a heading, indented
/// lines stay as they are.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (mut has_heading, mut is_indented) = (false, false);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indented = line.starts_with(' ');
        if is_indented && !indented {
            roff.control("EE", []);
            is_indented = false;
        }
        let heading = line.strip_suffix(':').filter(|_| !indented);
        let before_indented = lines.peek().is_some_and(|next| next.starts_with(' '));
        if let Some(heading) = heading.filter(|_| before_indented) {
            roff.control("SH", [heading.to_uppercase().as_str()]);
            has_heading = true;
        } else if line.is_empty() {
            // The next heading, or the start of a paragraph, separates.
            if lines.peek().is_some_and(|next| !next.ends_with(':')) {
                roff.control("PP", []);
            }
        } else {
            if !has_heading {
                roff.control("SH", ["NOTES"]);
                has_heading = true;
            }
            if indented && !is_indented {
                roff.control("EX", []);
                is_indented = true;
            }
            roff.text([roman(line.trim_start())]);
        }
    }
    if is_indented {
        roff.control("EE", []);
    }
    roff
}

/// Makes a section of a topic. Its first line is the title; lines stay as they are.
fn topic(text: &str) -> Roff {
    let (title, body) = text.split_once('\n').unwrap_or((text, ""));
    let mut roff = Roff::new();
    roff.control("SH", [title.to_uppercase().as_str()]);
    roff.control("EX", []);
    for line in body.trim().lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    roff
}

fn see_also(root: &Command, command: &Command) -> Roff {
    let mut roff = Roff::new();
    if command.get_name() != root.get_name() {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("h2ws"), roman("(1)")]);
    }
    roff
}
