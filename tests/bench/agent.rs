//! A running agent.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::worker::{end_within, pid_of};

/// A serving agent. Dropping it ends and reaps the process.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    directory: TempDir,
}

/// The start needs milliseconds, and the end no longer than clients need to disconnect.
const PATIENCE: Duration = Duration::from_secs(10);
/// The size of a buffer for a notification.
const NOTICE_BYTES: usize = 4 << 10;
/// Raises the limits of a caller beyond every measurement: the agent is measured, not its limits.
const HIGH_LIMITS: [&str; 8] = [
    "--max-call-rate",
    "0",
    "--principal-share",
    "100",
    "--max-watchers",
    "256",
    "--max-connections",
    "512",
];
const SOCKET: &str = "agent.sock";
const NOTIFY: &str = "notify.sock";
const LOG: &str = "agent.log";
/// Precedes the address in the agent's log line of a listener.
const LISTENING: &str = "listening addr=";

impl Agent {
    /// Starts an agent on a private socket with these settings, and waits until it serves.
    pub(crate) fn start(binary: &Path, settings: &[String]) -> Result<Self> {
        let directory = tempfile::tempdir().context("make a directory")?;
        let notices = UnixDatagram::bind(directory.path().join(NOTIFY)).context("bind")?;
        notices.set_read_timeout(Some(PATIENCE))?;
        let log = File::create(directory.path().join(LOG)).context("make a log file")?;
        let child = Command::new(binary)
            .arg("--listen")
            .arg(address_in(&directory))
            .args(HIGH_LIMITS)
            .args(settings)
            .env("NOTIFY_SOCKET", directory.path().join(NOTIFY))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let agent = Self { child, directory };
        agent.await_ready(&notices)?;
        Ok(agent)
    }

    /// Returns the address of the private socket.
    pub(crate) fn address(&self) -> String {
        address_in(&self.directory)
    }

    /// Returns the address of the TCP listener, if the settings have one.
    pub(crate) fn port(&self) -> Result<Option<String>> {
        let log = fs::read_to_string(self.directory.path().join(LOG)).context("read the log")?;
        let urls = log.lines().filter_map(|line| line.split_once(LISTENING));
        Ok(urls.map(|(_, url)| url.trim().to_owned()).find(|url| url.starts_with("tcp://")))
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> Result<Pid> {
        pid_of(&self.child)
    }

    fn await_ready(&self, notices: &UnixDatagram) -> Result<()> {
        let mut notice = [0; NOTICE_BYTES];
        let length = notices.recv(&mut notice).with_context(|| {
            let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
            format!("the agent did not become ready; its log:\n{log}")
        })?;
        let text = String::from_utf8_lossy(&notice[..length]);
        ensure!(text.lines().any(|line| line == "READY=1"), "the agent said {text:?}");
        Ok(())
    }
}

impl Drop for Agent {
    /// Sends SIGTERM to the agent, and waits until it has ended.
    fn drop(&mut self) {
        let reported = self.pid().and_then(|pid| Ok(kill(pid, Signal::SIGTERM)?));
        end_within(&mut self.child, if reported.is_ok() { PATIENCE } else { Duration::ZERO });
    }
}

fn address_in(directory: &TempDir) -> String {
    format!("unix://{}", directory.path().join(SOCKET).display())
}
