//! Giving up the rights that serving does not take.

use super::{Agent, StartError};
use crate::advice::{Cause, HasCause};
use crate::config::Sandbox;
use crate::listen::{ListenAddress, Listener};
use crate::notify;
use crate::sandbox::{self, MissingMeasure, Paths, SandboxError, User};
use crate::workload;

impl Agent {
    /// Gives up all rights of this process that serving does not take, unless the configuration says
    /// otherwise. The process must have no other thread yet.
    ///
    /// # Errors
    /// [`StartError::Sandbox`]; some rights are gone then.
    pub fn confine(mut self) -> Result<Self, StartError> {
        if let Some(directory) = &self.config.state_dir {
            sandbox::check_state_dir(directory, self.user()?)?;
        }
        self.node.sandbox = match &self.config.sandbox {
            Sandbox::Off => sandbox::none(),
            Sandbox::On(user) => sandbox::enter(user.as_ref(), &self.paths())?,
        };
        Ok(self)
    }

    /// The user that the agent becomes.
    fn user(&self) -> Result<Option<User>, SandboxError> {
        match &self.config.sandbox {
            Sandbox::Off => Ok(None),
            Sandbox::On(wanted) => Ok(Some(User::find(wanted.as_ref())?)),
        }
    }

    /// The files that it goes on to use.
    fn paths(&self) -> Paths {
        let mut paths = Paths { notifies: notify::is_heard(), ..Paths::new() };
        for listener in &self.listeners {
            // Of one that the service manager made, the file is the manager's.
            if let (Listener::Unix(_, Some(_)), Ok(ListenAddress::Unix(path))) =
                (listener, listener.address())
            {
                paths.remove_socket(&path);
            }
        }
        if let Some(folder) = &self.config.state_dir {
            paths.keep_state(folder);
        }
        paths.read.extend(self.attribution.directories());
        if self.attribution.follower.is_some() {
            paths.inotify_masks.extend(workload::inotify_masks());
        }
        paths.attaches_filters = self.attribution.filters.is_some();
        if let Some(tls) = &self.config.tls {
            tls.files.iter().for_each(|file| paths.reread(file.path()));
        }
        paths
    }

    /// Says what is in force.
    pub(super) fn log_rights(&self) {
        tracing::info!("rights: {}", self.node.sandbox);
        for gap in &self.node.sandbox.missing {
            let fix = gap.cause().map(Cause::advice_here);
            match gap {
                MissingMeasure::NoSandbox
                | MissingMeasure::RootWanted
                | MissingMeasure::WideDirectory { .. }
                | MissingMeasure::Unreadable { .. } => {
                    tracing::warn!(fix, "{gap}");
                }
                _ => tracing::info!(fix, "{gap}"),
            }
        }
    }
}
