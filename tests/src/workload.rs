//! Tasks that exit in known ways: the `workload` binary, driven from a test.

use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::binaries;
use crate::deadline::within;
use crate::guarded_child::GuardedChild;

/// The line that a workload prints when it is set up.
const READY: &str = "ready";

/// A workload that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Workload {
    child: GuardedChild,
    pid: u32,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// A workload that has ended and has been waited for: the kernel has reported its exit.
#[derive(Debug)]
pub struct Ended {
    /// The process id it had.
    pub pid: u32,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: String,
}

impl Workload {
    /// Starts a workload with the arguments of the `workload` binary.
    ///
    /// # Errors
    ///
    /// The workload cannot be started.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(binaries::workload()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = GuardedChild::spawn(&mut command)?;
        Ok(Self {
            pid: child.id().context("workload without pid")?,
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().context("workload without stdout")?),
            child,
        })
    }

    /// Starts a workload that waits for the end of its standard input, and waits until it is set
    /// up.
    ///
    /// # Errors
    ///
    /// The workload cannot be started, or ends early.
    pub async fn waiting(arguments: &[&str]) -> Result<Self> {
        let mut workload = Self::start(arguments)?;
        let mut line = String::new();
        within("a workload to be ready", workload.stdout.read_line(&mut line)).await??;
        ensure!(line.trim_end() == READY, "the workload printed {line:?}");
        Ok(workload)
    }

    /// Runs a workload that ends by itself.
    ///
    /// # Errors
    ///
    /// The workload cannot be started, or does not end.
    pub async fn run(arguments: &[&str]) -> Result<Ended> {
        Self::start(arguments)?.end().await
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    ///
    /// The workload has ended already.
    pub async fn kill(mut self) -> Result<Ended> {
        self.child.start_kill()?;
        self.end().await
    }

    /// Closes the standard input of the workload, and waits for its end.
    ///
    /// # Errors
    ///
    /// The workload does not end.
    pub async fn end(mut self) -> Result<Ended> {
        self.stdin = None;
        let mut output = String::new();
        within("a workload's output", self.stdout.read_to_string(&mut output)).await??;
        let status = within("a workload's end", self.child.wait()).await??;
        Ok(Ended { pid: self.pid, status, output })
    }
}
