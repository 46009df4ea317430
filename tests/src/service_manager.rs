//! A service manager in small: it owns the agent's listening socket and stores descriptors for it,
//! as systemd does.

mod inbox;
mod store;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::Command;

use self::inbox::Inbox;
use self::store::{Notification, Store};
use crate::agent::program;
use crate::deadline::within;
use crate::directory;
use crate::guarded_child::GuardedChild;

/// The notification of a service that is ready.
const READY: &str = "READY=1";
/// The name of the listening socket; that of its unit, as systemd has it.
const LISTENER_NAME: &str = "taskstatsd.socket";
/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST_DESCRIPTOR: RawFd = 3;
/// Only the process itself knows its id before it is the agent.
const START: &str = r#"export LISTEN_PID=$$; exec "$0" "$@""#;

/// A manager of one agent. Dropping it kills the agent.
#[derive(Debug)]
pub struct ServiceManager {
    directory: TempDir,
    arguments: Vec<OsString>,
    listener: UnixListener,
    inbox: Inbox,
    store: Store,
    habits: Habits,
    hands_over: bool,
    child: Option<GuardedChild>,
}

/// Features that a manager lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habits {
    /// It has all features.
    Whole,
    /// It does not store descriptors.
    NoStore,
    /// It does not receive notifications, and does not set `NOTIFY_SOCKET`.
    NoNotifications,
}

impl ServiceManager {
    /// Creates a manager that keeps the agent's history across restarts, and starts the agent with
    /// `arguments`.
    ///
    /// # Errors
    ///
    /// No temporary directory can be created.
    pub fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let directory = directory::readable_to_all()?;
        fs::create_dir(directory.path().join("state"))?;
        let listener = UnixListener::bind(directory.path().join("agent.sock"))?;
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        Ok(Self {
            arguments: arguments.collect(),
            listener,
            inbox: Inbox::open(&directory.path().join("notify.sock"))?,
            store: Store::default(),
            habits: Habits::Whole,
            hands_over: true,
            child: None,
            directory,
        })
    }

    /// Ignores requests to store descriptors, as systemd does where `FileDescriptorStoreMax=` is 0.
    #[must_use]
    pub fn without_store(self) -> Self {
        Self { habits: Habits::NoStore, ..self }
    }

    /// Disables `sd_notify(3)`.
    #[must_use]
    pub fn without_notifications(self) -> Self {
        Self { habits: Habits::NoNotifications, ..self }
    }

    /// Returns the address of the listening socket, which is there before the agent.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("agent.sock").display())
    }

    /// Returns the path of the file through which runs hand over to each other.
    #[must_use]
    pub fn handover_file(&self) -> PathBuf {
        self.state_directory().join("handover")
    }

    /// Returns the directory of that file.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Returns the agent's process id.
    ///
    /// # Errors
    ///
    /// The agent does not run.
    pub fn pid(&self) -> Result<u32> {
        self.child.as_ref().and_then(|child| child.id()).context("the agent does not run")
    }

    /// Returns the names of the descriptors in the store, in order.
    ///
    /// # Errors
    ///
    /// The descriptors cannot be read.
    pub fn stored(&mut self) -> Result<Vec<String>> {
        let entries = self.store.entries()?.iter();
        let mut names: Vec<_> = entries.map(|entry| entry.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Starts the agent without a state directory from now on.
    pub fn disable_hand_over(&mut self) {
        self.hands_over = false;
    }

    /// Empties the store.
    pub fn clear_store(&mut self) {
        self.store.clear();
    }

    /// Returns the standard error of the last run.
    ///
    /// # Errors
    ///
    /// The output is not UTF-8.
    pub fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(self.stderr_path())?)
    }

    /// Starts the agent and waits until it notifies that it is ready, if it can.
    ///
    /// # Errors
    ///
    /// The agent ends instead; the message contains its standard error.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the agent runs");
        let mut child = self.spawn()?;
        if self.habits != Habits::NoNotifications {
            tokio::select! {
                ready = within("the agent to serve", self.ready()) => ready??,
                status = child.wait() => bail!("agent ended, {}: {}", status?, self.stderr()?),
            }
        }
        self.child = Some(child);
        Ok(())
    }

    /// Sends SIGTERM to the agent, stores the descriptors that it passes, and waits for its end.
    ///
    /// # Errors
    ///
    /// The agent does not run, or does not end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGTERM).await
    }

    /// Kills the agent.
    ///
    /// # Errors
    ///
    /// The agent does not run.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGKILL).await
    }

    async fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the agent does not run")?;
        let pid = child.id().context("the agent has ended")?;
        kill(Pid::from_raw(pid.try_into()?), signal)?;
        let status = within("the agent to end", async {
            loop {
                tokio::select! {
                    status = child.wait() => return Ok::<_, anyhow::Error>(status?),
                    notification = self.inbox.next() => self.obey(notification?)?,
                }
            }
        });
        let status = status.await??;
        while let Some(notification) = self.inbox.waiting()? {
            self.obey(notification)?;
        }
        Ok(status)
    }

    async fn ready(&mut self) -> Result<()> {
        loop {
            let notification = self.inbox.next().await?;
            let ready = notification.says(READY);
            self.obey(notification)?;
            if ready {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, notification: Notification) -> Result<()> {
        match self.habits {
            Habits::Whole => self.store.obey(notification),
            Habits::NoStore | Habits::NoNotifications => Ok(()),
        }
    }

    fn spawn(&mut self) -> Result<GuardedChild> {
        let (names, mappings) = self.passed()?;
        let mut command = Command::new("sh");
        command.args(["-c", START]).args(program()?);
        if self.hands_over {
            command.arg("--state-dir").arg(self.state_directory());
        }
        command.args(&self.arguments);
        command.env("LISTEN_FDS", names.len().to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
        command.env_remove("NOTIFY_SOCKET");
        if self.habits != Habits::NoNotifications {
            command.env("NOTIFY_SOCKET", self.inbox.path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.stderr_path())?);
        GuardedChild::spawn(command.fd_mappings(mappings)?)
    }

    /// Returns duplicates of the listening socket and of all stored descriptors.
    fn passed(&mut self) -> Result<(Vec<String>, Vec<FdMapping>)> {
        let mut names = vec![LISTENER_NAME.to_owned()];
        let mut descriptors: Vec<OwnedFd> = vec![self.listener.as_fd().try_clone_to_owned()?];
        for entry in self.store.entries()? {
            names.push(entry.name.clone());
            descriptors.push(entry.descriptor.try_clone()?);
        }
        let numbered = descriptors.into_iter().zip(FIRST_DESCRIPTOR..);
        let mappings = numbered.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        Ok((names, mappings.collect()))
    }

    fn stderr_path(&self) -> PathBuf {
        self.directory.path().join("stderr")
    }
}
