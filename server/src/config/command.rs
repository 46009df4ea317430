//! What the program can do beside serving.

use clap::{Args, Subcommand, ValueEnum};

use super::{CaptureArgs, ConfigError, KernelChoice};

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Tell whether this machine and the place where the agent runs are right for it, and what to
    /// change; serves nothing.
    Doctor(DoctorArgs),
    /// Write the kernel's own taskstats messages of some seconds to a file; serves nothing.
    Capture(CaptureArgs),
}

/// How the doctor tells what it found.
#[derive(Clone, Copy, Debug, Args)]
pub struct DoctorArgs {
    /// How to print what was found.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: ReportFormat,
}

impl DoctorArgs {
    /// Refuses settings of the agent that the doctor would pass over.
    ///
    /// # Errors
    /// [`ConfigError::SimulatedPatient`].
    pub fn check(args: &super::Args) -> Result<(), ConfigError> {
        match args.kernel {
            KernelChoice::Linux => Ok(()),
            #[cfg(feature = "sim")]
            KernelChoice::Sim(_) => Err(ConfigError::SimulatedPatient),
        }
    }
}

/// A form of the doctor's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For reading.
    Table,
    /// One JSON document.
    Json,
}
