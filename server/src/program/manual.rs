//! `taskstatsd man` and `taskstatsd completions`.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Error, Outcome, write_stdout};
use crate::config::Args;

/// The section of the manual for daemons, which every page names.
const SECTION: &str = "8";

/// Writes a page for the program and for each subcommand to `directory`, which is created if missing.
pub(super) fn write_pages(directory: &Path) -> Result<Outcome, Error> {
    let failed = |source| Error::Manual { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let subcommands = command.get_subcommands().cloned().collect::<Vec<_>>();
    for command in subcommands.into_iter().chain([command]) {
        Man::new(command).section(SECTION).generate_to(directory).map_err(failed)?;
    }
    Ok(Outcome::Complete)
}

/// Prints the completion script of a shell.
pub(super) fn print_completions(shell: Shell) -> Result<Outcome, Error> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    // Writing to memory does not fail; the generator panics where its target does.
    clap_complete::generate(shell, &mut command, name, &mut script);
    write_stdout(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Complete)
}
