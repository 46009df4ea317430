//! The owners of exits: cgroups, and the containers, pods and units that they belong to.
//!
//! The reader of exits knows a cgroup by the kernel's id and enters it in the [`CgroupTable`]. The
//! [`Follower`] adds the path, and names as they appear, on a thread of its own, so the reader never
//! waits for a name.

mod attribution;
mod cgroup_path;
mod follower;
mod hierarchy;
mod live;
mod names;
mod table;

pub(crate) use self::attribution::AttributionError;
pub(crate) use self::attribution::{find_hierarchies, load_filters};
pub(crate) use self::cgroup_path::{ContainerPath, PodPath, UnitPath};
pub(crate) use self::follower::{Follower, RunningFollower};
pub(crate) use self::hierarchy::Hierarchies;
pub(crate) use self::live::{LiveWorkloads, OpenTask};
pub(crate) use self::names::{CONTAINER_LOGS, POD_LOGS, PodLogs};
pub(crate) use self::table::{Cgroup, CgroupTable, Known, MAX_TABLE_BYTES, Names};

/// Returns the masks that are passed to `inotify_add_watch(2)`, for the filter of system calls.
#[must_use]
pub(crate) fn inotify_masks() -> [u32; 2] {
    [follower::watch_mask().bits(), names::watch_mask().bits()]
}
