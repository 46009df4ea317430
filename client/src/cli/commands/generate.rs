//! `taskstatsctl completions` and `taskstatsctl man`.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::cli::args::Args;
use crate::cli::error::CommandError;

/// Prints the completion script for a shell.
///
/// The script is generated into a buffer first, because the generators panic on a write error.
pub(crate) fn print_completions(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Prints the man page of the program.
pub(crate) fn print_man_page() -> Result<(), CommandError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    Ok(io::stdout().write_all(&page)?)
}
