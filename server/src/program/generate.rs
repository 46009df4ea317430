//! `taskstatsd generate` and `taskstatsd completions`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Error, Outcome, write_stdout};
use crate::config::Args;

/// The section of the manual for daemons, which every page names.
const SECTION: &str = "8";

/// Writes the manual pages of the program and of every subcommand, and the completion scripts of the
/// shells that search a directory below `share`. Missing directories are created.
pub(super) fn write_all(share: &Path) -> Result<Outcome, Error> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    for page in with_subcommands(&command) {
        let name = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
        let mut text = Vec::new();
        let path = format!("man/man{SECTION}/{name}.{SECTION}");
        let page = Man::new(page.name(name)).section(SECTION);
        page.render(&mut text).map_err(|source| failed(share.join(&path), source))?;
        write(share, &path, &text)?;
    }
    for shell in Shell::value_variants() {
        if let Some(path) = completion_path(*shell) {
            write(share, path, &completions(*shell))?;
        }
    }
    Ok(Outcome::Complete)
}

/// Prints the completion script of a shell.
pub(super) fn print_completions(shell: Shell) -> Result<Outcome, Error> {
    write_stdout(&String::from_utf8_lossy(&completions(shell)))?;
    Ok(Outcome::Complete)
}

/// Returns the command and all of its subcommands.
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
        Shell::Bash => Some("bash-completion/completions/taskstatsd"),
        Shell::Fish => Some("fish/vendor_completions.d/taskstatsd.fish"),
        Shell::Zsh => Some("zsh/site-functions/_taskstatsd"),
        _ => None,
    }
}

/// Generates a script into memory, because the generator panics on a write error.
fn completions(shell: Shell) -> Vec<u8> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

fn write(share: &Path, name: &str, text: &[u8]) -> Result<(), Error> {
    let path = share.join(name);
    let directory = path.parent().unwrap_or(share);
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, text));
    written.map_err(|source| failed(path, source))
}

const fn failed(path: PathBuf, source: io::Error) -> Error {
    Error::Generate { path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::{Shell, completion_path, write_all};
    use crate::config::Args;

    #[test]
    fn every_subcommand_has_a_page_and_each_shell_its_completions() {
        let share = tempfile::tempdir().unwrap();
        write_all(share.path()).unwrap();
        let pages = share.path().join("man/man8").read_dir().unwrap();
        let pages: BTreeSet<String> =
            pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
        let mut expected = BTreeSet::from(["taskstatsd.8".to_owned()]);
        let command = Args::command();
        let subcommands = command.get_subcommands().map(clap::Command::get_name);
        expected.extend(subcommands.map(|name| format!("taskstatsd-{name}.8")));
        assert_eq!(pages, expected);
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            assert!(share.path().join(completion_path(shell).unwrap()).exists(), "{shell}");
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write_all(file.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("writing {}/man/", file.path().display())), "{error}");
    }
}
