//! Predicts the effect of the sandbox, without entering it.

use std::fmt;
use std::thread;

use capctl::Cap;

use super::{SandboxError, User, UserSpec, landlock, privileges, seccomp};

/// The privileges that an agent would have in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DryRun {
    /// The user that it would be.
    pub(crate) user: User,
    /// The capabilities that are missing to change the user.
    pub(crate) lacking: Vec<Cap>,
    /// Set if system calls would be filtered.
    pub(crate) seccomp: bool,
    /// Version of landlock that this kernel enforces; 0 without it.
    pub(crate) landlock: u32,
}

impl fmt::Display for DryRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let User { uid, gid } = self.user;
        write!(
            formatter,
            "the agent runs as user {uid}:{gid}, without capabilities (its broker with CAP_NET_ADMIN)"
        )?;
        if self.seccomp {
            formatter.write_str(", filtered system calls")?;
        }
        match self.landlock {
            0 => Ok(()),
            version => write!(formatter, ", and landlock version {version}"),
        }
    }
}

/// Predicts what [`super::enter`] would do in this process.
///
/// # Errors
/// When the user is unknown, capabilities are missing to become it, or landlock fails.
pub(crate) fn dry_run(wanted: Option<&UserSpec>) -> Result<DryRun, SandboxError> {
    let found = User::find(wanted)?;
    let changes = privileges::changes_user(found, wanted.is_some());
    let lacking = if changes { privileges::lacking()? } else { Vec::new() };
    if wanted.is_some() && !lacking.is_empty() {
        return Err(SandboxError::MissingCapabilities { user: found, lacking });
    }
    let user = if changes && lacking.is_empty() { found } else { User::current() };
    // Landlock restricts the thread that enforces it, which ends at once.
    let check = thread::spawn(landlock::probe).join();
    let landlock = check.unwrap_or(Ok(0))?;
    Ok(DryRun { user, lacking, seccomp: seccomp::is_known(), landlock })
}
