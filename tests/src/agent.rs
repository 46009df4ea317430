//! Runs the real agent as a child process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;
use tokio::process::Command;

use crate::binaries;
use crate::deadline::within;
use crate::directory;
use crate::environments::USER;
use crate::guarded_child::GuardedChild;
use crate::notify::Notifications;

/// Precedes the address in the agent's log line of a listener.
const LISTENING: &str = "listening addr=";
/// Mode of a directory that every user may enter.
const ANYONE_MAY_LOOK: u32 = 0o755;
/// Mode of a socket that every user may connect to.
const ANYONE_MAY_CONNECT: u32 = 0o666;

/// An agent that has not been started yet, with a temporary directory.
#[derive(Debug)]
pub struct Launch {
    directory: TempDir,
    notifications: Notifications,
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
}

/// An agent that serves. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    child: GuardedChild,
    launch: Launch,
}

/// The end of an agent that never served.
#[derive(Debug)]
pub struct Ending {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard error.
    pub stderr: String,
}

impl Launch {
    /// Prepares an agent without arguments.
    ///
    /// # Errors
    ///
    /// No temporary directory can be made.
    pub fn new() -> Result<Self> {
        let directory = directory::readable_to_all()?;
        let notifications = Notifications::open(directory.path())?;
        Ok(Self { directory, notifications, wrapper: Vec::new(), arguments: Vec::new() })
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Adds the private socket of [`Launch::socket`].
    #[must_use]
    pub fn listen_privately(self) -> Self {
        let url = self.url();
        self.arguments(["--listen", &url])
    }

    /// Starts the agent through another command, for example one that drops capabilities.
    #[must_use]
    pub fn wrapped<A: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Lets another user write into the directory, so that the agent can run as that one.
    ///
    /// # Errors
    ///
    /// This is not root.
    pub fn owned_by(self, user: u32) -> Result<Self> {
        for path in [self.directory.path(), self.notifications.path()] {
            chown(path, Some(user), Some(user))?;
        }
        Ok(self)
    }

    /// Returns a path for a socket that no other test uses.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Returns [`Launch::socket`] as an address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts the agent and waits until it notifies that it is ready.
    ///
    /// # Errors
    ///
    /// The agent ends instead; the message contains its standard error.
    pub async fn start(self) -> Result<Agent> {
        let mut child = self.spawn()?;
        let ready = tokio::select! {
            ready = within("the agent to serve", self.notifications.ready()) => ready?,
            status = child.wait() => bail!("agent ended, {}: {}", status?, self.stderr()?),
        };
        ready?;
        Ok(Agent { child, launch: self })
    }

    /// Starts an agent that is expected to end by itself, and waits for that.
    ///
    /// # Errors
    ///
    /// The agent does not end.
    pub async fn run(&self) -> Result<Ending> {
        let mut child = self.spawn()?;
        let status = within("the agent to give up", child.wait()).await??;
        Ok(Ending { status, stderr: self.stderr()? })
    }

    /// Gives the directory to the user that the agent becomes, who then removes the socket. A root
    /// agent refuses a directory that any other user can change.
    fn give_directory(&self) -> Result<()> {
        let is_owned = fs::metadata(self.directory.path())?.uid() != 0;
        if is_owned || !Uid::effective().is_root() {
            return Ok(());
        }
        let has =
            |word: &str| self.wrapper.iter().any(|other| other.to_string_lossy().contains(word));
        if has("--reuid=61000") {
            return Ok(chown(self.directory.path(), Some(USER), None)?);
        }
        // Without CAP_DAC_OVERRIDE, or in a user namespace, root can write into its own directories
        // alone.
        if has("--bounding-set=-all") || has("--map-root-user") {
            return Ok(());
        }
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy()).collect();
        if words.iter().any(|word| word == "--no-sandbox") {
            return Ok(());
        }
        let wanted = words.iter().position(|word| word == "--user");
        let wanted = wanted.and_then(|index| words.get(index + 1)).map_or("", |word| word);
        let user = wanted.split(':').next().and_then(|uid| uid.parse().ok()).unwrap_or(USER);
        Ok(chown(self.directory.path(), Some(user), None)?)
    }

    fn spawn(&self) -> Result<GuardedChild> {
        self.give_directory()?;
        let mut words = self.wrapper.clone();
        words.extend(program()?);
        words.extend(self.arguments.iter().cloned());
        let (program, arguments) = words.split_first().context("no program")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("NOTIFY_SOCKET", self.notifications.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.stderr_path())?);
        GuardedChild::spawn(&mut command)
    }

    fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(self.stderr_path())?)
    }

    fn stderr_path(&self) -> PathBuf {
        self.directory.path().join("stderr")
    }
}

/// Returns the agent's program, and before it the command that traces the agent, if `tests/syscalls` runs this:
/// strace beside the agent, which stays the child of the test, with the command for its output.
///
/// # Errors
///
/// The agent has not been built.
pub(crate) fn program() -> Result<Vec<OsString>> {
    const STRACE: &str = "strace -DDD -f -qq -n -s 0 -e signal=none -o";
    let program = binaries::taskstatsd()?.into_os_string();
    let Some(command) = env::var_os("TASKSTATS_TESTS_TRACE") else { return Ok(vec![program]) };
    let mut output = OsString::from("|");
    output.push(command);
    Ok(STRACE.split(' ').map(OsString::from).chain([output, program]).collect())
}

impl Agent {
    /// Starts an agent on a private socket.
    ///
    /// # Errors
    ///
    /// As in [`Launch::start`].
    pub async fn start() -> Result<Self> {
        Self::start_with::<&str>([]).await
    }

    /// Starts an agent on a private socket, with more arguments.
    ///
    /// # Errors
    ///
    /// As in [`Launch::start`].
    pub async fn start_with<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        Launch::new()?.listen_privately().arguments(arguments).start().await
    }

    /// Returns the address of the private socket.
    #[must_use]
    pub fn url(&self) -> String {
        self.launch.url()
    }

    /// Returns the path of the private socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.launch.socket()
    }

    /// Returns the agent's process id.
    ///
    /// # Errors
    ///
    /// The agent has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the agent has ended")
    }

    /// Returns the first address with `scheme` that the agent logs as a listener.
    ///
    /// # Errors
    ///
    /// The agent has logged none.
    pub fn listening_on(&self, scheme: &str) -> Result<String> {
        let stderr = self.stderr()?;
        let urls = stderr.lines().filter_map(|line| line.split_once(LISTENING));
        let url = urls.map(|(_, url)| url.trim()).find(|url| url.starts_with(scheme));
        Ok(url.with_context(|| format!("no {scheme} listener in: {stderr}"))?.to_owned())
    }

    /// Returns the agent's standard error so far.
    ///
    /// # Errors
    ///
    /// The output is not UTF-8.
    pub fn stderr(&self) -> Result<String> {
        self.launch.stderr()
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// The agent has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()?.try_into()?), signal)?)
    }

    /// Waits until the agent notifies that it is stopping.
    ///
    /// # Errors
    ///
    /// The agent does not notify it.
    pub async fn draining(&self) -> Result<()> {
        within("the agent to drain", self.launch.notifications.stopping()).await?
    }

    /// Waits for the next watchdog notification of the agent.
    ///
    /// # Errors
    ///
    /// The agent sends none.
    pub async fn alive(&self) -> Result<()> {
        within("a sign of life", self.launch.notifications.alive()).await?
    }

    /// Lets every user of this machine connect to the private socket.
    ///
    /// # Errors
    ///
    /// The socket has been removed.
    pub fn allow_all_users(&self) -> Result<()> {
        let socket = self.socket();
        let directory = socket.parent().context("a socket without a directory")?;
        fs::set_permissions(directory, Permissions::from_mode(ANYONE_MAY_LOOK))?;
        Ok(fs::set_permissions(&socket, Permissions::from_mode(ANYONE_MAY_CONNECT))?)
    }

    /// Waits for the agent's end.
    ///
    /// # Errors
    ///
    /// The agent does not end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        Ok(within("the agent to end", self.child.wait()).await??)
    }

    /// Sends SIGTERM to the agent and waits for its end.
    ///
    /// # Errors
    ///
    /// The agent does not end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended().await
    }
}
