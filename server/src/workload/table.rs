//! The table of cgroups, by the kernel's id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::cgroup_path::{Owners, owners_of};
use crate::bpf::CgroupId;
use crate::netlink::Waker;

/// Memory of the table: about 10,000 cgroups with paths of usual lengths, several times as many as a node
/// of Kubernetes has. Exits of further ones are attributed by the id, without a path.
pub(crate) const MAX_TABLE_BYTES: usize = 4 << 20;
/// Bytes of a path that are kept; a longer path (`PATH_MAX` is 4,096) is cut, and has no owners.
const MAX_PATH_BYTES: usize = 4_096;
/// Bytes of a cgroup beside its path and names: itself, its entry in the table, allocator overhead.
const CGROUP_OVERHEAD: usize = size_of::<Cgroup>() + 64;

/// One cgroup: its id, which never changes, and what is known of it, which may come later.
#[derive(Debug)]
pub(crate) struct Cgroup {
    id: CgroupId,
    known: Mutex<Known>,
    /// Changes with each change of `known`.
    version: AtomicU64,
}

/// The facts about a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Path below the root of its hierarchy; absent until the directory was seen.
    pub(crate) path: Option<Arc<str>>,
    /// Container, pod and units of the path.
    pub(crate) owners: Owners,
    /// Names of the container and the pod.
    pub(crate) names: Names,
    /// When the cgroup was removed, since 1970; absent while it exists.
    pub(crate) removed_at: Option<Duration>,
}

/// Names that no path has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Namespace of the pod.
    pub(crate) namespace: Option<Arc<str>>,
    /// Name of the pod.
    pub(crate) pod: Option<Arc<str>>,
    /// Name of the container in its pod.
    pub(crate) container: Option<Arc<str>>,
}

impl Cgroup {
    fn new(id: CgroupId) -> Self {
        Self { id, known: Mutex::default(), version: AtomicU64::new(0) }
    }

    /// The kernel's id.
    #[must_use]
    pub(crate) fn id(&self) -> CgroupId {
        self.id
    }

    /// Returns what is known now, and its version.
    #[must_use]
    pub(crate) fn known(&self) -> (Known, u64) {
        let known = lock(&self.known);
        (known.clone(), self.version.load(Ordering::Relaxed))
    }

    /// Returns whether the path is known.
    #[must_use]
    pub(super) fn has_path(&self) -> bool {
        lock(&self.known).path.is_some()
    }

    /// The version of what is known: it changes when something becomes known.
    #[must_use]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Changes what is known, and returns whether that differs from before.
    fn update(&self, change: impl FnOnce(&mut Known)) -> bool {
        let mut known = lock(&self.known);
        let before = known.clone();
        change(&mut known);
        let differs = *known != before;
        if differs {
            self.version.fetch_add(1, Ordering::Relaxed);
        }
        differs
    }

    fn memory(&self) -> usize {
        lock(&self.known).path.as_ref().map_or(0, |path| path.len()) + CGROUP_OVERHEAD
    }
}

/// All cgroups that exist, or that the history refers to.
///
/// The reader of exits looks cgroups up and never waits for a path: one that is not known yet is
/// entered without, and the thread that follows the hierarchies completes it.
#[derive(Debug, Default)]
pub struct CgroupTable {
    entries: Mutex<Entries>,
    /// Wakes the thread that follows the hierarchies when a cgroup without a path was entered.
    waker: OnceLock<Waker>,
    /// Changes with each change of any cgroup.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    cgroups: HashMap<CgroupId, Arc<Cgroup>>,
    /// Cgroups without a path that were entered since the last look.
    unresolved: Vec<CgroupId>,
    /// Number of entries after the last sweep.
    swept: usize,
    /// Memory of the entries.
    bytes: usize,
}

impl CgroupTable {
    /// Returns the cgroups of some ids. Those that are new are entered without a path.
    pub(crate) fn intern(&self, ids: &[CgroupId]) -> Box<[Arc<Cgroup>]> {
        if ids.is_empty() {
            return Box::default();
        }
        let mut entries = lock(&self.entries);
        let interned = ids.iter().map(|id| entries.intern(*id)).collect();
        if !entries.unresolved.is_empty() {
            self.wake();
        }
        interned
    }

    /// Returns the cgroups of ids in the form of [`CgroupId::to_stored`], as [`CgroupTable::intern`].
    pub(crate) fn intern_stored(&self, stored: &[u64]) -> Box<[Arc<Cgroup>]> {
        let ids: Vec<CgroupId> =
            stored.iter().map(|stored| CgroupId::from_stored(*stored)).collect();
        self.intern(&ids)
    }

    /// Returns a cgroup, if it is in the table.
    #[must_use]
    pub(crate) fn get(&self, id: CgroupId) -> Option<Arc<Cgroup>> {
        lock(&self.entries).cgroups.get(&id).cloned()
    }

    /// Enters a cgroup that exists, with its path. Returns false if the table is full.
    pub(crate) fn born(&self, id: CgroupId, path: &str) -> bool {
        let (path, owners) = match path.get(..MAX_PATH_BYTES) {
            Some(cut) if cut.len() < path.len() => (cut, Owners::default()),
            _ => (path, owners_of(path)),
        };
        let mut entries = lock(&self.entries);
        if !entries.has_room(id, path.len()) {
            return false;
        }
        let cgroup = entries.enter(id);
        let before = cgroup.memory();
        self.changed(cgroup.update(|known| {
            *known = Known { path: Some(path.into()), owners, ..std::mem::take(known) };
        }));
        entries.bytes = entries.bytes + cgroup.memory() - before;
        true
    }

    /// Marks a cgroup as removed at a time since 1970. It stays for as long as the history refers to it.
    pub(crate) fn removed(&self, id: CgroupId, at: Duration) {
        let mut entries = lock(&self.entries);
        let Some(cgroup) = entries.cgroups.get(&id).cloned() else { return };
        self.changed(cgroup.update(|known| known.removed_at = Some(at)));
        drop(cgroup);
        entries.sweep_if_grown();
    }

    /// Changes the names of all cgroups whose owners `names` knows.
    pub(crate) fn rename(&self, names: impl Fn(&Owners) -> Names) {
        let cgroups: Vec<_> = lock(&self.entries).cgroups.values().cloned().collect();
        for cgroup in cgroups {
            let renamed = cgroup.update(|known| {
                let new = names(&known.owners);
                if new != Names::default() {
                    known.names = new;
                }
            });
            self.changed(renamed);
        }
    }

    /// Sets the waker of the thread that resolves cgroups without a path.
    pub(super) fn set_waker(&self, waker: Waker) {
        let _first = self.waker.set(waker);
    }

    /// Takes the cgroups without a path that were entered since the last call.
    pub(super) fn take_unresolved(&self) -> Vec<CgroupId> {
        std::mem::take(&mut lock(&self.entries).unresolved)
    }

    fn wake(&self) {
        if let Some(Err(error)) = self.waker.get().map(Waker::wake) {
            tracing::warn!(%error, "waking the thread that follows cgroups failed");
        }
    }

    /// The version of the table: it changes when something becomes known of any cgroup.
    #[must_use]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Returns the number of cgroups, and the memory that they hold in bytes.
    #[cfg(test)]
    fn size(&self) -> (usize, usize) {
        let entries = lock(&self.entries);
        (entries.cgroups.len(), entries.bytes)
    }

    fn changed(&self, changed: bool) {
        if changed {
            self.version.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Entries {
    fn intern(&mut self, id: CgroupId) -> Arc<Cgroup> {
        if let Some(cgroup) = self.cgroups.get(&id) {
            return Arc::clone(cgroup);
        }
        self.unresolved.push(id);
        self.enter(id)
    }

    /// Returns the entry of an id, new if need be. A full table gives a cgroup outside of it.
    fn enter(&mut self, id: CgroupId) -> Arc<Cgroup> {
        let has_room = self.has_room(id, 0);
        let bytes = &mut self.bytes;
        match self.cgroups.entry(id) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(_) if !has_room => Arc::new(Cgroup::new(id)),
            Entry::Vacant(entry) => {
                *bytes += CGROUP_OVERHEAD;
                Arc::clone(entry.insert(Arc::new(Cgroup::new(id))))
            }
        }
    }

    /// Returns whether an entry and so many bytes more fit, after forgetting what may be forgotten.
    fn has_room(&mut self, id: CgroupId, more: usize) -> bool {
        self.sweep_if_grown();
        let new = if self.cgroups.contains_key(&id) { more } else { more + CGROUP_OVERHEAD };
        if self.bytes + new > MAX_TABLE_BYTES {
            self.sweep();
        }
        self.bytes + new <= MAX_TABLE_BYTES
    }

    /// Forgets removed cgroups that nothing refers to, each time the table has doubled.
    fn sweep_if_grown(&mut self) {
        /// Below this size a sweep is not worth it.
        const SMALL: usize = 1_024;
        if self.cgroups.len() >= (2 * self.swept).max(SMALL) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let bytes = &mut self.bytes;
        self.cgroups.retain(|_, cgroup| {
            let stays = Arc::strong_count(cgroup) > 1 || lock(&cgroup.known).removed_at.is_none();
            if !stays {
                *bytes -= cgroup.memory();
            }
            stays
        });
        self.swept = self.cgroups.len();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Hierarchy;

    fn id(number: u64) -> CgroupId {
        CgroupId { hierarchy: Hierarchy::V2, id: number }
    }

    #[test]
    fn a_removed_cgroup_is_forgotten_when_no_exit_refers_to_it() {
        let table = CgroupTable::default();
        let kept = table.intern(&[id(1)]);
        for number in 1..3_000 {
            assert!(table.born(id(number), "/short-lived"));
            table.removed(id(number), Duration::from_secs(number));
        }
        assert!(table.size().0 < 2_000, "{:?}", table.size());
        assert_eq!(table.get(id(1)).unwrap().known().0.path.as_deref(), Some("/short-lived"));
        drop(kept);
    }

    /// However many cgroups exist, the memory has a bound; the exits of further ones have the id alone.
    #[test]
    fn a_full_table_holds_no_more_and_still_gives_ids() {
        let table = CgroupTable::default();
        let path = format!("/{}", "long".repeat(250));
        let entered = (1..100_000).take_while(|number| table.born(id(*number), &path)).count();
        assert!(entered > 1_000 && entered < 99_999, "{entered}");
        let (count, bytes) = table.size();
        assert_eq!(count, entered);
        assert!(bytes <= MAX_TABLE_BYTES, "{bytes}");
        let beyond = table.intern(&[id(200_000)]);
        assert_eq!(beyond[0].id(), id(200_000));
        assert!(table.size().1 <= MAX_TABLE_BYTES);
        // The bytes of removed ones are free again.
        for number in 1..=entered as u64 {
            table.removed(id(number), Duration::ZERO);
        }
        assert!(table.born(id(200_000), &path));
    }
}
