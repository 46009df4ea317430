//! Finds directories on the way to a path that users other than the agent's can change.
//!
//! Such a user can replace what the path leads to between two system calls, so that a root agent would
//! create a file, change a mode or give away a directory elsewhere.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The superuser, who can change everything anyway.
const ROOT: u32 = 0;
/// Bits of a mode: write permission of the group and of others, and the restriction of renames and
/// removals to owners (`sticky` in inode(7)).
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// The kernel follows no more links than this (`MAXSYMLINKS` in `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// A directory, or a link in one, that another user can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExposedPath {
    path: PathBuf,
    writer: Writer,
}

/// The users who can change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Owner(u32),
    Group(u32),
    Everyone,
}

impl fmt::Display for ExposedPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} can be changed by ", self.path.display())?;
        match self.writer {
            Writer::Owner(uid) => write!(formatter, "its owner, user {uid}"),
            Writer::Group(gid) => write!(formatter, "group {gid}"),
            Writer::Everyone => formatter.write_str("every user"),
        }
    }
}

/// Returns the first directory or link, from the root to `directory`, that a user other than root and
/// `trusted` can change.
///
/// A directory above with the sticky bit, such as `/tmp`, is accepted if what the path leads to in it
/// belongs to a trusted user. Access control lists are not considered.
///
/// # Errors
/// When a part of the path cannot be examined.
pub(crate) fn find_exposed(directory: &Path, trusted: &[u32]) -> io::Result<Option<ExposedPath>> {
    walk(directory, trusted, true)
}

/// Returns what [`find_exposed`] does, without an examination of the directory itself.
///
/// # Errors
/// When a part of the path cannot be examined.
pub(crate) fn find_exposed_parent(
    directory: &Path,
    trusted: &[u32],
) -> io::Result<Option<ExposedPath>> {
    walk(directory, trusted, false)
}

fn walk(directory: &Path, trusted: &[u32], with_last: bool) -> io::Result<Option<ExposedPath>> {
    let mut ahead = steps(&std::path::absolute(directory)?);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    loop {
        if ahead.is_empty() && !with_last {
            return Ok(None);
        }
        let metadata = fs::symlink_metadata(&here)?;
        if let Some(writer) = writer(&metadata, trusted, ahead.is_empty()) {
            return Ok(Some(ExposedPath { path: here, writer }));
        }
        let Some(step) = ahead.pop_front() else { return Ok(None) };
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        let metadata = fs::symlink_metadata(&next)?;
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        if !is_trusted(metadata.uid(), trusted) {
            return Ok(Some(ExposedPath { path: next, writer: Writer::Owner(metadata.uid()) }));
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for step in steps(&target).into_iter().rev() {
            ahead.push_front(step);
        }
    }
}

fn writer(metadata: &Metadata, trusted: &[u32], is_last: bool) -> Option<Writer> {
    let (mode, gid) = (metadata.mode(), metadata.gid());
    if !is_trusted(metadata.uid(), trusted) {
        return Some(Writer::Owner(metadata.uid()));
    }
    if mode & STICKY != 0 && !is_last {
        return None;
    }
    if mode & OTHERS_WRITE != 0 {
        return Some(Writer::Everyone);
    }
    (mode & GROUP_WRITE != 0 && gid != ROOT).then_some(Writer::Group(gid))
}

fn is_trusted(uid: u32, trusted: &[u32]) -> bool {
    uid == ROOT || trusted.contains(&uid)
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::geteuid;

    use super::*;

    fn found(directory: &Path) -> Option<String> {
        let found = find_exposed(directory, &[geteuid().as_raw()]).unwrap();
        found.map(|exposed| exposed.to_string())
    }

    fn set(directory: &Path, mode: u32) {
        fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_is_found_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        fs::create_dir(&inner).unwrap();
        assert_eq!(found(&inner), None);
        for (mode, own, as_parent) in
            [(0o777, true, true), (0o1777, true, false), (0o755, false, false)]
        {
            set(&inner, mode);
            assert_eq!(found(&inner).is_some(), own, "{mode:o}");
            set(&inner, 0o755);
            set(root.path(), mode);
            assert_eq!(found(&inner).is_some(), as_parent, "{mode:o} above");
            set(root.path(), 0o700);
        }
    }

    #[test]
    fn a_directory_behind_a_link_counts() {
        let root = tempfile::tempdir().unwrap();
        let (real, between) = (root.path().join("real"), root.path().join("between"));
        fs::create_dir(&real).unwrap();
        fs::create_dir(&between).unwrap();
        symlink("../real", between.join("link")).unwrap();
        let link = between.join("link");
        assert_eq!(found(&link), None);
        set(&real, 0o777);
        assert!(found(&link).unwrap().contains("real can be changed by every user"));
        set(&real, 0o755);
        set(&between, 0o777);
        assert!(found(&link).unwrap().contains("between can be changed"));
    }

    #[test]
    fn links_in_a_cycle_are_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        let error = find_exposed(&root.path().join("a"), &[geteuid().as_raw()]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
