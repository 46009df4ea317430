//! What `taskstatsd capture` is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use super::{Args, ConfigError, bytes, check_receive_buffer};
use crate::capture::CapturePlan;
use crate::taskstats::TaskId;

/// The longest capture: a busy node tells about 100 GiB of exits in that time.
const MAX_SECONDS: u64 = 24 * 60 * 60;

/// Flags of the agent that hold for a capture too.
const SHARED: [&str; 4] = ["receive_buffer", "ignore_known_bad_kernel", "log", "log_format"];

/// What to capture, and where to.
#[derive(clap::Args, Clone, Debug)]
pub struct CaptureArgs {
    /// How long, in seconds; Ctrl-C ends it earlier, and the file is complete all the same;
    /// a second one ends at once.
    #[arg(long, value_name = "N", env = "TASKSTATSD_CAPTURE_SECONDS")]
    pub seconds: u64,

    /// CPUs to listen to, in the kernel's list syntax; those online by default.
    #[arg(long, value_name = "CPUS", env = "TASKSTATSD_CAPTURE_CPUS")]
    pub cpus: Option<String>,

    /// Live task whose account to ask for at the begin; may be given more than once.
    #[arg(long, value_name = "PID", env = "TASKSTATSD_CAPTURE_PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Live process whose account to ask for at the begin; may be given more than once.
    #[arg(long, value_name = "TGID", env = "TASKSTATSD_CAPTURE_TGID", value_delimiter = ',')]
    pub tgid: Vec<u32>,

    /// File to make, which must not exist yet; standard output by default.
    #[arg(long, value_name = "FILE", env = "TASKSTATSD_CAPTURE_OUTPUT")]
    pub output: Option<PathBuf>,
}

impl CaptureArgs {
    /// Refuses flags of the agent that a capture would pass over.
    ///
    /// # Errors
    /// [`ConfigError::NotForCapture`].
    pub fn check_flags(matches: &ArgMatches) -> Result<(), ConfigError> {
        let command = Args::command();
        let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut ids = command.get_arguments().map(|argument| argument.get_id().as_str());
        // Help and version end the program before.
        let known = |id: &&str| matches.try_contains_id(id).is_ok();
        match ids.find(|id| known(id) && is_given(id) && !SHARED.contains(id)) {
            None => Ok(()),
            Some(id) => Err(ConfigError::NotForCapture(id.replace('_', "-"))),
        }
    }

    /// Checks what was asked for, with the settings that hold for all that the program does.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`].
    pub fn plan(self, args: &Args) -> Result<CapturePlan, ConfigError> {
        check_receive_buffer(args.receive_buffer)?;
        if !(1..=MAX_SECONDS).contains(&self.seconds) {
            return Err(ConfigError::OutOfRange {
                flag: "--seconds",
                value: self.seconds.to_string(),
                range: format!("1 to {MAX_SECONDS}"),
            });
        }
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
