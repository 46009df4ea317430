//! The owners of exits: cgroups, and the containers, pods and units that they belong to.

mod cgroup_path;

pub use self::cgroup_path::{ContainerPath, Owners, PodPath, Qos, Runtime, UnitPath, owners_of};
