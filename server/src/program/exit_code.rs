//! The exit code of each way in which the process ends.

use std::process::ExitCode;

use super::{Error, Outcome};
use crate::agent::{RunError, StartError};
use crate::capture::RecordError;
use crate::sandbox::SandboxError;

/// The exit code of a setting that cannot be used, as of a command line that cannot be parsed.
const USAGE: u8 = 2;

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::SUCCESS,
            Outcome::Aborted | Outcome::Unhealthy => Self::FAILURE,
        }
    }
}

impl From<Error> for ExitCode {
    fn from(error: Error) -> Self {
        match error {
            Error::Usage
            | Error::Config(_)
            | Error::Capture(RecordError::Cpus(_))
            | Error::Agent(RunError::Start(
                StartError::Config(_)
                | StartError::AlwaysWatch(_)
                | StartError::Sandbox(SandboxError::User(_)),
            )) => Self::from(USAGE),
            Error::Inherited(_)
            | Error::Capabilities(_)
            | Error::Runtime(_)
            | Error::Signals(_)
            | Error::Output(_)
            | Error::Generate { .. }
            | Error::Capture(
                RecordError::Kernel(_)
                | RecordError::Exists(_)
                | RecordError::Output { .. }
                | RecordError::Terminal
                | RecordError::Write(_)
                | RecordError::Stuck
                | RecordError::Abandoned,
            )
            | Error::Agent(
                RunError::ExitsUnavailable(_)
                | RunError::Broken(_)
                | RunError::Start(
                    StartError::Bind(_)
                    | StartError::Kernel(_)
                    | StartError::Broker(_)
                    | StartError::Simulation(_)
                    | StartError::Tls(_)
                    | StartError::Node(_)
                    | StartError::Descriptors(_)
                    | StartError::Claim(_)
                    | StartError::Attribution(_)
                    | StartError::ExitsUnavailable(_)
                    | StartError::Exits(_)
                    | StartError::Reflection(_)
                    | StartError::Sandbox(
                        SandboxError::MissingCapabilities { .. }
                        | SandboxError::Threads(_)
                        | SandboxError::StateDir { .. }
                        | SandboxError::StateDirLink(_)
                        | SandboxError::StateDirExposed { .. }
                        | SandboxError::StateDirOfSharedUser { .. }
                        | SandboxError::StateDirShared { .. }
                        | SandboxError::StateDirForeignFile { .. }
                        | SandboxError::System { .. }
                        | SandboxError::Landlock(_)
                        | SandboxError::Path(_)
                        | SandboxError::Seccomp(_),
                    ),
                ),
            ) => Self::FAILURE,
        }
    }
}
