//! Which files a user could read, told by their modes; lists of access (ACLs) are not looked at.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::getgroups;

use super::User;

/// Bits of a mode, as for others: reading a file, and passing through a folder.
const READ: u32 = 0o4;
const PASS: u32 = 0o1;
/// How far they are shifted for the owner, and for the group.
const OWNER: u32 = 6;
const GROUP: u32 = 3;

/// A user without any capability.
#[derive(Clone, Debug)]
struct Reader {
    uid: u32,
    groups: Vec<u32>,
}

impl Reader {
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

    fn reads(&self, file: &Path) -> bool {
        let may = |bits, path: &Path| fs::metadata(path).is_ok_and(|it| self.may(bits, &it));
        may(READ, file) && file.ancestors().skip(1).all(|folder| may(PASS, folder))
    }
}

/// The first of these files that `user` could not read again, after this process became it. One that is not
/// there is another check's.
#[must_use]
pub fn unreadable_for<'a>(
    user: User,
    files: impl IntoIterator<Item = &'a Path>,
) -> Option<PathBuf> {
    let reader = Reader::of(user);
    let real = files.into_iter().filter_map(|file| fs::canonicalize(file).ok());
    real.into_iter().find(|file| !reader.reads(file))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

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
            unreadable_for(user, [file.as_path()]).is_some()
        };
        for (user, folder_mode, mode, is_closed) in [
            (User::current(), 0o700, 0o600, false),
            (User::current(), 0o700, 0o000, true),
            (STRANGER, 0o755, 0o644, false),
            (STRANGER, 0o755, 0o640, true),
            (STRANGER, 0o700, 0o644, true),
            (member, 0o750, 0o640, false),
            (member, 0o750, 0o604, true),
        ] {
            assert_eq!(closed(user, folder_mode, mode), is_closed, "{user:?} {mode:o}");
        }
    }
}
