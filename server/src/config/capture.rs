//! The flags of `taskstatsd capture`.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use super::range::check_range;
use super::{Args, ConfigError, bytes, check_receive_buffer};
use crate::capture::CapturePlan;
use crate::taskstats::TaskId;

/// The longest capture: a busy node sends about 100 GiB of exits in that time.
const MAX_SECONDS: u64 = 24 * 60 * 60;

/// Flags of the agent that apply to a capture as well.
const SHARED: [&str; 4] = ["receive_buffer", "ignore_known_bad_kernel", "log", "log_format"];

/// The flags of a capture.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct CaptureArgs {
    /// Length of the capture in seconds. Ctrl-C ends it early with a complete file, a second Ctrl-C
    /// ends it at once
    #[arg(long, value_name = "N", env = "TASKSTATSD_CAPTURE_SECONDS")]
    pub(crate) seconds: u64,

    /// CPUs to listen to, as a CPU list of the kernel (0-3,8) [default: those online]
    #[arg(long, value_name = "CPUS", env = "TASKSTATSD_CAPTURE_CPUS")]
    pub(crate) cpus: Option<String>,

    /// Live task to query at the start; can be repeated
    #[arg(long, value_name = "PID", env = "TASKSTATSD_CAPTURE_PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,

    /// Live process to query at the start; can be repeated
    #[arg(long, value_name = "TGID", env = "TASKSTATSD_CAPTURE_TGID", value_delimiter = ',')]
    pub(crate) tgid: Vec<u32>,

    /// File to create, which must not exist [default: standard output]
    #[arg(long, value_name = "FILE", env = "TASKSTATSD_CAPTURE_OUTPUT")]
    pub(crate) output: Option<PathBuf>,
}

impl CaptureArgs {
    /// Rejects flags of the agent that a capture would ignore.
    ///
    /// # Errors
    /// [`ConfigError::NotForCapture`].
    pub(crate) fn check_flags(matches: &ArgMatches) -> Result<(), ConfigError> {
        let command = Args::command();
        let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut ids = command.get_arguments().map(|argument| argument.get_id().as_str());
        // The flags of help and version are not among the matches.
        let known = |id: &&str| matches.try_contains_id(id).is_ok();
        match ids.find(|id| known(id) && is_given(id) && !SHARED.contains(id)) {
            None => Ok(()),
            Some(id) => Err(ConfigError::NotForCapture(id.replace('_', "-"))),
        }
    }

    /// Validates the flags, with those of the agent that apply to a capture.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`].
    pub(crate) fn plan(self, args: &Args) -> Result<CapturePlan, ConfigError> {
        check_receive_buffer(args.receive_buffer)?;
        check_range("--seconds", self.seconds, 1..=MAX_SECONDS)?;
        let pids = self.pid.into_iter().map(TaskId::Pid);
        Ok(CapturePlan {
            duration: Duration::from_secs(self.seconds),
            cpus: self.cpus,
            tasks: pids.chain(self.tgid.into_iter().map(TaskId::Tgid)).collect(),
            output: self.output,
            receive_buffer: bytes(args.receive_buffer),
            ignore_known_bad_kernel: args.ignore_known_bad_kernel,
        })
    }
}
