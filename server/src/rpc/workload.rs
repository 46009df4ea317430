//! Workloads: the owners of cgroups, in the contract's types.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use taskstats_proto::v1;

use super::convert::timestamp;
use crate::bpf::{CgroupId, Hierarchy};
use crate::exits::CgroupCounts;
use crate::workload::{Cgroup, ContainerPath, Known, Names, OpenTask, PodPath, UnitPath};

/// Cgroups that a stream remembers as sent before it forgets those that no exit refers to any more.
const SMALL: usize = 256;

/// The workloads that one stream has sent, and their versions.
#[derive(Debug, Default)]
pub(super) struct SentWorkloads {
    sent: HashMap<CgroupId, (Weak<Cgroup>, u64)>,
    /// Entries after the last sweep.
    swept: usize,
    /// The version of the table when all sent workloads were compared last.
    table_version: u64,
}

impl SentWorkloads {
    /// Returns the workloads of `cgroups` that are new to the stream, or of which more is known.
    pub(super) fn new_of<'a>(
        &mut self,
        cgroups: impl IntoIterator<Item = &'a Arc<Cgroup>>,
    ) -> Vec<v1::Workload> {
        let mut new = Vec::new();
        for cgroup in cgroups {
            let version = cgroup.version();
            let is_sent = self.sent.get(&cgroup.id()).is_some_and(|(_, sent)| *sent == version);
            if !is_sent {
                new.push(self.send(cgroup));
            }
        }
        self.sweep_if_grown();
        new
    }

    /// Returns the workloads that were sent and of which more is known now. `table_version` is the
    /// version of the table of cgroups.
    pub(super) fn changed(&mut self, table_version: u64) -> Vec<v1::Workload> {
        if std::mem::replace(&mut self.table_version, table_version) == table_version {
            return Vec::new();
        }
        let sent = self.sent.values().filter_map(|(cgroup, version)| {
            cgroup.upgrade().filter(|cgroup| cgroup.version() != *version)
        });
        let changed: Vec<Arc<Cgroup>> = sent.collect();
        changed.iter().map(|cgroup| self.send(cgroup)).collect()
    }

    fn send(&mut self, cgroup: &Arc<Cgroup>) -> v1::Workload {
        let (known, version) = cgroup.known();
        self.sent.insert(cgroup.id(), (Arc::downgrade(cgroup), version));
        workload(cgroup.id(), known)
    }

    fn sweep_if_grown(&mut self) {
        if self.sent.len() >= (2 * self.swept).max(SMALL) {
            self.sent.retain(|_, (cgroup, _)| cgroup.strong_count() > 0);
            self.swept = self.sent.len();
        }
    }
}

/// The workload of a cgroup.
pub(super) fn workload(id: CgroupId, known: Known) -> v1::Workload {
    let Known { path, owners, names, removed_at } = known;
    let Names { namespace, pod, container } = names;
    let text = |name: Option<Arc<str>>| name.map(|name| name.to_string()).unwrap_or_default();
    v1::Workload {
        cgroup_id: id.id,
        cgroup: text(path),
        hierarchy: hierarchy(id.hierarchy).into(),
        container: owners.container.map(|ContainerPath { id, runtime }| v1::Container {
            id,
            runtime: runtime.map(|runtime| runtime.name().to_owned()).unwrap_or_default(),
            name: text(container),
        }),
        pod: owners.pod.map(|PodPath { uid, qos }| v1::Pod {
            uid,
            namespace: text(namespace),
            name: text(pod),
            qos: qos.name().to_owned(),
        }),
        systemd: owners.units.map(|UnitPath { unit, slice, user_unit }| v1::Systemd {
            unit: unit.unwrap_or_default(),
            slice: slice.unwrap_or_default(),
            user_unit: user_unit.unwrap_or_default(),
        }),
        removed_at: removed_at.map(timestamp),
    }
}

/// The workload of a live task and its certainty, if the task still lives.
pub(super) fn of_live(task: Option<&OpenTask<'_>>) -> (Option<v1::Workload>, i32) {
    match task.and_then(OpenTask::cgroup) {
        Some(cgroup) => {
            let workload = workload(cgroup.id(), cgroup.known().0);
            (Some(workload), v1::Attribution::Observed.into())
        }
        None => (None, v1::Attribution::Unspecified.into()),
    }
}

/// Losses by cgroup.
pub(super) fn losses(by_cgroup: &CgroupCounts) -> Vec<v1::CgroupLoss> {
    let loss = |(cgroup, count): &(Arc<Cgroup>, u64)| v1::CgroupLoss {
        cgroup_id: cgroup.id().id,
        count: *count,
        hierarchy: hierarchy(cgroup.id().hierarchy).into(),
    };
    by_cgroup.iter().map(loss).collect()
}

const fn hierarchy(hierarchy: Hierarchy) -> v1::Hierarchy {
    match hierarchy {
        Hierarchy::V2 => v1::Hierarchy::V2,
        Hierarchy::V1 => v1::Hierarchy::V1,
    }
}
