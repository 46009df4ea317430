//! The workloads of live tasks, from procfs.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::from_utf8;
use std::sync::Arc;

use super::hierarchy::{Hierarchies, id_of};
use super::table::{Cgroup, CgroupTable};
use crate::bpf::Hierarchy;

/// Appended to the path of a cgroup that was removed (`cgroup_show_path` in `kernel/cgroup/cgroup.c`).
const DELETED: &str = " (deleted)";
/// The number of the unified hierarchy in `/proc/PID/cgroup`.
const UNIFIED: &str = "0";
/// Bytes of `/proc/PID/cgroup` that are read: a dozen hierarchies with the longest paths.
const MAX_BYTES: usize = 64 << 10;
/// Bytes of the first read, which returns the whole file of nearly every task.
const USUAL_BYTES: usize = 1 << 10;

/// Finds the cgroups of live tasks.
#[derive(Debug, Default)]
pub(crate) struct LiveWorkloads {
    hierarchies: Hierarchies,
    cgroups: Arc<CgroupTable>,
}

/// A task of which the list of cgroups in procfs is open, so that another task with the same id is not
/// taken for it.
#[derive(Debug)]
pub(crate) struct OpenTask<'a> {
    workloads: &'a LiveWorkloads,
    cgroups: File,
}

impl LiveWorkloads {
    /// Finds cgroups in `hierarchies` and enters them in `cgroups`.
    #[must_use]
    pub(crate) fn new(hierarchies: Hierarchies, cgroups: Arc<CgroupTable>) -> Self {
        Self { hierarchies, cgroups }
    }

    /// Opens a task or process. `None` if there is none, or procfs hides it.
    #[must_use]
    pub(crate) fn open(&self, id: u32) -> Option<OpenTask<'_>> {
        if self.hierarchies.mounted.is_empty() {
            return None;
        }
        let cgroups = File::open(format!("/proc/{id}/cgroup")).ok()?;
        Some(OpenTask { workloads: self, cgroups })
    }
}

impl OpenTask<'_> {
    /// The task's cgroup now: that of the deeper hierarchy, as for exits. `None` if the task has ended,
    /// or its cgroup is outside of the agent's cgroup namespace.
    #[must_use]
    pub(crate) fn cgroup(&self) -> Option<Arc<Cgroup>> {
        let mut usual = [0; USUAL_BYTES];
        let length = (&self.cgroups).read(&mut usual).ok()?;
        if length < usual.len() {
            return self.find(&usual[..length]);
        }
        let mut whole = usual.to_vec();
        (&self.cgroups).take((MAX_BYTES - length) as u64).read_to_end(&mut whole).ok()?;
        self.find(&whole)
    }

    fn find(&self, text: &[u8]) -> Option<Arc<Cgroup>> {
        let hierarchies = &self.workloads.hierarchies;
        let (hierarchy, path) = deepest(from_utf8(text).ok()?, hierarchies.v1_controller)?;
        let mounted = hierarchies.mounted.iter().find(|it| it.hierarchy == hierarchy)?;
        let below = Path::new(path).strip_prefix("/").ok()?;
        let id = id_of(hierarchy, &mounted.root.join(below)).ok()?;
        let cgroup = self.workloads.cgroups.get(id);
        if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.has_path()) {
            return Some(cgroup);
        }
        self.workloads.cgroups.born(id, path);
        self.workloads.cgroups.get(id)
    }
}

/// The deeper one of the cgroups of a task in cgroup v2 and in the hierarchy of a v1 controller.
fn deepest<'a>(text: &'a str, v1_controller: Option<&str>) -> Option<(Hierarchy, &'a str)> {
    let fields = text.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((number, controllers, path))
    });
    let is_reachable = |path: &&str| !path.ends_with(DELETED) && !path.starts_with("/..");
    let (mut v2, mut v1) = (None, None);
    for (number, controllers, path) in fields {
        if number == UNIFIED && controllers.is_empty() {
            v2 = Some(path).filter(is_reachable);
        } else if controllers.split(',').any(|name| Some(name) == v1_controller) {
            v1 = Some(path).filter(is_reachable);
        }
    }
    let depth = |path: &str| path.split('/').filter(|part| !part.is_empty()).count();
    match (v2, v1) {
        (Some(v2), Some(v1)) if depth(v1) > depth(v2) => Some((Hierarchy::V1, v1)),
        (Some(v2), _) => Some((Hierarchy::V2, v2)),
        (None, v1) => Some((Hierarchy::V1, v1?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "5:memory:/a/b\n4:cpu,cpuacct:/\n0::/c\n";

    #[test]
    fn the_deeper_hierarchy_is_chosen() {
        assert_eq!(deepest(HYBRID, Some("memory")), Some((Hierarchy::V1, "/a/b")));
        assert_eq!(deepest(HYBRID, Some("cpuacct")), Some((Hierarchy::V2, "/c")));
        assert_eq!(deepest(HYBRID, None), Some((Hierarchy::V2, "/c")));
        assert_eq!(deepest("5:memory:/a\n", Some("memory")), Some((Hierarchy::V1, "/a")));
    }

    #[test]
    fn a_removed_cgroup_and_one_outside_of_the_namespace_are_not_named() {
        assert_eq!(deepest("0::/a (deleted)\n", None), None);
        assert_eq!(deepest("0::/../a\n", None), None);
        assert_eq!(deepest("nonsense\n0::", None), Some((Hierarchy::V2, "")));
    }

    #[test]
    fn the_cgroup_of_this_process_is_found() {
        let live = LiveWorkloads::new(Hierarchies::find().unwrap(), Arc::default());
        let cgroup = live.open(std::process::id()).unwrap().cgroup().unwrap();
        let path = cgroup.known().0.path.unwrap();
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        assert!(text.lines().any(|line| line.ends_with(&format!(":{path}"))), "{path} in {text}");
    }

    #[test]
    fn a_task_that_does_not_exist_has_none() {
        let live = LiveWorkloads::new(Hierarchies::find().unwrap(), Arc::default());
        assert!(live.open(u32::MAX).is_none());
    }
}
