//! Programs that run as another user.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::peer::{Peer, ProgramOutput};

/// Becomes another user, and the program then.
const SETPRIV: &str = "setpriv";

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
    /// The program cannot be started, or does not end.
    pub async fn run(self, program: &Path, arguments: &[&str]) -> Result<ProgramOutput> {
        Peer::run(Path::new(SETPRIV), self.words(program, arguments)).await
    }

    /// Starts a program as this user.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn start(self, program: &Path, arguments: &[&str]) -> Result<Peer> {
        Peer::start(Path::new(SETPRIV), self.words(program, arguments))
    }

    fn words(self, program: &Path, arguments: &[&str]) -> Vec<OsString> {
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        let words = ["--reuid", &uid, "--regid", &gid, "--clear-groups"].map(OsString::from);
        let program = std::iter::once(program.as_os_str().to_owned());
        words.into_iter().chain(program).chain(arguments.iter().map(OsString::from)).collect()
    }
}
