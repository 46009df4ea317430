//! Where log lines go, and in which form.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people, in colour on a terminal
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Sends the log lines that pass `filter` to standard error from now on. The first call in a process
/// counts; a later one changes nothing.
pub fn start_log(filter: EnvFilter, format: LogFormat) {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // It fails when lines go somewhere already.
    let _started = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
}

/// Writes why the process ends, whatever `--log` leaves out and even before there is a log.
pub fn report_fatal(error: &str, format: LogFormat) {
    match format {
        LogFormat::Text => eprintln!("taskstatsd: {error}"),
        LogFormat::Json => {
            let line = tracing_subscriber::fmt().with_writer(io::stderr).json().flatten_event(true);
            // Beside the log, because that may be filtered, or not have begun.
            let told = line.with_ansi(false).finish().set_default();
            tracing::error!("{error}");
            drop(told);
        }
    }
}
