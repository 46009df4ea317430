//! What giving up rights would come to, without doing it.

use std::fmt;
use std::thread;

use super::{SandboxError, User, UserSpec, landlock};

/// What an agent would have after it gave up its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Who it would be.
    pub user: User,
    /// Version of landlock that this kernel enforces; 0 without it.
    pub landlock: u32,
}

impl fmt::Display for Prospect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let User { uid, gid } = self.user;
        write!(
            formatter,
            "the agent runs as user {uid}:{gid}, with CAP_NET_ADMIN alone, filtered system calls"
        )?;
        match self.landlock {
            0 => Ok(()),
            version => write!(formatter, ", and landlock version {version}"),
        }
    }
}

/// What [`super::enter`] would come to in this process, as far as it can be told before.
///
/// # Errors
/// When the user is unknown, or landlock fails.
pub fn prospect(wanted: Option<&UserSpec>) -> Result<Prospect, SandboxError> {
    let own = User::current();
    let user = if own.uid == 0 || wanted.is_some() { User::find(wanted)? } else { own };
    // Landlock restricts the thread that tries it, and that ends at once.
    let tried = thread::spawn(landlock::try_out).join();
    let landlock = tried.unwrap_or(Ok(0))?;
    Ok(Prospect { user, landlock })
}
