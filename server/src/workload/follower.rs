//! Follows births and removals of cgroups.
//!
//! A walk at the start enters every cgroup; inotify(7) on each directory reports new and removed ones.
//! If inotify loses events or has no watches left, and when an exit names a cgroup that is not known,
//! the hierarchies are walked again, at most once in [`REWALK_INTERVAL`].

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

use super::hierarchy::{Hierarchies, id_of};
use super::names::PodLogs;
use super::table::CgroupTable;
use crate::bpf::{CgroupId, Hierarchy};
use crate::clock::unix_time;
use crate::netlink::{Poller, Waker};

/// Time between two walks that events or unknown cgroups cause.
const REWALK_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which events gather while cgroups come and go quickly.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of one read of events.
const EVENT_BYTES: usize = 64 << 10;
/// Depth of the deepest cgroup that is entered; the kernel's own limit is `cgroup.max.depth`.
const MAX_DEPTH: usize = 64;
/// Name of the thread.
const THREAD: &str = "cgroups";
/// The token of inotify in the poller.
const INOTIFY: u32 = 0;

/// A directory of a cgroup that is watched.
#[derive(Clone, Debug)]
struct Node {
    hierarchy: Hierarchy,
    directory: PathBuf,
}

/// Follows the hierarchies on a thread of its own.
#[derive(Debug)]
pub(crate) struct Follower {
    hierarchies: Hierarchies,
    table: Arc<CgroupTable>,
    logs: PodLogs,
    /// `None` if the kernel grants no instance: then the hierarchies are walked again on demand.
    inotify: Option<Inotify>,
    nodes: HashMap<WatchDescriptor, Node>,
    /// Ids of the watched directories, to know which one was removed.
    ids: HashMap<PathBuf, CgroupId>,
    /// Whether a directory has no watch.
    is_incomplete: bool,
    walked_at: Option<Instant>,
    poller: Poller,
    stop: Arc<AtomicBool>,
}

/// A running [`Follower`], which ends with this handle.
#[derive(Debug)]
pub(crate) struct RunningFollower {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Prepares to follow hierarchies. Directories of names are opened now, while privileges are there.
    ///
    /// # Errors
    /// The kernel's error, when it grants no epoll instance.
    pub(crate) fn new(
        hierarchies: Hierarchies,
        table: Arc<CgroupTable>,
        logs: PodLogs,
    ) -> io::Result<Self> {
        let inotify = Inotify::init().inspect_err(|error| {
            tracing::warn!(%error, "no inotify instance for cgroups; new ones are found by walks");
        });
        let mut follower = Self {
            hierarchies,
            table,
            logs,
            inotify: inotify.ok(),
            nodes: HashMap::new(),
            ids: HashMap::new(),
            is_incomplete: false,
            walked_at: None,
            poller: Poller::new()?,
            stop: Arc::default(),
        };
        follower.table.set_waker(follower.poller.waker());
        if let Some(inotify) = &mut follower.inotify {
            follower.poller.add(inotify, INOTIFY)?;
            follower.logs.watch(inotify);
        }
        Ok(follower)
    }

    /// The mount points of the hierarchies.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.hierarchies.mounted.iter().map(|mounted| &*mounted.root)
    }

    /// Enters all cgroups that exist.
    pub(crate) fn walk(&mut self) {
        self.walked_at = Some(Instant::now());
        self.is_incomplete = false;
        let mut seen = BTreeSet::new();
        for mounted in self.hierarchies.mounted.clone() {
            self.enter_below(mounted.hierarchy, &mounted.root, &mut seen);
        }
        let gone: Vec<PathBuf> =
            self.ids.keys().filter(|directory| !seen.contains(*directory)).cloned().collect();
        gone.iter().for_each(|directory| self.remove(directory));
    }

    /// Begins to follow.
    ///
    /// # Errors
    /// The kernel's error, when it starts no thread.
    pub(crate) fn start(mut self) -> io::Result<RunningFollower> {
        let (stop, waker) = (Arc::clone(&self.stop), self.poller.waker());
        let thread = Builder::new().name(THREAD.to_owned()).spawn(move || {
            self.walk();
            self.name();
            self.run();
        })?;
        Ok(RunningFollower { stop, waker, thread: Some(thread) })
    }

    fn run(&mut self) {
        let mut ready = Vec::new();
        let mut is_due = false;
        while !self.stop.load(Ordering::Relaxed) {
            ready.clear();
            let timeout = is_due.then(|| self.until_next_walk());
            if let Err(error) = self.poller.wait(timeout, &mut ready) {
                tracing::error!(%error, "waiting for cgroups failed; their names stay as they are");
                return;
            }
            let changed = self.take_events();
            let unresolved = self.table.take_unresolved();
            is_due |= self.is_incomplete || unresolved.iter().any(|id| self.is_unknown(*id));
            if is_due && self.until_next_walk().is_zero() {
                self.walk();
                is_due = false;
            }
            self.name();
            if changed {
                // Events that follow soon are taken together.
                std::thread::park_timeout(BATCH_INTERVAL);
            }
        }
    }

    fn is_unknown(&self, id: CgroupId) -> bool {
        self.table.get(id).is_some_and(|cgroup| cgroup.known().0.path.is_none())
    }

    fn until_next_walk(&self) -> Duration {
        let due = self.walked_at.map(|walked_at| walked_at + REWALK_INTERVAL);
        due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()))
    }

    fn name(&mut self) {
        let index = self.logs.read_if_changed();
        let Some(index) = index else { return };
        self.table.rename(|owners| index.names_of(owners));
    }

    /// Takes all events that wait, and returns whether there were any.
    fn take_events(&mut self) -> bool {
        let mut buffer = vec![0; EVENT_BYTES];
        let mut any = false;
        loop {
            let Some(inotify) = &mut self.inotify else { return any };
            let events: Vec<_> = match inotify.read_events(&mut buffer) {
                Ok(events) => events.map(|event| event.to_owned()).collect(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return any,
                Err(error) => {
                    tracing::warn!(%error, "reading events of cgroups failed");
                    self.is_incomplete = true;
                    return any;
                }
            };
            any |= !events.is_empty();
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    self.is_incomplete = true;
                }
                self.take_event(&event.wd, event.mask, event.name.as_deref());
            }
        }
    }

    fn take_event(&mut self, watch: &WatchDescriptor, mask: EventMask, name: Option<&OsStr>) {
        if self.logs.owns(watch) {
            self.logs.changed();
            return;
        }
        if mask.contains(EventMask::IGNORED) {
            self.nodes.remove(watch);
            return;
        }
        let Some((node, name)) = self.nodes.get(watch).cloned().zip(name) else { return };
        let directory = node.directory.join(name);
        if mask.contains(EventMask::CREATE) {
            self.enter_below(node.hierarchy, &directory, &mut BTreeSet::new());
        } else if mask.contains(EventMask::DELETE) {
            self.remove(&directory);
        }
    }

    /// Enters a cgroup and those below it.
    fn enter_below(&mut self, hierarchy: Hierarchy, top: &Path, seen: &mut BTreeSet<PathBuf>) {
        let mut waiting = vec![(top.to_owned(), 0)];
        while let Some((directory, depth)) = waiting.pop() {
            // It may be gone already.
            let Ok(id) = id_of(hierarchy, &directory) else { continue };
            self.enter(id, &directory);
            seen.insert(directory.clone());
            if depth < MAX_DEPTH {
                let children = std::fs::read_dir(&directory).into_iter().flatten().flatten();
                let children =
                    children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                waiting.extend(children.map(|entry| (entry.path(), depth + 1)));
            }
        }
    }

    fn enter(&mut self, id: CgroupId, directory: &Path) {
        if self.ids.get(directory) == Some(&id) {
            return;
        }
        if !self.table.born(id, &self.path_of(id.hierarchy, directory)) {
            return;
        }
        self.watch(id.hierarchy, directory);
        self.ids.insert(directory.to_owned(), id);
    }

    /// The path below the root of the hierarchy. Bytes that are not UTF-8 become U+FFFD.
    fn path_of(&self, hierarchy: Hierarchy, directory: &Path) -> String {
        let roots = self.hierarchies.mounted.iter().filter(|it| it.hierarchy == hierarchy);
        let below = roots.filter_map(|it| directory.strip_prefix(&it.root).ok()).next();
        format!("/{}", below.unwrap_or(directory).to_string_lossy())
    }

    fn watch(&mut self, hierarchy: Hierarchy, directory: &Path) {
        let Some(inotify) = &mut self.inotify else {
            self.is_incomplete = true;
            return;
        };
        match inotify.watches().add(directory, watch_mask()) {
            Ok(watch) => {
                self.nodes.insert(watch, Node { hierarchy, directory: directory.to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                if !std::mem::replace(&mut self.is_incomplete, true) {
                    tracing::warn!(%error, "a cgroup cannot be watched; new ones below are found by walks (fs.inotify.max_user_watches)");
                }
            }
        }
    }

    fn remove(&mut self, directory: &Path) {
        if let Some(id) = self.ids.remove(directory) {
            self.table.removed(id, unix_time());
        }
    }
}

impl Drop for RunningFollower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "the thread that follows cgroups cannot be woken");
            return;
        }
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic was reported by the panic hook.
            drop(thread.join());
        }
    }
}

/// The events of a cgroup's directory that are watched.
pub(super) fn watch_mask() -> WatchMask {
    WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR
}

#[cfg(test)]
mod tests;
