//! The files that a confined agent can reach, and whose they must be.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::{Inaccessible, MissingMeasure, SandboxError, User};
use crate::security::tls::watched_directories;

/// What the agent reads as it runs: accounts' threads and settings of the kernel, and its own facts.
const PROC: &str = "/proc";
/// The CPUs that are online.
const CPUS: &str = "/sys/devices/system/cpu";
/// The only names that the agent gives to files in its state folder.
const STATE_FILES: [&str; 2] = ["handover", "handover.new"];
/// Whose folders may be given away.
const ROOT: u32 = 0;
/// Bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// The bits of a mode that `chmod` sets.
const PERMISSIONS: u32 = 0o7777;

/// What stays open to the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Folders and files that are read.
    pub read: BTreeSet<PathBuf>,
    /// Files that are read again when they change.
    pub reread: BTreeSet<PathBuf>,
    /// Folders that tell of those changes.
    pub watch: BTreeSet<PathBuf>,
    /// Folders in which files are made, read and removed.
    pub write: BTreeSet<PathBuf>,
    /// Folders from which files are removed.
    pub remove: BTreeSet<PathBuf>,
}

impl Paths {
    /// What each agent reads.
    #[must_use]
    pub fn new() -> Self {
        let mut paths = Self::default();
        paths.read.extend([PathBuf::from(PROC), PathBuf::from(CPUS)]);
        // A panic's backtrace takes its names from there.
        paths.read.extend(std::env::current_exe());
        paths
    }

    /// Adds a folder in which the agent keeps state.
    pub fn keep_state(&mut self, folder: &Path) {
        self.write.insert(folder.to_owned());
    }

    /// Adds the folder of a socket's file, which is removed at the end.
    pub fn remove_socket(&mut self, socket: &Path) {
        self.remove.extend(socket.parent().map(Path::to_owned));
    }

    /// Adds a file that is read again when it changes. Its folder stays open to the agent, and that
    /// of what it links to, because such files are replaced by others. To be called while all folders
    /// on the way can be entered.
    pub fn reread(&mut self, file: &Path) {
        self.reread.insert(file.to_owned());
        // A path that cannot be walked made no TLS before.
        self.watch.extend(watched_directories(file).into_iter().flatten());
        self.read.extend(file.parent().map(Path::to_owned));
        let target = fs::canonicalize(file).ok();
        self.read.extend(target.and_then(|target| target.parent().map(Path::to_owned)));
    }
}

/// Gives a state folder of root's to the user that root becomes.
///
/// # Errors
/// When it has other files than the agent's, or others may write in it: then it is not the agent's
/// to give away.
pub(super) fn give_away(folder: &Path, user: User) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::StateDir { folder: folder.to_owned(), user, source };
    let metadata = fs::metadata(folder).map_err(failed)?;
    if metadata.uid() == user.uid {
        return Ok(());
    }
    if metadata.uid() != ROOT || metadata.mode() & OTHERS_WRITE != 0 {
        let (owner, mode) = (metadata.uid(), metadata.mode() & PERMISSIONS);
        return Err(SandboxError::StateDirShared { folder: folder.to_owned(), owner, mode, user });
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !STATE_FILES.iter().any(|known| name == *known) {
            let foreign = entry.path();
            return Err(SandboxError::StateDirForeignFile {
                folder: folder.to_owned(),
                foreign,
                user,
            });
        }
        // Somebody else's stays so, and is refused when it is read.
        if entry.metadata().map_err(failed)?.uid() == ROOT {
            lchown(entry.path(), Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
    }
    std::os::unix::fs::chown(folder, Some(user.uid), Some(user.gid)).map_err(failed)?;
    tracing::info!("gave {} to user {}, as whom the agent runs", folder.display(), user.uid);
    Ok(())
}

/// The files that this process could read as root, and as another user cannot read again; and the folders
/// that it cannot watch for them, which takes reading.
pub(super) fn unreadable(paths: &Paths) -> impl Iterator<Item = MissingMeasure> {
    let is_closed = |path: &Path, wanted| access(path, wanted).is_err();
    let files = paths.reread.iter().filter(move |file| is_closed(file, AccessFlags::R_OK));
    let files = files.cloned().map(Inaccessible::File);
    let watched = AccessFlags::R_OK | AccessFlags::X_OK;
    let folders = paths.watch.iter().filter(move |folder| is_closed(folder, watched));
    let folders = folders.cloned().map(Inaccessible::Directory);
    files.chain(folders).map(|closed| MissingMeasure::Unreadable { closed })
}

/// Whether this process may make files in a folder, and enter it.
pub(super) fn check_writable(folder: &Path, user: User) -> Result<(), SandboxError> {
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| {
        let source = io::Error::from_raw_os_error(errno as i32);
        SandboxError::StateDir { folder: folder.to_owned(), user, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kubernetes mounts secrets: a link to a link to a folder that is replaced.
    #[test]
    fn the_folders_of_a_link_and_of_its_target_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        let (mounted, real) = (folder.path().join("tls"), folder.path().join("elsewhere"));
        fs::create_dir(&mounted).unwrap();
        fs::create_dir(&real).unwrap();
        fs::write(real.join("tls.crt"), "").unwrap();
        std::os::unix::fs::symlink(&real, mounted.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/tls.crt", mounted.join("tls.crt")).unwrap();
        let mut paths = Paths::default();
        paths.reread(&mounted.join("tls.crt"));
        let real = fs::canonicalize(real).unwrap();
        let both = [mounted, real].into_iter().collect();
        assert_eq!(paths.read, both);
        assert_eq!(paths.watch, both);
    }

    #[test]
    fn a_file_that_is_closed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (there, gone) = (folder.path().join("there"), folder.path().join("gone"));
        fs::write(&there, "").unwrap();
        let mut paths = Paths::default();
        paths.reread(&there);
        paths.reread(&gone);
        let missing: Vec<_> = unreadable(&paths).collect();
        assert_eq!(missing, [MissingMeasure::Unreadable { closed: Inaccessible::File(gone) }]);
    }
}
