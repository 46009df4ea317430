//! The follower on directories that stand for cgroups: both are identified by inode number.

use std::fs;

use super::super::hierarchy::MountedHierarchy;
use super::*;

/// A hierarchy in a temporary directory, and what follows it.
struct Fixture {
    root: tempfile::TempDir,
    table: Arc<CgroupTable>,
}

impl Fixture {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), table: Arc::default() }
    }

    fn follower(&self) -> Follower {
        let root = self.root.path().to_owned();
        let mounted = vec![MountedHierarchy { hierarchy: Hierarchy::V2, root }];
        let hierarchies = Hierarchies { mounted, v1_controller: None };
        let logs = PodLogs::open(Path::new("/nonexistent"), Path::new("/nonexistent"));
        Follower::new(hierarchies, Arc::clone(&self.table), logs).unwrap()
    }

    fn make(&self, path: &str) -> CgroupId {
        let directory = self.root.path().join(path);
        fs::create_dir_all(&directory).unwrap();
        id_of(Hierarchy::V2, &directory).unwrap()
    }

    fn path_of(&self, id: CgroupId) -> Option<String> {
        self.table.get(id)?.known().0.path.map(|path| path.to_string())
    }

    /// Waits until a change of the table makes the condition true.
    fn wait_for(&self, until: impl Fn() -> bool) {
        while !until() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_walk_enters_every_cgroup_with_its_path() {
    let fixture = Fixture::new();
    let (root, inner) = (fixture.make(""), fixture.make("a/b"));
    fixture.follower().walk();
    assert_eq!(fixture.path_of(root).as_deref(), Some("/"));
    assert_eq!(fixture.path_of(inner).as_deref(), Some("/a/b"));
}

#[test]
fn births_and_removals_are_followed() {
    let fixture = Fixture::new();
    let _running = fixture.follower().start().unwrap();
    let outer = fixture.make("outer");
    fixture.wait_for(|| fixture.path_of(outer).is_some());
    let inner = fixture.make("outer/inner");
    fixture.wait_for(|| fixture.path_of(inner).is_some());
    assert_eq!(fixture.path_of(inner).as_deref(), Some("/outer/inner"));
    let kept = fixture.table.get(inner).unwrap();
    fs::remove_dir(fixture.root.path().join("outer/inner")).unwrap();
    fixture.wait_for(|| kept.known().0.removed_at.is_some());
    assert_eq!(fixture.path_of(inner).as_deref(), Some("/outer/inner"));
}

/// An exit can name a cgroup before its event was read: its path comes later, as another version.
#[test]
fn a_cgroup_that_an_exit_names_first_is_completed() {
    let fixture = Fixture::new();
    let id = fixture.make("early");
    let [cgroup] = &*fixture.table.intern(&[id]) else { panic!("one cgroup") };
    let before = cgroup.version();
    assert_eq!(cgroup.known().0.path, None);
    let _running = fixture.follower().start().unwrap();
    fixture.wait_for(|| cgroup.version() != before);
    assert_eq!(fixture.path_of(id).as_deref(), Some("/early"));
}

/// Without inotify, cgroups that exits name are found by walks.
#[test]
fn without_inotify_an_unknown_cgroup_causes_a_walk() {
    let fixture = Fixture::new();
    let follower = Follower { inotify: None, ..fixture.follower() };
    let _running = follower.start().unwrap();
    let id = fixture.make("later");
    let [cgroup] = &*fixture.table.intern(&[id]) else { panic!("one cgroup") };
    fixture.wait_for(|| cgroup.known().0.path.is_some());
}

#[test]
fn names_with_odd_bytes_are_shown_and_followed() {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::new();
    let directory = fixture.root.path().join(OsStr::from_bytes(b"a\xffb\nc"));
    fs::create_dir(&directory).unwrap();
    let id = id_of(Hierarchy::V2, &directory).unwrap();
    fixture.follower().walk();
    assert_eq!(fixture.path_of(id).as_deref(), Some("/a\u{fffd}b\nc"));
}
