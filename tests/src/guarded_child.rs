//! Child processes that end with their test, however the test ends.

use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command as StdCommand, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::binaries;

/// A child process that leads a process group. Dropping it kills the group.
///
/// The group is also killed if the test process ends without dropping it: by an abort, by
/// `SIGKILL`, or by the time limit of a test runner. For that purpose a guard process (`workload
/// guard`) reads the ids of the groups from a pipe, and kills the remaining groups when the pipe is
/// closed. `PR_SET_PDEATHSIG` is not enough: the kernel clears it when a process changes its user
/// (`commit_creds` in `kernel/cred.c`), as the agent does.
#[derive(Debug)]
pub struct GuardedChild {
    child: Child,
    group: Pid,
}

/// The pipe to the guard process of this test process.
static GUARD: Mutex<Option<ChildStdin>> = Mutex::new(None);

impl GuardedChild {
    /// Starts a process.
    ///
    /// # Errors
    ///
    /// The process or its guard cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn().with_context(|| {
            format!("start {}", command.as_std().get_program().to_string_lossy())
        })?;
        let group = Pid::from_raw(child.id().context("a new process without an id")?.try_into()?);
        let guarded = Self { child, group };
        notify_guard('+', group)?;
        Ok(guarded)
    }

    /// Runs a process to its end, and returns its exit status and its output.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub async fn run(command: &mut Command) -> Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guarded = Self::spawn(command)?;
        let (stdout, stderr) = (guarded.stdout.take(), guarded.stderr.take());
        let (status, stdout, stderr) =
            tokio::try_join!(guarded.child.wait(), read_all(stdout), read_all(stderr))?;
        Ok(Output { status, stdout, stderr })
    }
}

impl Deref for GuardedChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for GuardedChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        // Once the leader was reaped its id may be that of another group.
        if self.child.id().is_some() {
            // All of the group may have ended by now.
            let _gone = killpg(self.group, Signal::SIGKILL);
        }
        if let Err(error) = notify_guard('-', self.group) {
            eprintln!("the guard process does not read: {error:#}");
        }
    }
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Adds a group to those that the guard kills (`+`), or removes it (`-`).
fn notify_guard(sign: char, group: Pid) -> Result<()> {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        let mut child = StdCommand::new(binaries::workload()?)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the guard process")?;
        *guard = child.stdin.take();
    }
    let pipe = guard.as_mut().context("a guard process without a pipe")?;
    Ok(pipe.write_all(format!("{sign}{group}\n").as_bytes())?)
}
