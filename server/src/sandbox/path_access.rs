//! Which files a user could read and watch, told by their modes; lists of access (ACLs) are not looked at.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::getgroups;

use super::User;
use crate::security::tls::watched_directories;

/// Bits of a mode, as for others: reading a file or a folder, and passing through a folder.
const READ: u32 = 0o4;
const PASS: u32 = 0o1;
/// How far they are shifted for the owner, and for the group.
const OWNER: u32 = 6;
const GROUP: u32 = 3;

/// What a user cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inaccessible {
    /// A file, or what is in its way.
    File(PathBuf),
    /// A folder in which the file or a link to it changes, so that it has to be watched.
    Directory(PathBuf),
}

/// A user without any capability.
#[derive(Clone, Debug)]
struct AccessCheck {
    uid: u32,
    groups: Vec<u32>,
}

impl Inaccessible {
    /// The file or the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
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
    /// Who becomes another user has none of the groups that this process has beside its own.
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

    /// Whether it may do this with a file or a folder, and come there.
    fn reaches(&self, path: &Path, bits: u32) -> bool {
        let may = |bits, path: &Path| fs::metadata(path).is_ok_and(|it| self.may(bits, &it));
        may(bits, path) && path.ancestors().skip(1).all(|folder| may(PASS, folder))
    }

    /// What of a file is closed: itself, or a folder that is watched for it.
    fn closed(&self, file: &Path) -> Option<Inaccessible> {
        let real = fs::canonicalize(file).ok()?;
        if !self.reaches(&real, READ) {
            return Some(Inaccessible::File(real));
        }
        let folders = watched_directories(file).ok()?;
        // inotify takes reading a folder; what is in it takes passing through.
        let closed = folders.into_iter().find(|folder| !self.reaches(folder, READ | PASS));
        closed.map(Inaccessible::Directory)
    }
}

/// The first of these files that `user` could not read again, or not watch, after this process became it. One
/// that is not there is another check's.
#[must_use]
pub fn first_inaccessible<'a>(
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
    fn modes_of_the_file_and_of_its_folders_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tls.key");
        fs::write(&file, "").unwrap();
        let own = fs::metadata(&file).unwrap().gid();
        let member = User { gid: own, ..STRANGER };
        let closed = |user, folder_mode, mode| {
            fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            first_inaccessible(user, [file.as_path()]).is_some()
        };
        for (user, folder_mode, mode, is_closed) in [
            (User::current(), 0o700, 0o600, false),
            (User::current(), 0o700, 0o000, true),
            (STRANGER, 0o755, 0o644, false),
            (STRANGER, 0o755, 0o640, true),
            (STRANGER, 0o700, 0o644, true),
            // To be entered, and not to be watched.
            (STRANGER, 0o711, 0o644, true),
            (STRANGER, 0o744, 0o644, true),
            (member, 0o750, 0o640, false),
            (member, 0o750, 0o604, true),
            (member, 0o710, 0o640, true),
        ] {
            let told = closed(user, folder_mode, mode);
            assert_eq!(told, is_closed, "{user:?} {folder_mode:o} {mode:o}");
        }
    }

    /// The file is open, and so is its folder; those of the links to it are watched as well.
    #[test]
    fn folders_of_links_on_the_way_count() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        let folder = |name: &str| {
            fs::create_dir(path.join(name)).unwrap();
            path.join(name)
        };
        let set = |folder: &Path, mode| {
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        };
        let (given, between, real) = (folder("given"), folder("between"), folder("real"));
        fs::write(real.join("tls.key"), "").unwrap();
        symlink(real.join("tls.key"), between.join("tls.key")).unwrap();
        symlink(between.join("tls.key"), given.join("tls.key")).unwrap();
        let all = [&path, &given, &between, &real];
        all.iter().for_each(|folder| set(folder, 0o755));
        fs::set_permissions(real.join("tls.key"), Permissions::from_mode(0o644)).unwrap();
        let told = || first_inaccessible(STRANGER, [given.join("tls.key").as_path()]);
        assert_eq!(told(), None);
        for (closed, mode) in [(&given, 0o700), (&between, 0o700), (&between, 0o711)] {
            set(closed, mode);
            assert_eq!(told(), Some(Inaccessible::Directory(closed.clone())), "{mode:o}");
            set(closed, 0o755);
        }
    }
}
