//! What `main` runs: the command line, the commands, and the errors that end the process.

mod capture;
mod environment;
mod error;
mod exit_code;
mod generate;
mod serve;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

pub(crate) use self::error::Error;
use crate::capacity;
use crate::config::{Args, Command, ConfigError, DoctorArgs, ReportFormat};
use crate::doctor;
use crate::sandbox;
use crate::telemetry::{self, LogFormat};

/// The outcome of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command did all that it was to do.
    Complete,
    /// The drain deadline or a second signal aborted connections of the agent.
    Aborted,
    /// The doctor found a problem.
    Unhealthy,
}

/// Runs the command that `arguments` name, the first of which is the program. An error has been written
/// to standard error when this returns.
///
/// # Errors
/// The error that ended the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<Outcome, Error> {
    environment::normalize(&Args::command());
    let parsed = Args::command().try_get_matches_from(arguments).and_then(|matches| {
        let args = Args::from_arg_matches(&matches)?;
        Ok((args, matches))
    });
    let (args, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(answer) => return print(&answer),
    };
    let format = args.log_format;
    dispatch(args, &matches)
        .inspect_err(|error| telemetry::report_fatal(&error.to_string(), format))
}

fn dispatch(args: Args, matches: &ArgMatches) -> Result<Outcome, Error> {
    sandbox::raise_capabilities().map_err(Error::Capabilities)?;
    match args.command.clone() {
        None => serve::serve(args),
        Some(Command::Doctor(doctor)) => examine(args, doctor),
        Some(Command::Capture(capture)) => capture::capture(&args, capture, matches),
        Some(Command::Completions { shell }) => generate::print_completions(shell),
        Some(Command::Generate { directory }) => generate::write_all(&directory),
    }
}

/// Prints the help or the version, which clap hands over as errors, or an error of usage.
fn print(answer: &clap::Error) -> Result<Outcome, Error> {
    let printed = answer.print().and_then(|()| io::stdout().flush());
    if answer.use_stderr() {
        return Err(Error::Usage);
    }
    printed.map(|()| Outcome::Complete).map_err(|error| {
        let error = Error::Output(error);
        telemetry::report_fatal(&error.to_string(), LogFormat::Text);
        error
    })
}

/// Checks the machine and prints the report.
fn examine(args: Args, doctor: DoctorArgs) -> Result<Outcome, Error> {
    DoctorArgs::check(&args)?;
    let report = doctor::examine(args);
    write_stdout(&match doctor.output {
        ReportFormat::Table => report.table(),
        ReportFormat::Json => report.json(),
    })?;
    Ok(if report.is_healthy() { Outcome::Complete } else { Outcome::Unhealthy })
}

fn write_stdout(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::Output)
}

/// Starts the log on standard error.
fn start_log(args: &Args) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| ConfigError::Log {
        filter: args.log.clone(),
        reason: error.to_string(),
    })?;
    telemetry::start_log(filter, args.log_format);
    Ok(())
}

/// Raises the limit of open files as far as the process may. The sandbox forbids it later.
fn raise_fd_limit() {
    if let Err(error) = capacity::raise_fd_limit() {
        tracing::warn!(%error, "kept the soft limit of open files: setrlimit(RLIMIT_NOFILE) failed");
    }
}
