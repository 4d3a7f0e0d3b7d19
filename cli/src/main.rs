//! The h2ws program.

use std::process::ExitCode;

fn main() -> ExitCode {
    h2ws_cli::main()
}
