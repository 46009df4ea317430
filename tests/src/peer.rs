//! Programs that connect to the agent, and their output.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::deadline::within;
use crate::guarded_child::GuardedChild;

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Peer {
    child: GuardedChild,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramOutput {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Peer {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let mut command = command(program, arguments);
        let mut child = GuardedChild::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, stdout })
    }

    /// Returns its process id.
    ///
    /// # Errors
    ///
    /// The program has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the program has ended")
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// The program has closed its standard input.
    pub async fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no standard input")?;
        Ok(stdin.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    ///
    /// The program has ended already.
    pub async fn kill(mut self) -> Result<()> {
        self.child.start_kill()?;
        within("the program's end", self.child.wait()).await??;
        Ok(())
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// The program cannot be started, or does not end.
    pub async fn run<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<ProgramOutput> {
        let mut command = command(program, arguments);
        within("a program's end", GuardedChild::run(&mut command)).await??.try_into()
    }

    /// Waits for the next line of its standard output.
    ///
    /// # Errors
    ///
    /// The program has ended.
    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = within("a line of output", self.stdout.read_line(&mut line)).await??;
        ensure!(read > 0, "the program has closed its output: {:?}", self.child.wait().await?);
        Ok(line)
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Errors
    ///
    /// The program ended before.
    pub async fn line_with(&mut self, text: &str) -> Result<String> {
        loop {
            let line = self.line().await.with_context(|| format!("waiting for {text}"))?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Closes its standard output, and waits for its end.
    ///
    /// # Errors
    ///
    /// The program does not end.
    pub async fn close_output(self) -> Result<Option<i32>> {
        let Self { mut child, stdout, .. } = self;
        drop(stdout);
        Ok(within("the program's end", child.wait()).await??.code())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// The program does not end.
    pub async fn end(mut self) -> Result<Option<i32>> {
        Ok(within("the program's end", self.child.wait()).await??.code())
    }
}

impl TryFrom<Output> for ProgramOutput {
    type Error = anyhow::Error;

    fn try_from(output: Output) -> Result<Self> {
        Ok(Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }
}

fn command<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}
