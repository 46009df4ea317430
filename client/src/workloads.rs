//! The owners of exits.

use std::collections::HashMap;

use taskstats_proto::v1::{Attribution, ExitEvent, Hierarchy, Workload, Workloads};

/// The workloads that a table keeps: some 30 MB, if each has a long path. A node has a few hundred at a
/// time; the rest were removed.
const MAX_WORKLOADS: usize = 65_536;

/// The owner of a live task or process.
///
/// ```
/// use taskstats_client::{Attribution, Owner};
///
/// fn pod(owner: &Owner) -> Option<&str> {
///     assert_eq!(owner.attribution, Attribution::Observed);
///     owner.workload.pod.as_ref().map(|pod| pod.name.as_str())
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// The cgroup, and the container, pod and units that its path names.
    pub workload: Workload,
    /// The certainty of the cgroup.
    pub attribution: Attribution,
}

/// The workloads of a stream of exits, by cgroup.
///
/// An exit has the id of a cgroup; [`Event::Workloads`](crate::Event::Workloads) has the owners. An
/// [`ExitStream`](crate::ExitStream) joins them by itself; this table is for programs that process
/// events elsewhere. It keeps the 65,536 workloads that were sent last, and first forgets those of
/// cgroups that were removed.
///
/// ```
/// use taskstats_client::proto::{Hierarchy, Workload, Workloads};
/// use taskstats_client::{ExitEvent, WorkloadTable};
///
/// let hierarchy = Hierarchy::V2.into();
/// let cgroup = "/system.slice/nginx.service".to_owned();
/// let workload = Workload { cgroup_id: 7, hierarchy, cgroup, ..Workload::default() };
/// let mut table = WorkloadTable::default();
/// table.update(Workloads { workloads: vec![workload] });
///
/// let exit = ExitEvent { cgroup_id: Some(7), hierarchy, ..ExitEvent::default() };
/// assert_eq!(table.of(&exit).unwrap().cgroup, "/system.slice/nginx.service");
/// ```
#[derive(Clone, Debug, Default)]
pub struct WorkloadTable {
    entries: HashMap<(u64, Hierarchy), Entry>,
    /// The number of workloads that were received.
    received: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    workload: Workload,
    /// The position of the workload among those that were received.
    received: u64,
}

impl WorkloadTable {
    /// Adds workloads, and replaces those of the same cgroups.
    ///
    /// ```
    /// use taskstats_client::{Event, WorkloadTable};
    ///
    /// fn receive(event: Event, table: &mut WorkloadTable) {
    ///     if let Event::Workloads(workloads) = event {
    ///         table.update(workloads);
    ///     }
    /// }
    /// ```
    pub fn update(&mut self, workloads: Workloads) {
        for workload in workloads.workloads {
            self.received += 1;
            let key = (workload.cgroup_id, workload.hierarchy());
            self.entries.insert(key, Entry { workload, received: self.received });
        }
        if self.entries.len() > MAX_WORKLOADS {
            self.forget(self.received.saturating_sub(MAX_WORKLOADS as u64 / 2));
        }
    }

    /// Returns the owner of an exit; `None` if the exit has no cgroup, or its workload is not known.
    ///
    /// `exit.attribution()` is the certainty.
    ///
    /// ```
    /// use taskstats_client::{ExitEvent, WorkloadTable};
    ///
    /// assert_eq!(WorkloadTable::default().of(&ExitEvent::default()), None);
    /// ```
    #[must_use]
    pub fn of(&self, exit: &ExitEvent) -> Option<&Workload> {
        let entry = self.entries.get(&(exit.cgroup_id?, exit.hierarchy()))?;
        Some(&entry.workload)
    }

    /// Forgets what was received before a position: removed cgroups, and others only if those are too
    /// few.
    fn forget(&mut self, before: u64) {
        let is_recent = |entry: &Entry| entry.received > before;
        self.entries.retain(|_, entry| entry.workload.removed_at.is_none() || is_recent(entry));
        if self.entries.len() > MAX_WORKLOADS {
            self.entries.retain(|_, entry| is_recent(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn workload(cgroup_id: u64) -> Workload {
        Workload { cgroup_id, hierarchy: Hierarchy::V2.into(), ..Workload::default() }
    }

    fn exit(cgroup_id: u64, hierarchy: Hierarchy) -> ExitEvent {
        let hierarchy = hierarchy.into();
        ExitEvent { cgroup_id: Some(cgroup_id), hierarchy, ..ExitEvent::default() }
    }

    fn add(table: &mut WorkloadTable, workload: Workload) {
        table.update(Workloads { workloads: vec![workload] });
    }

    #[test]
    fn an_id_counts_in_its_hierarchy_alone() {
        let mut table = WorkloadTable::default();
        add(&mut table, workload(7));
        assert_eq!(table.of(&exit(7, Hierarchy::V2)), Some(&workload(7)));
        assert_eq!(table.of(&exit(7, Hierarchy::V1)), None);
        assert_eq!(table.of(&exit(8, Hierarchy::V2)), None);
    }

    #[test]
    fn a_later_message_replaces_an_earlier_one() {
        let mut table = WorkloadTable::default();
        add(&mut table, workload(7));
        let named = Workload { cgroup: "/named".to_owned(), ..workload(7) };
        add(&mut table, named.clone());
        assert_eq!(table.of(&exit(7, Hierarchy::V2)), Some(&named));
    }

    #[test]
    fn removed_cgroups_are_forgotten_first_and_the_table_is_bounded() {
        let mut table = WorkloadTable::default();
        add(&mut table, workload(0));
        let removed_at = Some(Timestamp::default());
        for id in 1..=MAX_WORKLOADS as u64 {
            add(&mut table, Workload { removed_at, ..workload(id) });
        }
        let has = |table: &WorkloadTable, id| table.of(&exit(id, Hierarchy::V2)).is_some();
        assert!(has(&table, 0) && !has(&table, 1) && has(&table, MAX_WORKLOADS as u64));
        for id in 0..3 * MAX_WORKLOADS as u64 {
            add(&mut table, workload(id));
            assert!(table.entries.len() <= MAX_WORKLOADS);
        }
        assert!(!has(&table, 0) && has(&table, 3 * MAX_WORKLOADS as u64 - 1));
    }
}
