//! Confining: the privileges that serving does not need are dropped.

use super::{Agent, StartError};
use crate::config::Sandbox;
use crate::listen::{ListenAddress, Listener};
use crate::notify;
use crate::sandbox::{self, Paths, SandboxError, User};
use crate::workload;

impl Agent {
    /// Drops all privileges of this process that serving does not need, unless `--no-sandbox` is set. The
    /// process must have no other thread yet.
    ///
    /// # Errors
    /// [`StartError::Sandbox`]; some privileges have been dropped then.
    pub(crate) fn confine(mut self) -> Result<Self, StartError> {
        if let Some(directory) = &self.config.state_dir {
            sandbox::check_state_dir(directory, self.user()?)?;
        }
        self.node.sandbox = match &self.config.sandbox {
            Sandbox::Off => sandbox::none(),
            Sandbox::On(user) => sandbox::enter(user.as_ref(), &self.paths())?,
        };
        Ok(self)
    }

    /// Returns the user that the agent becomes.
    fn user(&self) -> Result<Option<User>, SandboxError> {
        match &self.config.sandbox {
            Sandbox::Off => Ok(None),
            Sandbox::On(wanted) => Ok(Some(User::find(wanted.as_ref())?)),
        }
    }

    /// Returns the files that the confined agent uses.
    fn paths(&self) -> Paths {
        let mut paths = Paths { notifies: notify::is_available(), ..Paths::new() };
        for listener in &self.listeners {
            // The file of a socket that the service manager bound is the manager's.
            if let (Listener::Unix(_, Some(_)), Ok(ListenAddress::Unix(path))) =
                (listener, listener.address())
            {
                paths.remove_socket(&path);
            }
        }
        if let Some(directory) = &self.config.state_dir {
            paths.keep_state(directory);
        }
        paths.read.extend(self.attribution.directories());
        if self.attribution.follower.is_some() {
            paths.inotify_masks.extend(workload::inotify_masks());
        }
        if let Some(tls) = &self.config.tls {
            tls.files.iter().for_each(|file| paths.reread(file.path()));
        }
        paths
    }
}
