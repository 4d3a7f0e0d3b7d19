//! The options of `h2ws completions` and `h2ws man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

pub(super) const COMPLETIONS: &str = "\
Examples:
  h2ws completions bash > ~/.local/share/bash-completion/completions/h2ws
  h2ws completions zsh > ~/.zfunc/_h2ws
  h2ws completions fish > ~/.config/fish/completions/h2ws.fish";

pub(super) const MAN: &str = "\
Examples:
  h2ws man ~/.local/share/man/man1";

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete commands and options in
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory of the pages, created if missing: h2ws.1, and a page per command
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: PathBuf,
}
