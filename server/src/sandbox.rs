//! Drops all privileges that serving does not need.
//!
//! After the agent has bound its listeners, and before it starts a thread, it becomes a user without
//! privileges, drops all capabilities, and restricts files and ports by landlock, and system calls by
//! seccomp. Threads that are started later inherit all of it. The agent's broker does the same, but
//! keeps `CAP_NET_ADMIN` and has fewer system calls.

mod dry_run;
mod error;
mod landlock;
mod path_access;
mod paths;
mod privileges;
mod report;
mod seccomp;
mod state_dir;
mod syscalls;
mod user;

use std::fs;

use capctl::{Cap, CapSet};

pub(crate) use dry_run::{DryRun, dry_run};
pub(crate) use error::SandboxError;
pub(crate) use path_access::{Inaccessible, first_inaccessible};
pub use paths::Paths;
pub(crate) use privileges::raise_capabilities;
pub(crate) use report::{Applied, MissingMeasure, applied};
pub(crate) use state_dir::check_state_dir;
pub use syscalls::listed_calls;
pub(crate) use user::{User, UserError, UserSpec};

/// The superuser.
const ROOT: u32 = 0;
/// The capability that taskstats requires (`GENL_ADMIN_PERM` in `kernel/taskstats.c`), and receive buffers
/// beyond the system's limit.
const TASKSTATS: Cap = Cap::NET_ADMIN;
/// The threads of this process.
const THREADS: &str = "/proc/self/task";

/// Drops all privileges that serving does not need. `wanted` is the user to become instead of root.
///
/// # Errors
/// `SandboxError`. Some privileges may be dropped then: the process should end.
pub fn enter(wanted: Option<&UserSpec>, paths: &Paths) -> Result<Applied, SandboxError> {
    let threads = fs::read_dir(THREADS).map_or(1, Iterator::count);
    if threads > 1 {
        return Err(SandboxError::Threads(threads));
    }
    let user = User::find(wanted)?;
    let mut missing: Vec<_> = paths::wide(paths).collect();
    if user.uid == ROOT && wanted.is_some() {
        missing.push(MissingMeasure::RootWanted);
    }
    // Rules are made while the paths can be opened.
    let rules = landlock::prepare(paths)?;
    let changed = privileges::change_user(user, wanted.is_some(), &mut missing)?;
    if changed {
        paths.write.iter().try_for_each(|directory| state_dir::give_away(directory, user))?;
    }
    privileges::drop_capabilities(CapSet::empty(), &mut missing)?;
    if changed {
        paths.write.iter().try_for_each(|directory| state_dir::check_writable(directory, user))?;
    }
    missing.extend(paths::unreadable(paths));
    let landlock = rules.enforce(&mut missing)?;
    seccomp::enforce(|| syscalls::allowed(&paths.needs()), &mut missing)?;
    Ok(Applied { landlock, missing, ..applied() })
}

/// Drops all privileges that the broker does not need, and becomes `user`, whom an operator chose if
/// `is_named` is set. Measures that this system does not have are those that
/// [`enter`] reports for the agent.
///
/// # Errors
/// `SandboxError`. Some privileges may be dropped then: the process should end.
pub(crate) fn enter_broker(user: User, is_named: bool) -> Result<(), SandboxError> {
    let mut missing = Vec::new();
    let rules = landlock::prepare(&Paths::default())?;
    privileges::change_user(user, is_named, &mut missing)?;
    privileges::drop_capabilities([TASKSTATS].into_iter().collect(), &mut missing)?;
    rules.enforce(&mut missing)?;
    seccomp::enforce(syscalls::allowed_for_broker, &mut missing)?;
    Ok(())
}

/// Returns what is in force without a sandbox.
#[must_use]
pub(crate) fn none() -> Applied {
    Applied { missing: vec![MissingMeasure::NoSandbox], ..applied() }
}

/// Formats capabilities, such as `CAP_SETGID and CAP_SETUID`.
#[must_use]
pub(crate) fn names(capabilities: &[Cap]) -> String {
    let names: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    names.join(" and ")
}
