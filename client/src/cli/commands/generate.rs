//! `taskstatsctl generate` and `taskstatsctl completions`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::args::Args;
use crate::cli::error::CommandError;

/// The directory of man pages for commands.
const MAN_PAGES: &str = "man/man1";

/// Prints the completion script of a shell.
pub(crate) fn print_completions(shell: Shell) -> Result<(), CommandError> {
    let mut stdout = io::stdout();
    stdout.write_all(&completions(shell))?;
    Ok(stdout.flush()?)
}

/// Writes the man pages of the program and of every subcommand, and the completion scripts of the
/// shells that search a directory below `share`.
pub(crate) fn write_all(directory: &Path) -> Result<(), CommandError> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    for page in with_subcommands(&command) {
        let name = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
        let mut text = Vec::new();
        Man::new(page.name(name.clone())).render(&mut text)?;
        write(directory, &format!("{MAN_PAGES}/{name}.1"), &text)?;
    }
    for shell in Shell::value_variants() {
        if let Some(path) = completion_path(*shell) {
            write(directory, path, &completions(*shell))?;
        }
    }
    Ok(())
}

/// Returns the command and all of its subcommands, as far down as there are any.
fn with_subcommands(command: &Command) -> Vec<Command> {
    let mut commands = vec![command.clone()];
    for subcommand in command.get_subcommands() {
        commands.extend(with_subcommands(subcommand));
    }
    commands
}

/// Returns the path that a shell searches below `share`, for the shells that search one.
fn completion_path(shell: Shell) -> Option<&'static str> {
    match shell {
        Shell::Bash => Some("bash-completion/completions/taskstatsctl"),
        Shell::Fish => Some("fish/vendor_completions.d/taskstatsctl.fish"),
        Shell::Zsh => Some("zsh/site-functions/_taskstatsctl"),
        _ => None,
    }
}

/// Generates a script into memory, because the generators panic on a write error.
fn completions(shell: Shell) -> Vec<u8> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

fn write(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let path = directory.join(name);
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("writing {} failed: {error}", path.display()))
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(&path, text).map_err(failed)
}
