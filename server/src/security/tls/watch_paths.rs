//! Where a change of a file can happen: its folder, and that of each symbolic link on the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::{TlsError, TlsFiles};

/// More than the kernel follows (`MAXSYMLINKS`, 40) is a circle.
const MAX_LINKS: usize = 40;

/// What has to be watched so that no change of some files is missed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WatchPaths {
    /// Folders, and the names in them that matter.
    pub(super) folders: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// The files themselves: one that is mounted alone changes without its folder.
    pub(super) files: BTreeSet<PathBuf>,
}

/// The folders that are watched for changes of one file, which takes reading them.
///
/// # Errors
/// When the path is empty, or relative to a folder that is gone.
pub fn watched_directories(file: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut places = WatchPaths::default();
    places.walk(file)?;
    Ok(places.folders.into_keys().collect())
}

impl WatchPaths {
    /// Finds the places of all files. Where something is missing, it is waited for in the last folder
    /// that is there.
    pub(super) fn of(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut places = Self::default();
        for file in files.iter() {
            let walked = places.walk(file.path());
            walked.map_err(|source| TlsError::Watch { what: file.to_string(), source })?;
        }
        Ok(places)
    }

    /// Goes to a file as the kernel does (`path_resolution(7)`).
    fn walk(&mut self, path: &Path) -> io::Result<()> {
        let mut ahead = steps(&std::path::absolute(path)?);
        let mut folder = PathBuf::from("/");
        let mut links = 0;
        while let Some(step) = ahead.pop() {
            if step == ".." {
                folder.pop();
                continue;
            }
            let here = folder.join(&step);
            let Ok(metadata) = fs::symlink_metadata(&here) else {
                self.add(folder, &step);
                return Ok(());
            };
            if metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(());
                }
                let target = fs::read_link(&here).unwrap_or_default();
                self.add(folder.clone(), &step);
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                ahead.extend(steps(&target));
            } else if ahead.is_empty() {
                self.add(folder, &step);
                self.files.insert(here);
                return Ok(());
            } else {
                folder = here;
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: PathBuf, name: &OsStr) {
        self.folders.entry(folder).or_default().insert(name.to_owned());
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

    fn places(path: &Path) -> WatchPaths {
        let mut places = WatchPaths::default();
        places.walk(path).unwrap();
        places
    }

    fn names(places: &WatchPaths, folder: &Path) -> Vec<String> {
        let names = places.folders.get(folder).into_iter().flatten();
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    fn root() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn a_plain_file_changes_in_its_folder() {
        let (_guard, root) = root();
        fs::write(root.join("tls.crt"), "").unwrap();
        let places = places(&root.join("tls.crt"));
        assert_eq!(names(&places, &root), ["tls.crt"]);
        assert_eq!(places.files, BTreeSet::from([root.join("tls.crt")]));
    }

    /// As Kubernetes mounts secrets: `tls.crt` → `..data/tls.crt`, `..data` → a folder with the date.
    #[test]
    fn a_mounted_secret_changes_where_its_links_are() {
        let (_guard, root) = root();
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/tls.crt"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        let places = places(&root.join("tls.crt"));
        assert_eq!(names(&places, &root), ["..data", "tls.crt"]);
        assert_eq!(names(&places, &root.join("..2026")), ["tls.crt"]);
    }

    #[test]
    fn what_is_missing_is_waited_for_where_it_would_appear() {
        let (_guard, root) = root();
        assert_eq!(names(&places(&root.join("later/tls.crt")), &root), ["later"]);
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let (_guard, root) = root();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(names(&places(&root.join("a")), &root), ["a", "b"]);
    }

    #[test]
    fn links_up_and_absolute_ones_are_followed() {
        let (_guard, root) = root();
        fs::create_dir_all(root.join("live/node")).unwrap();
        fs::create_dir(root.join("archive")).unwrap();
        fs::write(root.join("archive/cert1.pem"), "").unwrap();
        symlink("../../archive/cert1.pem", root.join("live/node/cert.pem")).unwrap();
        symlink(root.join("live/node/cert.pem"), root.join("cert.pem")).unwrap();
        let places = places(&root.join("cert.pem"));
        assert_eq!(names(&places, &root), ["cert.pem"]);
        assert_eq!(names(&places, &root.join("live/node")), ["cert.pem"]);
        assert_eq!(names(&places, &root.join("archive")), ["cert1.pem"]);
    }
}
