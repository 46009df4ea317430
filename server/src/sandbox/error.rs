//! Errors of the sandbox.

use std::io;
use std::path::{Path, PathBuf};

use capctl::Cap;

use super::{User, UserError, names};

/// An error at dropping privileges.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The user does not exist.
    #[error("--user: {0}")]
    User(#[from] UserError),
    /// Capabilities are missing to become the user.
    #[error(
        "--user {uid}:{gid} needs {lacking}, which the agent does not have; give it those, start it as that user, or leave --user out",
        uid = .user.uid, gid = .user.gid, lacking = names(.lacking)
    )]
    MissingCapabilities {
        /// The user.
        user: User,
        /// The missing capabilities.
        lacking: Vec<Cap>,
    },
    /// Threads run that would keep their privileges.
    #[error("{0} threads run already, and would keep their privileges; this is a bug of the agent")]
    Threads(usize),
    /// The user cannot use the state directory.
    #[error(
        "--state-dir {directory} cannot be written by user {uid}, as whom the agent runs: {source}; {advice}",
        directory = .directory.display(), uid = .user.uid, advice = state_dir_advice(.directory, *.user, .source)
    )]
    StateDir {
        /// The directory.
        directory: PathBuf,
        /// The user.
        user: User,
        /// The error of the system call.
        source: io::Error,
    },
    /// The state directory is given by a link, which could be replaced.
    #[error(
        "--state-dir {directory} is a symbolic link, and root gives no directory away through one; name the directory itself",
        directory = .0.display()
    )]
    StateDirLink(PathBuf),
    /// A user other than root and the agent's can change the state directory or a parent of it.
    #[error(
        "--state-dir {directory} is no safe place for the files of root: {exposed}; name a directory that root alone can change, and whose parents are such",
        directory = .directory.display()
    )]
    StateDirExposed {
        /// The directory.
        directory: PathBuf,
        /// The path that can be changed, and the user who can.
        exposed: String,
    },
    /// Other programs run as the user of the state directory.
    #[error(
        "--state-dir {directory} would belong to user {uid}, as whom other programs run, too: they could read the names of all programs in it; give the agent a user of its own by --user, or leave --state-dir out",
        directory = .directory.display(), uid = .user.uid
    )]
    StateDirOfSharedUser {
        /// The directory.
        directory: PathBuf,
        /// The user that the agent becomes.
        user: User,
    },
    /// Another user owns the state directory, or may write in it.
    #[error(
        "--state-dir {directory} belongs to user {owner} and has mode {mode:04o}, so that it is not the agent's alone, which runs as user {uid}; name another directory, or give it to that user alone: chown {uid} {directory}; chmod 700 {directory}",
        directory = .directory.display(), uid = .user.uid
    )]
    StateDirShared {
        /// The directory.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// The user that the agent becomes.
        user: User,
    },
    /// The state directory has files that are not the agent's.
    #[error(
        "--state-dir {directory} has files of others, such as {foreign}, and is not given to user {uid}, as whom the agent runs; name another directory, or give it to that user: chown {uid} {directory}",
        directory = .directory.display(), foreign = .foreign.display(), uid = .user.uid
    )]
    StateDirForeignFile {
        /// The directory.
        directory: PathBuf,
        /// A file in it.
        foreign: PathBuf,
        /// The user that the agent becomes.
        user: User,
    },
    /// The system refused.
    #[error("dropping privileges failed at {operation}: {source}; --no-sandbox keeps them all")]
    System {
        /// The operation.
        operation: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
    /// Landlock refused.
    #[error("restricting files failed: {0}; --no-sandbox leaves them open")]
    Landlock(#[from] ::landlock::RulesetError),
    /// A path of a landlock rule cannot be opened.
    #[error("restricting files failed: {0}; --no-sandbox leaves them open")]
    Path(#[source] ::landlock::PathFdError),
    /// Seccomp refused.
    #[error("filtering system calls failed: {0}; --no-sandbox leaves them open")]
    Seccomp(#[from] seccompiler::Error),
}

fn state_dir_advice(directory: &Path, user: User, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is mounted read-only; name a directory that can be written".to_owned()
        }
        _ => format!("give it to that user: chown {} {}", user.uid, directory.display()),
    }
}
