//! Programs that run as another user.

use std::path::Path;

use anyhow::Result;

use crate::peer::{Peer, Said};

/// A user and a group by number; neither needs a name.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id. There are no supplementary groups.
    pub gid: u32,
}

impl User {
    /// Runs a program as this user, to its end.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not end.
    pub async fn run(self, program: &Path, arguments: &[&str]) -> Result<Said> {
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        let mut words = vec!["--reuid", &uid, "--regid", &gid, "--clear-groups"];
        let program = program.to_string_lossy();
        words.push(&program);
        words.extend(arguments);
        Peer::run(Path::new("setpriv"), words).await
    }
}
