//! Giving up the rights that serving does not take.

use super::{Agent, StartError};
use crate::config::Sandbox;
use crate::listen::{ListenAddress, Listener};
use crate::sandbox::{self, MissingMeasure, Paths};

impl Agent {
    /// Gives up all rights of this process that serving does not take, unless the configuration says
    /// otherwise. The process must have no other thread yet.
    ///
    /// # Errors
    /// [`StartError::Sandbox`]; some rights are gone then.
    pub fn confine(mut self) -> Result<Self, StartError> {
        self.node.sandbox = match &self.config.sandbox {
            Sandbox::Off => sandbox::none(),
            Sandbox::On(user) => sandbox::enter(user.as_ref(), &self.paths())?,
        };
        Ok(self)
    }

    /// The files that it goes on to use.
    fn paths(&self) -> Paths {
        let mut paths = Paths::new();
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
        if let Some(tls) = &self.config.tls {
            tls.files.iter().for_each(|file| paths.reread(file.path()));
        }
        paths
    }

    /// Says what is in force.
    pub(super) fn log_rights(&self) {
        tracing::info!("rights: {}", self.node.sandbox);
        for gap in &self.node.sandbox.missing {
            match gap {
                MissingMeasure::NoSandbox | MissingMeasure::Unreadable { .. } => {
                    tracing::warn!("{gap}");
                }
                _ => tracing::info!("{gap}"),
            }
        }
    }
}
