//! What the agent's binary can do beside serving.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::ConfigError;
use crate::capture::Plan;
use crate::taskstats::TaskId;

/// The longest capture: a busy node tells about 100 GiB of exits in that time.
const MAX_CAPTURE_SECONDS: u64 = 24 * 60 * 60;

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Write the kernel's raw taskstats messages of some seconds to a file.
    Capture(CaptureArgs),
}

/// What to capture, and where to.
#[derive(Args, Clone, Debug)]
pub struct CaptureArgs {
    /// How long, in seconds; Ctrl-C ends it earlier, and the file is complete all the same.
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

impl TryFrom<CaptureArgs> for Plan {
    type Error = ConfigError;

    fn try_from(args: CaptureArgs) -> Result<Self, ConfigError> {
        if !(1..=MAX_CAPTURE_SECONDS).contains(&args.seconds) {
            return Err(ConfigError::OutOfRange {
                flag: "--seconds",
                value: args.seconds.to_string(),
                range: format!("1 to {MAX_CAPTURE_SECONDS}"),
            });
        }
        let pids = args.pid.into_iter().map(TaskId::Pid);
        Ok(Self {
            duration: Duration::from_secs(args.seconds),
            cpus: args.cpus,
            tasks: pids.chain(args.tgid.into_iter().map(TaskId::Tgid)).collect(),
            output: args.output,
        })
    }
}
