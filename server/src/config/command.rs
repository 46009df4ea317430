//! The subcommands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{CaptureArgs, ConfigError, KernelChoice};

/// A command to run instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check this machine and the agent's environment, and report what to change
    Doctor(DoctorArgs),
    /// Record the kernel's taskstats messages to a file
    Capture(CaptureArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages and the completion scripts to a directory
    ///
    /// The files are in the subdirectories that man and the shells search below /usr/local/share.
    Generate {
        /// The directory, which is created if it is missing
        directory: PathBuf,
    },
}

/// The flags of the doctor.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Format of the report
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ReportFormat,
}

impl DoctorArgs {
    /// Rejects settings of the agent that the doctor would ignore.
    ///
    /// # Errors
    /// [`ConfigError::SimulatedDoctor`].
    pub(crate) fn check(args: &super::Args) -> Result<(), ConfigError> {
        if args.kernel == KernelChoice::Linux { Ok(()) } else { Err(ConfigError::SimulatedDoctor) }
    }
}

/// A format of the doctor's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A table for people
    Table,
    /// One JSON document
    Json,
}
