//! The service manager's end of `sd_notify(3)`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::net::UnixDatagram;

use crate::directory;

/// The notification of a service that is ready.
const READY: &str = "READY=1";
/// The notification of a service that is stopping.
const STOPPING: &str = "STOPPING=1";
/// The watchdog notification of a service.
const WATCHDOG: &str = "WATCHDOG=1";
/// Longer than any notification of a service that stores no descriptors.
const MESSAGE: usize = 4096;

/// A socket that a service reports to.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    /// Opens the socket in `directory`.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("notify.sock");
        let socket = UnixDatagram::bind(&path)?;
        directory::open_file_to_all(&path)?;
        Ok(Self { socket, path })
    }

    /// Returns the value for the service's `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the service notifies that it is ready.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn ready(&self) -> Result<()> {
        self.until(READY).await
    }

    /// Waits until the service notifies that it is stopping.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn stopping(&self) -> Result<()> {
        self.until(STOPPING).await
    }

    /// Waits for the next watchdog notification of the service.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn alive(&self) -> Result<()> {
        self.until(WATCHDOG).await
    }

    async fn until(&self, wanted: &str) -> Result<()> {
        let mut buffer = [0; MESSAGE];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            let message = str::from_utf8(buffer.get(..length).context("message too long")?)?;
            if message.lines().any(|line| line == wanted) {
                return Ok(());
            }
        }
    }
}
