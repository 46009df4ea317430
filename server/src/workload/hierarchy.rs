//! The mounted hierarchies of cgroups.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::bpf::{CgroupId, Hierarchy};

/// The mounts of this process's mount namespace (proc(5)).
const MOUNTS: &str = "/proc/self/mountinfo";
/// Controllers of cgroup v1 by which tasks are attributed, best first: container runtimes create a
/// cgroup for each container in all of them, and service managers in fewer.
const V1_CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "devices", "freezer"];

/// A hierarchy that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountedHierarchy {
    /// Its version.
    pub(crate) hierarchy: Hierarchy,
    /// Its mount point.
    pub(crate) root: PathBuf,
}

/// The hierarchies by which tasks are attributed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// At most one of each version.
    pub(crate) mounted: Vec<MountedHierarchy>,
    /// The controller of the cgroup v1 hierarchy, if one is mounted.
    pub(crate) v1_controller: Option<&'static str>,
}

impl Hierarchies {
    /// Finds the mounted hierarchies.
    ///
    /// # Errors
    /// The kernel's error, when the mounts cannot be read.
    pub(crate) fn find() -> io::Result<Self> {
        fs::read_to_string(MOUNTS).map(|mounts| Self::parse(&mounts))
    }

    fn parse(mounts: &str) -> Self {
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
        let v2 = mounts.iter().find(|mount| mount.kind == "cgroup2");
        let v1 = V1_CONTROLLERS.into_iter().find_map(|controller| {
            let has_it = |mount: &&Mount<'_>| mount.kind == "cgroup" && mount.has(controller);
            Some((controller, mounts.iter().find(has_it)?))
        });
        let mounted =
            |hierarchy, mount: &Mount<'_>| MountedHierarchy { hierarchy, root: mount.path() };
        let v2 = v2.map(|mount| mounted(Hierarchy::V2, mount));
        let v1_root = v1.map(|(_, mount)| mounted(Hierarchy::V1, mount));
        Self {
            mounted: v2.into_iter().chain(v1_root).collect(),
            v1_controller: v1.map(|(controller, _)| controller),
        }
    }
}

/// One line of the mounts.
struct Mount<'a> {
    path: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// Fields: id, parent, device, root, mount point, options, optional fields up to `-`, type, source,
    /// options of the file system.
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let path = before.split(' ').nth(4)?;
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        Some(Self { path, kind, options })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }

    /// Blanks and the like are written in octal (proc(5)).
    fn path(&self) -> PathBuf {
        let unescaped = [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")];
        let path = unescaped
            .iter()
            .fold(self.path.to_owned(), |path, (code, character)| path.replace(code, character));
        PathBuf::from(path)
    }
}

/// The id of the cgroup of a directory: its inode number (`kernfs_get_inode` in `fs/kernfs/inode.c`).
///
/// # Errors
/// The kernel's error, such as `ENOENT` when the cgroup was removed.
pub(super) fn id_of(hierarchy: Hierarchy, directory: &Path) -> io::Result<CgroupId> {
    Ok(CgroupId { hierarchy, id: fs::symlink_metadata(directory)?.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
27 24 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw shared:3 master:1 - cgroup2 cgroup2 rw";

    #[test]
    fn both_hierarchies_of_a_hybrid_machine_are_found() {
        let found = Hierarchies::parse(HYBRID);
        let root =
            |hierarchy, root: &str| MountedHierarchy { hierarchy, root: PathBuf::from(root) };
        assert_eq!(
            found,
            Hierarchies {
                mounted: vec![
                    root(Hierarchy::V2, "/sys/fs/cgroup/unified"),
                    root(Hierarchy::V1, "/sys/fs/cgroup/memory"),
                ],
                v1_controller: Some("memory"),
            }
        );
    }

    #[test]
    fn a_machine_with_cgroup_v2_alone_has_no_controller_of_v1() {
        let found = Hierarchies::parse(
            r"30 1 0:26 / /sys/fs/my\040cgroup rw - cgroup2 cgroup2 rw,nsdelegate",
        );
        assert_eq!(found.v1_controller, None);
        assert_eq!(found.mounted[0].root, PathBuf::from("/sys/fs/my cgroup"));
    }

    #[test]
    fn a_machine_without_cgroups_has_none() {
        assert_eq!(Hierarchies::parse("broken\n1 2 3 - x"), Hierarchies::default());
    }

    #[test]
    fn the_running_kernel_has_a_hierarchy() {
        assert!(!Hierarchies::find().unwrap().mounted.is_empty());
    }
}
