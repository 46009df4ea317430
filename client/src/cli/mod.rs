//! The `taskstatsctl` command line.

mod args;
mod commands;
mod connection;
mod cursor;
mod error;
mod render;

use std::io;
use std::process::ExitCode;

pub use args::Args;
use args::Command;
use commands::{generate, get, health, node, watch};
use error::{CommandError, print_error};
use render::output::Output;

/// Runs the command that the arguments name, and returns the process' exit code.
///
/// A closed standard output is a success.
pub async fn main(args: Args) -> ExitCode {
    match run(args).await {
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
    let mut out = Output::new(io::stdout().lock(), args.output, args.color);
    let connection = &args.connection;
    match &args.command {
        Command::Completions { shell } => generate::print_completions(*shell),
        Command::Man => generate::print_man_page(),
        Command::Get(get) => get::run(&connection.open().await?, get, &mut out).await,
        Command::Watch(watch) => watch::run(connection, watch, &mut out).await,
        Command::Health { service } => {
            health::run(&connection.open().await?, service.as_deref(), &mut out).await
        }
        Command::Node => node::run(&connection.open().await?, &mut out).await,
    }
}
