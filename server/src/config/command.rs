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
    /// Write the manual pages of the agent and its subcommands
    Man {
        /// Directory for the pages, which is created if it does not exist
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
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
