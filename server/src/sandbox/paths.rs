//! The files that a confined agent can reach.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::{Inaccessible, MissingMeasure};
use crate::security::tls::{inotify_masks, watched_directories};

/// Procfs: threads of processes, settings of the kernel, and the agent's own state.
const PROC: &str = "/proc";
/// The CPUs that are online.
const CPUS: &str = "/sys/devices/system/cpu";

/// The files that the agent uses while it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Directories and files that are read.
    pub(crate) read: BTreeSet<PathBuf>,
    /// Files that are read again when they change.
    pub(crate) reread: BTreeSet<PathBuf>,
    /// Directories in which such a file, or a link to it, is replaced.
    pub(crate) watch: BTreeSet<PathBuf>,
    /// Directories in which files are made, read and removed.
    pub(crate) write: BTreeSet<PathBuf>,
    /// Directories from which files are removed.
    pub(crate) remove: BTreeSet<PathBuf>,
    /// The masks of inotify watches.
    pub(crate) inotify_masks: BTreeSet<u32>,
    /// Set if a service manager is notified.
    pub(crate) notifies: bool,
}

/// The parts of the agent whose system calls are allowed only where they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The masks of watches for changes.
    pub(super) inotify_masks: BTreeSet<u32>,
    /// Files are written.
    pub(super) writes: bool,
    /// The service manager is notified. One that was restarted has to be connected to again.
    pub(super) notifies: bool,
}

impl Paths {
    /// Returns what each agent reads.
    #[must_use]
    pub fn new() -> Self {
        let mut paths = Self::default();
        paths.read.extend([PathBuf::from(PROC), PathBuf::from(CPUS)]);
        // The backtrace of a panic reads its names from there.
        paths.read.extend(std::env::current_exe());
        paths
    }

    /// Adds a directory in which the agent keeps state.
    pub fn keep_state(&mut self, directory: &Path) {
        self.write.insert(directory.to_owned());
    }

    /// Adds the directory of a socket's file, which is removed at the end.
    pub(crate) fn remove_socket(&mut self, socket: &Path) {
        self.remove.extend(socket.parent().map(Path::to_owned));
    }

    /// Adds a file that is read again when it changes, while all directories on the way can be
    /// entered.
    pub(crate) fn reread(&mut self, file: &Path) {
        self.reread.insert(file.to_owned());
        self.inotify_masks.extend(inotify_masks());
        // A path that cannot be walked was refused when its certificate was loaded.
        self.watch.extend(watched_directories(file).into_iter().flatten());
    }

    pub(super) fn needs(&self) -> Needs {
        Needs {
            inotify_masks: self.inotify_masks.clone(),
            writes: !self.write.is_empty(),
            notifies: self.notifies,
        }
    }
}

/// Returns the directories of certificates below which there are others, which landlock's rules allow
/// too. Kubernetes makes directories whose names begin with `..`, for the secret itself.
pub(super) fn wide(paths: &Paths) -> impl Iterator<Item = MissingMeasure> {
    let wide =
        paths.watch.iter().filter(|directory| has_other_directories(directory, &paths.watch));
    wide.cloned().map(|directory| MissingMeasure::WideDirectory { directory })
}

fn has_other_directories(directory: &Path, known: &BTreeSet<PathBuf>) -> bool {
    // One that cannot be listed is reported as unreadable.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_other = |entry: fs::DirEntry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_part = known.iter().any(|path| path.starts_with(entry.path()));
        is_directory && !is_part && !entry.file_name().as_encoded_bytes().starts_with(b"..")
    };
    entries.into_iter().any(is_other)
}

/// Returns the files that this process could read as root and cannot read again as another user, and
/// the directories that it cannot watch for them, for which it would have to read them.
pub(super) fn unreadable(paths: &Paths) -> impl Iterator<Item = MissingMeasure> {
    let is_closed = |path: &Path, wanted| access(path, wanted).is_err();
    let files = paths.reread.iter().filter(move |file| is_closed(file, AccessFlags::R_OK));
    let files = files.cloned().map(Inaccessible::File);
    let watched = AccessFlags::R_OK | AccessFlags::X_OK;
    let directories = paths.watch.iter().filter(move |directory| is_closed(directory, watched));
    let directories = directories.cloned().map(Inaccessible::Directory);
    files.chain(directories).map(|closed| MissingMeasure::Unreadable { closed })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kubernetes mounts secrets so: a link to a link into a directory that is replaced.
    #[test]
    fn the_directories_of_a_link_and_of_its_target_are_watched() {
        let directory = tempfile::tempdir().unwrap();
        let (mounted, real) = (directory.path().join("tls"), directory.path().join("elsewhere"));
        fs::create_dir(&mounted).unwrap();
        fs::create_dir(&real).unwrap();
        fs::write(real.join("tls.crt"), "").unwrap();
        std::os::unix::fs::symlink(&real, mounted.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/tls.crt", mounted.join("tls.crt")).unwrap();
        let mut paths = Paths::default();
        paths.reread(&mounted.join("tls.crt"));
        let real = fs::canonicalize(real).unwrap();
        let both = [mounted, real].into_iter().collect();
        assert_eq!(paths.watch, both);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let (there, gone) = (directory.path().join("there"), directory.path().join("gone"));
        fs::write(&there, "").unwrap();
        let mut paths = Paths::default();
        paths.reread(&there);
        paths.reread(&gone);
        let missing: Vec<_> = unreadable(&paths).collect();
        assert_eq!(missing, [MissingMeasure::Unreadable { closed: Inaccessible::File(gone) }]);
    }

    #[test]
    fn a_directory_with_other_directories_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("tls.crt");
        fs::create_dir(root.path().join("..2026")).unwrap();
        fs::write(root.path().join("..2026/tls.crt"), "").unwrap();
        std::os::unix::fs::symlink("..2026/tls.crt", &file).unwrap();
        let mut paths = Paths::default();
        paths.reread(&file);
        assert_eq!(wide(&paths).count(), 0);
        fs::create_dir(root.path().join("private")).unwrap();
        let directory = root.path().to_owned();
        assert!(wide(&paths).eq([MissingMeasure::WideDirectory { directory }]));
    }
}
