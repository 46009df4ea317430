//! The directory of `--state-dir`, which root gives to the user that it becomes.
//!
//! All of it is done by descriptor: a path could lead elsewhere at each system call.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::fchown;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{AccessFlags, Gid, Uid, access, fchownat, geteuid};

use super::{SandboxError, User};
use crate::directory_trust::{find_exposed, find_exposed_parent};

/// The names of all files that the agent makes in its state directory.
const STATE_FILES: [&str; 2] = ["handover", "handover.new"];
/// The owner whose directories are given away.
const ROOT: u32 = 0;
/// The bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// The bits of a mode that `chmod` sets.
const PERMISSIONS: u32 = 0o7777;

/// Checks that no user but root and `trusted` can replace a state directory, or the files in it if it
/// is not given away. An agent without root's privileges warns about a user who can.
///
/// # Errors
/// [`SandboxError::StateDirExposed`], for root; [`SandboxError::StateDirOfSharedUser`].
pub(crate) fn check_state_dir(directory: &Path, trusted: Option<User>) -> Result<(), SandboxError> {
    let own = geteuid();
    let user = trusted.unwrap_or(User::current());
    if user.is_shared() {
        return Err(SandboxError::StateDirOfSharedUser { directory: directory.to_owned(), user });
    }
    // A directory that is given away is examined then.
    let find = match trusted {
        Some(_) if own.is_root() => find_exposed_parent,
        _ => find_exposed,
    };
    let trusted: Vec<_> = trusted.map(|user| user.uid).into_iter().chain([own.as_raw()]).collect();
    let found = find(directory, &trusted).map_err(|source| SandboxError::StateDir {
        directory: directory.to_owned(),
        user: User::current(),
        source,
    })?;
    match found {
        None => Ok(()),
        Some(exposed) if own.is_root() => Err(SandboxError::StateDirExposed {
            directory: directory.to_owned(),
            exposed: exposed.to_string(),
        }),
        Some(exposed) => {
            tracing::warn!("files in --state-dir can be replaced by others: {exposed}");
            Ok(())
        }
    }
}

/// Gives a state directory of root's to the user that root becomes.
///
/// # Errors
/// When it has other files than the agent's, or others may write in it: it is not the agent's to give
/// away then.
pub(super) fn give_away(path: &Path, user: User) -> Result<(), SandboxError> {
    let failed = |errno: Errno| SandboxError::StateDir {
        directory: path.to_owned(),
        user,
        source: errno.into(),
    };
    if path.is_symlink() {
        return Err(SandboxError::StateDirLink(path.to_owned()));
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = Dir::open(path, flags, Mode::empty()).map_err(failed)?;
    let status = fstat(&directory).map_err(failed)?;
    if status.st_uid == user.uid {
        return Ok(());
    }
    let (owner, mode) = (status.st_uid, status.st_mode & PERMISSIONS);
    if owner != ROOT || mode & OTHERS_WRITE != 0 {
        return Err(SandboxError::StateDirShared { directory: path.to_owned(), owner, mode, user });
    }
    let entries: Result<Vec<_>, _> = directory.iter().collect();
    let names = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name().to_owned());
    for name in names.filter(|name| ![c".", c".."].contains(&name.as_c_str())) {
        if !is_state_file(&name) {
            let foreign = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            return Err(SandboxError::StateDirForeignFile {
                directory: path.to_owned(),
                foreign,
                user,
            });
        }
        give_file(&directory, &name, user).map_err(failed)?;
    }
    fchown(&directory, Some(user.uid), Some(user.gid))
        .map_err(|source| SandboxError::StateDir { directory: path.to_owned(), user, source })?;
    tracing::info!("gave {} to user {}, as whom the agent runs", path.display(), user.uid);
    Ok(())
}

fn is_state_file(name: &CStr) -> bool {
    STATE_FILES.iter().any(|known| name.to_bytes() == known.as_bytes())
}

/// A file of another user is left, and refused when it is read.
fn give_file(directory: &Dir, name: &CStr, user: User) -> Result<(), Errno> {
    let link = AtFlags::AT_SYMLINK_NOFOLLOW;
    let status: FileStat = fstatat(directory.as_fd(), name, link)?;
    if status.st_uid != ROOT {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    fchownat(directory.as_fd(), name, Some(uid), Some(gid), link)
}

/// Checks that this process may create files in a directory.
pub(super) fn check_writable(directory: &Path, user: User) -> Result<(), SandboxError> {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| {
        let source = io::Error::from_raw_os_error(errno as i32);
        SandboxError::StateDir { directory: directory.to_owned(), user, source }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    const USER: User = User { uid: 4242, gid: 4242 };

    /// Issue 11, row 5: a link gave away an empty directory of root's anywhere.
    #[test]
    fn no_directory_is_given_away_through_a_link() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let refused = give_away(&link, USER).unwrap_err();
        assert!(matches!(refused, SandboxError::StateDirLink(_)), "{refused}");
        assert_eq!(fs::metadata(&real).unwrap().uid(), 0);
        fs::write(real.join("handover"), "").unwrap();
        give_away(&real, USER).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().uid(), USER.uid);
        assert_eq!(fs::metadata(real.join("handover")).unwrap().uid(), USER.uid);
    }

    #[test]
    fn a_user_that_other_programs_share_keeps_no_state() {
        let directory = tempfile::tempdir().unwrap();
        let shared = User { uid: 65_534, gid: 4242 };
        let refused = check_state_dir(directory.path(), Some(shared)).unwrap_err();
        assert!(matches!(refused, SandboxError::StateDirOfSharedUser { .. }), "{refused}");
    }

    #[test]
    fn root_refuses_a_state_directory_below_one_that_others_can_change() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        fs::create_dir(&inner).unwrap();
        check_state_dir(&inner, Some(USER)).unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(check_state_dir(&inner, Some(USER)).is_err(), geteuid().is_root());
    }
}
