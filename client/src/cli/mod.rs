//! The `taskstatsctl` command line.

mod advice;
mod args;
mod commands;
mod connection;
mod cursor;
mod environment;
mod error;
mod render;
mod since;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Args, Command};
use commands::{generate, get, health, node, watch};
use error::{CommandError, print_error};
use render::output::{Mode, Output};

/// Runs the command that the process' arguments name, and returns the process' exit code.
pub async fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(error) => return print_usage(&error),
    };
    exit_code(run(args).await)
}

fn parse() -> Result<Args, clap::Error> {
    let matches = environment::normalize(Args::command()).try_get_matches()?;
    Args::from_arg_matches(&matches)
}

/// Prints what clap has to print: help and version to standard output, an error to standard error.
///
/// clap's own `exit` ignores a failure to write the help.
fn print_usage(error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| io::stdout().flush());
    if error.use_stderr() {
        return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    exit_code(printed.map_err(CommandError::from))
}

/// Prints the message of an error, and returns the exit code. A closed output pipe is a success.
fn exit_code(outcome: Result<(), CommandError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(message) = error.message() {
                print_error(&message);
            }
            error.exit_code()
        }
    }
}

async fn run(args: Args) -> Result<(), CommandError> {
    match &args.command {
        Command::Completions { shell } => return generate::print_completions(*shell),
        Command::Generate { directory } => return generate::write_all(directory),
        Command::Get(_) | Command::Watch(_) | Command::Node | Command::Health { .. } => {}
    }
    let (mode, zone_error) = Mode::new(args.output, args.color);
    if let Some(error) = zone_error {
        print_error(&error.to_string());
    }
    let mut out = Output::new(io::stdout().lock(), mode);
    let connection = &args.connection;
    connection.check()?;
    match &args.command {
        Command::Get(get) => get::run(&connection.open().await?, get, &mut out).await,
        Command::Watch(watch) => watch::run(connection, watch, &mut out).await,
        Command::Health { service } => {
            health::run(&connection.open().await?, service.as_deref(), &mut out).await
        }
        Command::Node => node::run(&connection.open().await?, &mut out).await,
        Command::Completions { .. } | Command::Generate { .. } => Ok(()),
    }
}
