//! What giving up rights would come to, without doing it.

use std::fmt;
use std::thread;

use capctl::Cap;

use super::{SandboxError, User, UserSpec, landlock, privileges, seccomp};

/// What an agent would have after it gave up its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// Who it would be.
    pub user: User,
    /// The capabilities that it lacks to leave root.
    pub lacking: Vec<Cap>,
    /// Whether system calls would be filtered.
    pub seccomp: bool,
    /// Version of landlock that this kernel enforces; 0 without it.
    pub landlock: u32,
}

impl fmt::Display for DryRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let User { uid, gid } = self.user;
        write!(formatter, "the agent runs as user {uid}:{gid}, with CAP_NET_ADMIN alone")?;
        if self.seccomp {
            formatter.write_str(", filtered system calls")?;
        }
        match self.landlock {
            0 => Ok(()),
            version => write!(formatter, ", and landlock version {version}"),
        }
    }
}

/// What [`super::enter`] would come to in this process, as far as it can be told before.
///
/// # Errors
/// When the user is unknown or cannot be had, or landlock fails.
pub fn dry_run(wanted: Option<&UserSpec>) -> Result<DryRun, SandboxError> {
    let found = User::find(wanted)?;
    let changes = privileges::changes_user(found, wanted.is_some());
    let lacking = if changes { privileges::lacking()? } else { Vec::new() };
    if wanted.is_some() && !lacking.is_empty() {
        return Err(SandboxError::MissingCapabilities { user: found, lacking });
    }
    let user = if changes && lacking.is_empty() { found } else { User::current() };
    // Landlock restricts the thread that tries it, and that ends at once.
    let check = thread::spawn(landlock::probe).join();
    let landlock = check.unwrap_or(Ok(0))?;
    Ok(DryRun { user, lacking, seccomp: seccomp::is_known(), landlock })
}
