//! The paths on which a change of a file can happen: its directory, and that of each symbolic link on
//! the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::{TlsError, TlsFiles};

/// The kernel follows no more links than this (`MAXSYMLINKS` in `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// The paths to watch so that no change of some files is missed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WatchPaths {
    /// Directories, and the names in them that matter.
    pub(super) directories: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// The files themselves: one that is mounted alone changes without its directory.
    pub(super) files: BTreeSet<PathBuf>,
}

/// Returns the directories that are watched for changes of one file, for which they must be readable.
///
/// # Errors
/// When the path is empty, or relative to a directory that is gone.
pub(crate) fn watched_directories(file: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = WatchPaths::default();
    paths.walk(file)?;
    Ok(paths.directories.into_keys().collect())
}

impl WatchPaths {
    /// Finds the paths of all files. Where a path ends before its file, its last directory is watched.
    pub(super) fn of(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut paths = Self::default();
        for file in files.iter() {
            let walked = paths.walk(file.path());
            walked.map_err(|source| TlsError::Watch { what: file.to_string(), source })?;
        }
        Ok(paths)
    }

    /// Walks to a file as the kernel does (`path_resolution(7)`).
    fn walk(&mut self, path: &Path) -> io::Result<()> {
        let mut ahead = steps(&std::path::absolute(path)?);
        let mut directory = PathBuf::from("/");
        let mut links = 0;
        while let Some(step) = ahead.pop() {
            if step == ".." {
                directory.pop();
                continue;
            }
            let here = directory.join(&step);
            let Ok(metadata) = fs::symlink_metadata(&here) else {
                self.add(directory, &step);
                return Ok(());
            };
            if metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(());
                }
                let target = fs::read_link(&here).unwrap_or_default();
                self.add(directory.clone(), &step);
                if target.is_absolute() {
                    directory = PathBuf::from("/");
                }
                ahead.extend(steps(&target));
            } else if ahead.is_empty() {
                self.add(directory, &step);
                self.files.insert(here);
                return Ok(());
            } else {
                directory = here;
            }
        }
        Ok(())
    }

    fn add(&mut self, directory: PathBuf, name: &OsStr) {
        self.directories.entry(directory).or_default().insert(name.to_owned());
    }
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<OsString> = steps.collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(path: &Path) -> WatchPaths {
        let mut paths = WatchPaths::default();
        paths.walk(path).unwrap();
        paths
    }

    fn names(paths: &WatchPaths, directory: &Path) -> Vec<String> {
        let names = paths.directories.get(directory).into_iter().flatten();
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    fn root() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    #[test]
    fn a_plain_file_changes_in_its_directory() {
        let (_guard, root) = root();
        fs::write(root.join("tls.crt"), "").unwrap();
        let paths = paths(&root.join("tls.crt"));
        assert_eq!(names(&paths, &root), ["tls.crt"]);
        assert_eq!(paths.files, BTreeSet::from([root.join("tls.crt")]));
    }

    /// Kubernetes mounts secrets so: `tls.crt` → `..data/tls.crt`, `..data` → a directory with the date.
    #[test]
    fn a_mounted_secret_changes_where_its_links_are() {
        let (_guard, root) = root();
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/tls.crt"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        let paths = paths(&root.join("tls.crt"));
        assert_eq!(names(&paths, &root), ["..data", "tls.crt"]);
        assert_eq!(names(&paths, &root.join("..2026")), ["tls.crt"]);
    }

    #[test]
    fn a_missing_directory_is_expected_in_the_last_one() {
        let (_guard, root) = root();
        assert_eq!(names(&paths(&root.join("later/tls.crt")), &root), ["later"]);
    }

    #[test]
    fn a_cycle_of_links_ends() {
        let (_guard, root) = root();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(names(&paths(&root.join("a")), &root), ["a", "b"]);
    }

    #[test]
    fn links_up_and_absolute_ones_are_followed() {
        let (_guard, root) = root();
        fs::create_dir_all(root.join("live/node")).unwrap();
        fs::create_dir(root.join("archive")).unwrap();
        fs::write(root.join("archive/cert1.pem"), "").unwrap();
        symlink("../../archive/cert1.pem", root.join("live/node/cert.pem")).unwrap();
        symlink(root.join("live/node/cert.pem"), root.join("cert.pem")).unwrap();
        let paths = paths(&root.join("cert.pem"));
        assert_eq!(names(&paths, &root), ["cert.pem"]);
        assert_eq!(names(&paths, &root.join("live/node")), ["cert.pem"]);
        assert_eq!(names(&paths, &root.join("archive")), ["cert1.pem"]);
    }
}
