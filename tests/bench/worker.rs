//! The suite's side of a process that it starts from its own binary.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use crate::control::READY;

/// A running process; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// No reply needs this long: registering lasts milliseconds, a hundred connections a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// The interval between checks for the end of a process.
const REAPING: Duration = Duration::from_millis(5);

impl Worker {
    /// Starts this binary in the role that the arguments name.
    pub(crate) fn start(arguments: &[String]) -> Result<Self> {
        let binary = env::current_exe().context("find this binary")?;
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start this binary")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("take the output of a process")?;
        Ok(Self { child, input, lines: lines_of(output)? })
    }

    /// Starts this binary in a counting role, and waits until it counts.
    pub(crate) fn start_counting(arguments: &[String]) -> Result<Self> {
        let worker = Self::start(arguments)?;
        let line = worker.line(Duration::ZERO)?;
        ensure!(line == READY, "a process said {line:?} instead of {READY:?}");
        Ok(worker)
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> Result<Pid> {
        pid_of(&self.child)
    }

    /// Closes the input of the process, and returns its report. A process that ends by itself may
    /// need `longest` for that.
    pub(crate) fn finish<T: DeserializeOwned>(mut self, longest: Duration) -> Result<T> {
        drop(self.input.take());
        self.response(longest)
    }

    /// Returns the next report of the process.
    pub(crate) fn response<T: DeserializeOwned>(&self, longest: Duration) -> Result<T> {
        let line = self.line(longest)?;
        serde_json::from_str(&line).with_context(|| format!("understand {line:?}"))
    }

    fn line(&self, longest: Duration) -> Result<String> {
        self.lines.recv_timeout(longest + PATIENCE).context("a process did not reply")
    }
}

impl Drop for Worker {
    /// Closes the input of the process, and kills it if it does not end in time.
    fn drop(&mut self) {
        drop(self.input.take());
        end_within(&mut self.child, PATIENCE);
    }
}

/// Reaps an ending process, and kills it if it does not end in time.
pub(crate) fn end_within(child: &mut Child, patience: Duration) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(REAPING);
    }
    drop(child.kill());
    drop(child.wait());
}

/// Returns a child's id in the type of the system calls.
pub(crate) fn pid_of(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id()).context("a pid beyond i32")?))
}

fn lines_of(output: ChildStdout) -> Result<Receiver<String>> {
    let (sender, receiver) = mpsc::channel();
    let forward = move || {
        let lines = BufReader::new(output).lines();
        lines.map_while(Result::ok).try_for_each(|line| sender.send(line).ok())
    };
    thread::Builder::new().name("lines".to_owned()).spawn(forward).context("start a thread")?;
    Ok(receiver)
}
