//! A service manager in small: it owns the agent's listening socket and stores descriptors for it, as
//! systemd does.

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
use crate::binaries;
use crate::deadline::within;
use crate::directory;
use crate::guarded_child::GuardedChild;

/// The message that says that a service serves.
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

/// What a manager does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habits {
    /// It does all.
    Whole,
    /// It stores no descriptors.
    NoStore,
    /// It takes no notifications at all, and does not say where to send them.
    NoNotifications,
}

impl ServiceManager {
    /// Makes a manager that hands the agent over to itself, and starts it with `arguments`.
    ///
    /// # Errors
    ///
    /// No temporary directory can be made.
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

    /// Makes it ignore requests to store descriptors, as systemd does where `FileDescriptorStoreMax=`
    /// is 0.
    #[must_use]
    pub fn without_store(self) -> Self {
        Self { habits: Habits::NoStore, ..self }
    }

    /// Makes it one that does not speak `sd_notify(3)`.
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
        self.state_folder().join("handover")
    }

    /// Returns the directory of that file.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Returns the agent's process id.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        self.child.as_ref().and_then(|child| child.id()).context("the agent does not run")
    }

    /// Returns the names of the descriptors in the store, in order.
    ///
    /// # Errors
    ///
    /// The descriptors cannot be looked at.
    pub fn stored(&mut self) -> Result<Vec<String>> {
        let entries = self.store.entries()?.iter();
        let mut names: Vec<_> = entries.map(|entry| entry.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Starts the agent without a state directory from now on.
    pub fn withdraw_state_folder(&mut self) {
        self.hands_over = false;
    }

    /// Empties the store.
    pub fn clear_store(&mut self) {
        self.store.clear();
    }

    /// Returns what the last run has written to standard error.
    ///
    /// # Errors
    ///
    /// It is not UTF-8.
    pub fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(self.stderr_path())?)
    }

    /// Starts the agent and waits until it says that it serves, if it is asked to say so.
    ///
    /// # Errors
    ///
    /// It ends instead; the message has its standard error.
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

    /// Asks the agent to end, stores what it gives away, and waits for its end.
    ///
    /// # Errors
    ///
    /// It does not run, or does not end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGTERM).await
    }

    /// Kills the agent.
    ///
    /// # Errors
    ///
    /// It does not run.
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
        command.args(["-c", START]).arg(binaries::taskstatsd()?);
        if self.hands_over {
            command.arg("--state-dir").arg(self.state_folder());
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

    /// The listening socket, and all that is stored; the manager keeps its own.
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
