//! The command line of the load generator.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
