//! Predicts which files a user could read and watch, by their modes. Access control lists are not considered.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::getgroups;

use super::User;
use crate::security::tls::watched_directories;

/// Bits of a mode, in the place of others: to read a file or a directory, and to enter a directory.
const READ: u32 = 0o4;
const ENTER: u32 = 0o1;
/// The shift of the bits of the owner and of the group.
const OWNER: u32 = 6;
const GROUP: u32 = 3;

/// A file or a directory that a user cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inaccessible {
    /// A file, or a directory on the way to it.
    File(PathBuf),
    /// A directory in which the file or a link to it changes, so that it has to be watched.
    Directory(PathBuf),
}

/// The ids of a user without capabilities, to compare with modes.
#[derive(Clone, Debug)]
struct AccessCheck {
    uid: u32,
    groups: Vec<u32>,
}

impl Inaccessible {
    /// Returns the path of the file or the directory.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Directory(path) => path,
        }
    }
}

impl fmt::Display for Inaccessible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "the file {}", path.display()),
            Self::Directory(path) => write!(formatter, "the directory {}", path.display()),
        }
    }
}

impl AccessCheck {
    /// Returns the ids of a user. A process that changes its user drops its supplementary groups.
    fn of(user: User) -> Self {
        let mut groups = vec![user.gid];
        if user == User::current() {
            groups.extend(getgroups().unwrap_or_default().iter().map(|group| group.as_raw()));
        }
        Self { uid: user.uid, groups }
    }

    fn may(&self, bits: u32, metadata: &Metadata) -> bool {
        let shift = if metadata.uid() == self.uid {
            OWNER
        } else if self.groups.contains(&metadata.gid()) {
            GROUP
        } else {
            0
        };
        metadata.mode() >> shift & bits == bits
    }

    /// Returns whether the user has these permissions, and may enter all directories on the way.
    fn reaches(&self, path: &Path, bits: u32) -> bool {
        let may = |bits, path: &Path| fs::metadata(path).is_ok_and(|it| self.may(bits, &it));
        may(bits, path) && path.ancestors().skip(1).all(|directory| may(ENTER, directory))
    }

    /// Returns what the user cannot read: the file, or a directory that is watched for it.
    fn closed(&self, file: &Path) -> Option<Inaccessible> {
        let real = fs::canonicalize(file).ok()?;
        if !self.reaches(&real, READ) {
            return Some(Inaccessible::File(real));
        }
        let directories = watched_directories(file).ok()?;
        // inotify needs read permission of a directory, and its files need execute permission of it.
        let mut directories = directories.into_iter();
        let closed = directories.find(|directory| !self.reaches(directory, READ | ENTER));
        closed.map(Inaccessible::Directory)
    }
}

/// Returns the first of these files that `user` could not read again or watch, after this process became that
/// user. Files that do not exist are skipped.
#[must_use]
pub(crate) fn first_inaccessible<'a>(
    user: User,
    files: impl IntoIterator<Item = &'a Path>,
) -> Option<Inaccessible> {
    let reader = AccessCheck::of(user);
    files.into_iter().find_map(|file| reader.closed(file))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const STRANGER: User = User { uid: 4242, gid: 4242 };

    #[test]
    fn modes_of_the_file_and_of_its_directories_count() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tls.key");
        fs::write(&file, "").unwrap();
        let own = fs::metadata(&file).unwrap().gid();
        let member = User { gid: own, ..STRANGER };
        let closed = |user, directory_mode, mode| {
            fs::set_permissions(directory.path(), Permissions::from_mode(directory_mode)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            first_inaccessible(user, [file.as_path()]).is_some()
        };
        for (user, directory_mode, mode, is_closed) in [
            (User::current(), 0o700, 0o600, false),
            (User::current(), 0o700, 0o000, true),
            (STRANGER, 0o755, 0o644, false),
            (STRANGER, 0o755, 0o640, true),
            (STRANGER, 0o700, 0o644, true),
            // These can be entered, and not be watched.
            (STRANGER, 0o711, 0o644, true),
            (STRANGER, 0o744, 0o644, true),
            (member, 0o750, 0o640, false),
            (member, 0o750, 0o604, true),
            (member, 0o710, 0o640, true),
        ] {
            let found = closed(user, directory_mode, mode);
            assert_eq!(found, is_closed, "{user:?} {directory_mode:o} {mode:o}");
        }
    }

    /// The directories of links to a file are watched as well.
    #[test]
    fn directories_of_links_on_the_way_count() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        let create = |name: &str| {
            fs::create_dir(path.join(name)).unwrap();
            path.join(name)
        };
        let set = |directory: &Path, mode| {
            fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
        };
        let (given, between, real) = (create("given"), create("between"), create("real"));
        fs::write(real.join("tls.key"), "").unwrap();
        symlink(real.join("tls.key"), between.join("tls.key")).unwrap();
        symlink(between.join("tls.key"), given.join("tls.key")).unwrap();
        let all = [&path, &given, &between, &real];
        all.iter().for_each(|directory| set(directory, 0o755));
        fs::set_permissions(real.join("tls.key"), Permissions::from_mode(0o644)).unwrap();
        let found = || first_inaccessible(STRANGER, [given.join("tls.key").as_path()]);
        assert_eq!(found(), None);
        for (closed, mode) in [(&given, 0o700), (&between, 0o700), (&between, 0o711)] {
            set(closed, mode);
            assert_eq!(found(), Some(Inaccessible::Directory(closed.clone())), "{mode:o}");
            set(closed, 0o755);
        }
    }
}
