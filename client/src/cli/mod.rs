//! The `taskstatsctl` command line.

mod account;
mod args;
mod certificates;
mod columns;
mod exits;
mod failure;
mod get;
mod health;
mod json;
mod node;
mod output;
mod palette;
mod place;
mod printer;
mod reconnect;
mod signals;
mod stats;
mod text;
mod time;
mod tls;
mod units;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

pub use args::Args;
use args::Command;
use failure::{Failure, tell};
use output::Output;

use crate::{Client, Error};

/// Does what the arguments ask for, and returns how the process is to end: success also when the
/// reader of standard output went away.
pub async fn main(args: Args) -> ExitCode {
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                tell(&sentence);
            }
            failure.exit_code()
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    let mut out = Output::new(io::stdout().lock(), args.output, args.color);
    match &args.command {
        Command::Completions { shell } => print_completions(*shell),
        Command::Man => print_manual(),
        Command::Get(get) => get::run(&connect(&args).await?, get, &mut out).await,
        Command::Watch(watch) => watch::run(&args, watch, &mut out).await,
        Command::Health { service } => {
            health::run(&connect(&args).await?, service.as_deref(), &mut out).await
        }
        Command::Node => node::run(&connect(&args).await?, &mut out).await,
    }
}

async fn connect(args: &Args) -> Result<Client, Error> {
    let builder = Client::builder().connect_timeout(args.timeout).deadline(args.timeout);
    args.tls.apply(builder)?.connect(args.target.clone()).await
}

/// Through a buffer, because the generators panic where they cannot write.
fn print_completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    Ok(io::stdout().write_all(&script)?)
}

fn print_manual() -> Result<(), Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    Ok(io::stdout().write_all(&page)?)
}
