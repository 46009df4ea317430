//! The format of log lines.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::stderr::{LossyStderr, one_line};

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people, in colour on a terminal
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Sends the log lines that pass `filter` to standard error from now on. Only the first call in a
/// process has an effect.
pub(crate) fn start_log(filter: EnvFilter, format: LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LossyStderr::new(format))
        // Reported by `eprintln!`, which panics where standard error cannot be written.
        .log_internal_errors(false);
    // Fails if a subscriber is set already.
    let _started = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
}

/// Writes the error that ends the process to standard error, in the format of log lines. The filter of
/// `--log` does not apply, and the log need not have been started.
pub(crate) fn report_fatal(error: &str, format: LogFormat) {
    match format {
        LogFormat::Text => {
            // The exit code still reports the failure.
            let line = format!("taskstatsd: {error}\n");
            let _unwritable = io::stderr().write_all(&one_line(line.as_bytes()));
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt()
                .with_writer(LossyStderr::new(format))
                .log_internal_errors(false)
                .json()
                .flatten_event(true);
            let subscriber = lines.with_ansi(false).finish().set_default();
            tracing::error!("{error}");
            drop(subscriber);
        }
    }
}
