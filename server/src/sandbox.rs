//! Giving up all rights that serving does not take.
//!
//! After the agent has bound its listeners, and before it starts a thread, it becomes a user without
//! rights who keeps `CAP_NET_ADMIN`, closes files and ports by landlock, and system calls by seccomp.
//! Threads that are started later inherit all of it.

mod dry_run;
mod landlock;
mod path_access;
mod paths;
mod privileges;
mod report;
mod seccomp;
mod syscalls;
mod user;

use std::path::{Path, PathBuf};
use std::{fs, io};

use capctl::Cap;

pub use dry_run::{DryRun, dry_run};
pub use path_access::{Inaccessible, first_inaccessible};
pub use paths::Paths;
pub use report::{Applied, MissingMeasure, applied};
pub use user::{User, UserError, UserSpec};

/// The threads of this process.
const THREADS: &str = "/proc/self/task";

/// Why rights could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No such user.
    #[error("--user: {0}")]
    User(#[from] UserError),
    /// The user that was asked for cannot be had.
    #[error(
        "--user {uid}:{gid} takes {lacking}, which the agent does not have; give it those, start it as that user, or leave --user out",
        uid = .user.uid, gid = .user.gid, lacking = names(.lacking)
    )]
    MissingCapabilities {
        /// Who.
        user: User,
        /// What it takes and is not there.
        lacking: Vec<Cap>,
    },
    /// Threads run that would keep their rights.
    #[error("{0} threads run already, and would keep their rights; this is a bug of the agent")]
    Threads(usize),
    /// The state folder could not be used by the user.
    #[error(
        "--state-dir {folder} cannot be written by user {uid}, as whom the agent runs: {source}; {advice}",
        folder = .folder.display(), uid = .user.uid, advice = state_dir_advice(.folder, *.user, .source)
    )]
    StateDir {
        /// The folder.
        folder: PathBuf,
        /// Who cannot.
        user: User,
        /// What the system said.
        source: io::Error,
    },
    /// Others own the state folder, or may write in it.
    #[error(
        "--state-dir {folder} belongs to user {owner} and has mode {mode:04o}, so that it is not the agent's alone, which runs as user {uid}; name a folder of its own, or give it to that user alone: chown {uid} {folder}; chmod 700 {folder}",
        folder = .folder.display(), uid = .user.uid
    )]
    StateDirShared {
        /// The folder.
        folder: PathBuf,
        /// Its user.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// Who would get it.
        user: User,
    },
    /// The state folder is not the agent's alone.
    #[error(
        "--state-dir {folder} has files of others, such as {foreign}, and is not given to user {uid}, as whom the agent runs; name a folder of its own, or give it to that user: chown {uid} {folder}",
        folder = .folder.display(), foreign = .foreign.display(), uid = .user.uid
    )]
    StateDirForeignFile {
        /// The folder.
        folder: PathBuf,
        /// A file in it.
        foreign: PathBuf,
        /// Who would get it.
        user: User,
    },
    /// The system refused.
    #[error("giving up rights failed at {operation}: {source}; --no-sandbox keeps them all")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Landlock refused.
    #[error("restricting files failed: {0}; --no-sandbox leaves them open")]
    Landlock(#[from] ::landlock::RulesetError),
    /// A path cannot be opened, to be left open by landlock.
    #[error("restricting files failed: {0}; --no-sandbox leaves them open")]
    Path(#[source] ::landlock::PathFdError),
    /// Seccomp refused.
    #[error("filtering system calls failed: {0}; --no-sandbox leaves them open")]
    Seccomp(#[from] seccompiler::Error),
}

fn state_dir_advice(folder: &Path, user: User, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is mounted read-only; name a folder that can be written".to_owned()
        }
        _ => format!("give it to that user: chown {} {}", user.uid, folder.display()),
    }
}

/// Gives up all rights that serving does not take. `wanted` is the user to become instead of root.
///
/// # Errors
/// [`SandboxError`]. Some rights may be gone then: the process should end.
pub fn enter(wanted: Option<&UserSpec>, paths: &Paths) -> Result<Applied, SandboxError> {
    let threads = fs::read_dir(THREADS).map_or(1, Iterator::count);
    if threads > 1 {
        return Err(SandboxError::Threads(threads));
    }
    let user = User::find(wanted)?;
    let mut missing = Vec::new();
    // While the paths can be reached.
    let rules = landlock::prepare(paths)?;
    let changed = privileges::change_user(user, wanted.is_some(), &mut missing)?;
    if changed {
        paths.write.iter().try_for_each(|folder| paths::give_away(folder, user))?;
    }
    privileges::drop_capabilities(&mut missing)?;
    if changed {
        paths.write.iter().try_for_each(|folder| paths::check_writable(folder, user))?;
    }
    missing.extend(paths::unreadable(paths));
    let landlock = rules.enforce(&mut missing)?;
    seccomp::enforce(&mut missing)?;
    Ok(Applied { landlock, missing, ..applied() })
}

/// What is in force where nothing was given up.
#[must_use]
pub fn none() -> Applied {
    Applied { missing: vec![MissingMeasure::NoSandbox], ..applied() }
}

/// Capabilities as text, such as `CAP_SETGID and CAP_SETUID`.
#[must_use]
pub fn names(capabilities: &[Cap]) -> String {
    let names: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    names.join(" and ")
}
