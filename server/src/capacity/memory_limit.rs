//! The memory limit of the agent's control group.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

/// The memory limit of a control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    /// Bytes.
    pub(crate) bytes: u64,
    /// The file of the limit.
    file: PathBuf,
}

impl MemoryLimit {
    /// Reads the limit of this process' control group; returns `None` without one. Limits of its parents
    /// are not read.
    pub(crate) fn read() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(&groups, Path::new("/sys/fs/cgroup"))
    }

    /// Finds the limit of `groups`, the lines of /proc/PID/cgroup (`hierarchy:controllers:path`, `cgroups(7)`).
    /// In a container the path can be that of the host, and the group is then the root of the mount.
    fn find(groups: &str, root: &Path) -> Option<Self> {
        let group = |controllers: &str| {
            let lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            let mut of = lines.filter(|(held, _)| held.split(',').any(|it| it == controllers));
            of.next().map(|(_, path)| path.trim_start_matches('/'))
        };
        let candidates = [
            (root.to_owned(), group(""), "memory.max"),
            (root.join("memory"), group("memory"), "memory.limit_in_bytes"),
        ];
        candidates.into_iter().find_map(|(root, path, name)| {
            let files = [root.join(path?).join(name), root.join(name)];
            files.into_iter().find_map(|file| {
                let bytes = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
                Some(Self { bytes, file })
            })
        })
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the limit of {} in {}", ByteSize::b(self.bytes), self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both versions of control groups are tried, with paths of the host in a container.
    #[test]
    fn the_limit_of_the_control_group_is_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let find = |groups: &str| MemoryLimit::find(groups, root.path()).map(|limit| limit.bytes);
        let older = "4:memory:/agent\n1:cpu,cpuacct:/\n0::/\n";
        assert_eq!(find("0::/pod/agent\n"), None);
        write("memory/agent/memory.limit_in_bytes", "1024\n");
        assert_eq!((find(older), find("")), (Some(1024), None));
        write("memory.max", "max\n");
        assert_eq!(find("0::/pod/agent\n"), None);
        write("memory.max", "4096\n");
        assert_eq!(find("0::/pod/agent\n"), Some(4096));
        write("pod/agent/memory.max", "512\n");
        assert_eq!(find("0::/pod/agent\n"), Some(512));
    }
}
