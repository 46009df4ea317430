//! Names of pods and containers, from the kubelet's log directories.
//!
//! The kubelet creates `/var/log/pods/NAMESPACE_NAME_UID` before it starts a pod's sandbox, and a link
//! `/var/log/containers/NAME_NAMESPACE_CONTAINER-ID.log` after it started a container
//! (`pkg/kubelet/kuberuntime/legacy.go` of Kubernetes). Names of the API have no `_`. Only root may
//! read the first directory, so it is opened and watched while the agent has privileges.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use inotify::{Inotify, WatchDescriptor, WatchMask};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::cgroup_path::Owners;
use super::table::Names;

/// The directory of pods.
pub(crate) const POD_LOGS: &str = "/var/log/pods";
/// The directory of containers.
pub(crate) const CONTAINER_LOGS: &str = "/var/log/containers";
/// Entries of a directory that are read. The kubelet allows a few hundred pods.
const MAX_ENTRIES: usize = 1 << 16;
/// The kubelet cuts a link's name at this length, and then its id is missing.
const LOG_SUFFIX: &str = ".log";

/// The directories, and whether they changed since they were read last.
#[derive(Default)]
pub(crate) struct PodLogs {
    pods: Option<Dir>,
    containers: Option<Dir>,
    watches: Vec<WatchDescriptor>,
    is_changed: bool,
}

/// What the directories say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameIndex {
    /// Namespace and name of each pod, by uid.
    pods: HashMap<String, (Arc<str>, Arc<str>)>,
    /// The name of each container, by id.
    containers: HashMap<String, ContainerName>,
}

/// A container's name, and the pod that its log belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ContainerName {
    pod: Arc<str>,
    namespace: Arc<str>,
    container: Arc<str>,
}

impl PodLogs {
    /// Opens the directories. One that does not exist is left out: this is no node of Kubernetes, or
    /// the directory is not mounted.
    #[must_use]
    pub(crate) fn open(pods: &Path, containers: &Path) -> Self {
        Self {
            pods: open(pods),
            containers: open(containers),
            watches: Vec::new(),
            is_changed: true,
        }
    }

    /// Begins to watch the directories.
    pub(super) fn watch(&mut self, inotify: &Inotify) {
        let directories = [&self.pods, &self.containers].into_iter().flatten();
        let paths = directories.map(|directory| {
            use std::os::fd::AsRawFd;
            format!("/proc/self/fd/{}", directory.as_raw_fd())
        });
        for path in paths {
            match inotify.watches().add(&path, watch_mask()) {
                Ok(watch) => self.watches.push(watch),
                Err(error) => tracing::warn!(%error, "names of pods cannot be watched"),
            }
        }
    }

    /// Returns whether an event's watch is one of these directories.
    pub(super) fn owns(&self, watch: &WatchDescriptor) -> bool {
        self.watches.contains(watch)
    }

    /// Notes that a directory changed.
    pub(super) fn changed(&mut self) {
        self.is_changed = true;
    }

    /// Reads the directories if they changed.
    pub(super) fn read_if_changed(&mut self) -> Option<NameIndex> {
        if !std::mem::replace(&mut self.is_changed, false) {
            return None;
        }
        let mut index = NameIndex::default();
        for_each_name(self.pods.as_mut(), |name| index.add_pod(name));
        for_each_name(self.containers.as_mut(), |name| index.add_container(name));
        Some(index)
    }
}

impl fmt::Debug for PodLogs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PodLogs")
            .field("pods", &self.pods.is_some())
            .field("containers", &self.containers.is_some())
            .finish_non_exhaustive()
    }
}

impl NameIndex {
    fn add_pod(&mut self, name: &str) {
        let mut parts = name.splitn(3, '_');
        let (Some(namespace), Some(pod), Some(uid)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        if [namespace, pod, uid].iter().all(|part| is_api_name(part)) {
            self.pods.insert(uid.to_owned(), (namespace.into(), pod.into()));
        }
    }

    fn add_container(&mut self, name: &str) {
        let Some((name, id)) = name.strip_suffix(LOG_SUFFIX).and_then(|it| it.rsplit_once('-'))
        else {
            return;
        };
        let mut parts = name.splitn(3, '_');
        let (Some(pod), Some(namespace), Some(container)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        if [pod, namespace, container].iter().all(|part| is_api_name(part)) {
            let (pod, namespace) = (pod.into(), namespace.into());
            let name = ContainerName { pod, namespace, container: container.into() };
            self.containers.insert(id.to_owned(), name);
        }
    }

    /// The names of owners. The name of a container counts only if it is in the pod that its path is in.
    pub(super) fn names_of(&self, owners: &Owners) -> Names {
        let Some(pod) = &owners.pod else { return Names::default() };
        let container = owners.container.as_ref().and_then(|it| self.containers.get(&it.id));
        let Some((namespace, name)) = self.pods.get(&pod.uid) else {
            return container.map(ContainerName::names).unwrap_or_default();
        };
        let is_in_pod = |it: &&ContainerName| it.pod == *name && it.namespace == *namespace;
        Names {
            namespace: Some(Arc::clone(namespace)),
            pod: Some(Arc::clone(name)),
            container: container.filter(is_in_pod).map(|it| Arc::clone(&it.container)),
        }
    }
}

impl ContainerName {
    fn names(&self) -> Names {
        Names {
            namespace: Some(Arc::clone(&self.namespace)),
            pod: Some(Arc::clone(&self.pod)),
            container: Some(Arc::clone(&self.container)),
        }
    }
}

/// Names of the API are DNS labels and subdomains.
fn is_api_name(name: &str) -> bool {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_allowed)
}

fn open(path: &Path) -> Option<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    Dir::open(path, flags, Mode::empty()).ok()
}

/// Calls `each` with every name of a directory. A directory that was removed has none.
fn for_each_name(directory: Option<&mut Dir>, mut each: impl FnMut(&str)) {
    let entries = directory.map(Dir::iter).into_iter().flatten().flatten();
    for entry in entries.take(MAX_ENTRIES) {
        if let Ok(name) = entry.file_name().to_str() {
            each(name);
        }
    }
}

/// The events of a directory of names that are watched.
pub(super) fn watch_mask() -> WatchMask {
    WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::ONLYDIR
}

#[cfg(test)]
mod tests {
    use super::super::cgroup_path::owners_of;
    use super::*;

    const UID: &str = "6f5f4d8e-1c2b-4a3d-9e8f-0a1b2c3d4e5f";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn names(namespace: &str, pod: &str, container: Option<&str>) -> Names {
        Names {
            namespace: Some(namespace.into()),
            pod: Some(pod.into()),
            container: container.map(Into::into),
        }
    }

    fn owners() -> Owners {
        owners_of(&format!("/kubepods/burstable/pod{UID}/{ID}"))
    }

    #[test]
    fn a_pod_and_its_container_have_the_names_of_their_logs() {
        let mut index = NameIndex::default();
        index.add_pod(&format!("prod_api-7d9_{UID}"));
        assert_eq!(index.names_of(&owners()), names("prod", "api-7d9", None));
        index.add_container(&format!("api-7d9_prod_server-{ID}.log"));
        assert_eq!(index.names_of(&owners()), names("prod", "api-7d9", Some("server")));
    }

    #[test]
    fn a_container_of_another_pod_gives_no_name() {
        let mut index = NameIndex::default();
        index.add_pod(&format!("prod_api-7d9_{UID}"));
        index.add_container(&format!("other_prod_server-{ID}.log"));
        assert_eq!(index.names_of(&owners()), names("prod", "api-7d9", None));
    }

    #[test]
    fn a_container_outside_of_a_pod_has_no_name() {
        let mut index = NameIndex::default();
        index.add_container(&format!("api-7d9_prod_server-{ID}.log"));
        assert_eq!(index.names_of(&owners_of(&format!("/docker/{ID}"))), Names::default());
    }

    #[test]
    fn names_that_the_kubelet_does_not_write_are_left_out() {
        let mut index = NameIndex::default();
        for name in ["", "_", "__", "a_b", "a_b_", "_b_c", "a\n_b_c", "A_b_c", "ä_b_c"] {
            index.add_pod(name);
            index.add_container(name);
            index.add_container(&format!("{name}-{ID}.log"));
        }
        assert_eq!(index, NameIndex::default());
    }

    /// The directory is read through a descriptor, so it need not be open to the agent's later user.
    #[test]
    fn directories_are_read_again_after_they_changed() {
        let root = tempfile::tempdir().unwrap();
        let pods = root.path().join("pods");
        std::fs::create_dir(&pods).unwrap();
        let mut logs = PodLogs::open(&pods, &root.path().join("missing"));
        assert_eq!(logs.read_if_changed(), Some(NameIndex::default()));
        std::fs::create_dir(pods.join(format!("prod_api_{UID}"))).unwrap();
        assert_eq!(logs.read_if_changed(), None);
        logs.changed();
        let index = logs.read_if_changed().unwrap();
        assert_eq!(index.names_of(&owners()), names("prod", "api", None));
        std::fs::remove_dir_all(&pods).unwrap();
        logs.changed();
        assert_eq!(logs.read_if_changed(), Some(NameIndex::default()));
    }
}
