//! The filter on the running kernel, with exits of tasks whose cgroup is known.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::{CgroupId, FilterSet, Hierarchy, Method, Slots};
use crate::netlink::{MessageKind, Messages, Request, RequestAttribute, Socket, resolve_family};

/// `TASKSTATS_CMD_GET`, `TASKSTATS_CMD_NEW`, `TASKSTATS_CMD_ATTR_REGISTER_CPUMASK`.
const GET: u8 = 1;
const NEW: u8 = 2;
const REGISTER: u16 = 3;
/// Offset of the pid within the attributes of an exit message: behind two attribute headers.
const PID: std::ops::Range<usize> = 8..12;

/// A cgroup that a test made, removed at its end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(parent: &Path, name: &str) -> Self {
        let path = parent.join(format!("taskstatsd-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a new cgroup");
        Self(path)
    }

    fn id(&self) -> u64 {
        fs::metadata(&self.0).expect("the cgroup").ino()
    }

    /// Starts a shell that moves into the cgroup and ends there.
    fn end_a_task_inside(&self) -> Child {
        let script = format!("echo $$ > {}/cgroup.procs", self.0.display());
        Command::new("sh").args(["-c", &script]).spawn().expect("a shell")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).expect("no task is left in the cgroup");
    }
}

/// Where a cgroup hierarchy is mounted.
fn mount_point(matches: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, path, kind, options, ..] = fields[..] else { return None };
        matches(kind, options).then(|| PathBuf::from(path))
    })
}

/// A registered socket with a filter.
struct Listener {
    socket: Socket,
    slots: Slots,
}

impl Listener {
    fn open(filters: &FilterSet, cpu: u32) -> Self {
        let socket = Socket::open().expect("a socket");
        let filter = filters.of_cpu(cpu).expect("a filter");
        filter.attach(&socket).expect("attaching");
        let slots = filter.slots().expect("a mapping");
        let list = cpu.to_string();
        let request = Request {
            family: resolve_family("TASKSTATS").expect("taskstats"),
            command: GET,
            version: 1,
            sequence: 1,
            acknowledge: true,
            attribute: RequestAttribute::Text(REGISTER, &list),
        };
        socket.send(&request.encode().expect("a request")).expect("registering");
        Self { socket, slots }
    }

    /// The pids of all exits that wait, with what the filter saw of each.
    fn take(&mut self) -> Vec<(u32, Option<CgroupId>)> {
        let mut taken = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length) = self.socket.receive_now(&mut buffer) {
            for message in Messages::new(&buffer[..length]) {
                let MessageKind::Generic { command: NEW, attributes } = message.kind() else {
                    continue;
                };
                let pid = u32::from_ne_bytes(attributes[PID].try_into().expect("a pid"));
                let seen = self.slots.find(message.header.sequence, pid);
                taken.push((pid, seen.map(|seen| seen.cgroup)));
            }
            self.slots.publish();
        }
        taken
    }
}

/// Ends a task in each cgroup and returns, for each, the cgroup that the filter saw.
fn seen_of(filters: &FilterSet, cgroups: &[Cgroup]) -> Vec<CgroupId> {
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    let cpus = 0..u32::try_from(cpus).expect("a few CPUs");
    let mut listeners: Vec<_> = cpus.map(|cpu| Listener::open(filters, cpu)).collect();
    let mut pids = Vec::new();
    for cgroup in cgroups {
        let mut child = cgroup.end_a_task_inside();
        pids.push(child.id());
        assert!(child.wait().expect("its end").success());
    }
    let taken: BTreeMap<_, _> = listeners.iter_mut().flat_map(Listener::take).collect();
    pids.iter().map(|pid| taken[pid].expect("a slot of the exit")).collect()
}

fn online_cpus() -> std::ops::Range<u32> {
    0..u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap()
}

#[test]
fn the_helper_names_the_v2_cgroup_of_each_exit() {
    let parent = mount_point(|kind, _| kind == "cgroup2").expect("a cgroup2 mount");
    let cgroups = ["a", "b", "c"].map(|name| Cgroup::new(&parent, name));
    let filters = FilterSet::load(online_cpus(), 1 << 20, Method::Helper, None).unwrap();
    let expected =
        cgroups.each_ref().map(|cgroup| CgroupId { hierarchy: Hierarchy::V2, id: cgroup.id() });
    assert_eq!(seen_of(&filters, &cgroups), expected);
}

/// Reads of kernel memory find both hierarchies; a task that is deeper in the v1 one belongs there.
#[test]
fn offsets_name_the_deeper_cgroup_of_each_exit() {
    let v2 = mount_point(|kind, _| kind == "cgroup2").expect("a cgroup2 mount");
    let mut cgroups = vec![Cgroup::new(&v2, "v2")];
    let mut expected = vec![CgroupId { hierarchy: Hierarchy::V2, id: cgroups[0].id() }];
    let is_pids = |kind: &str, options: &str| {
        kind == "cgroup" && options.split(',').any(|option| option == "pids")
    };
    let v1 = mount_point(is_pids);
    if let Some(v1) = &v1 {
        let cgroup = Cgroup::new(v1, "v1");
        expected.push(CgroupId { hierarchy: Hierarchy::V1, id: cgroup.id() });
        cgroups.push(cgroup);
    }
    let controller = v1.is_some().then_some("pids");
    let filters = FilterSet::load(online_cpus(), 1 << 20, Method::Offsets, controller).unwrap();
    assert_eq!(seen_of(&filters, &cgroups), expected);
}

/// Slots of messages that wait are kept while the kernel drops others, which are counted by cgroup.
#[test]
fn what_the_kernel_drops_is_counted_by_cgroup_and_overwrites_nothing() {
    /// More than the window has slots, so that most are dropped outside of it.
    const TASKS: usize = 3_000;
    let parent = mount_point(|kind, _| kind == "cgroup2").expect("a cgroup2 mount");
    let cgroup = Cgroup::new(&parent, "dropped");
    let filters = FilterSet::load([0], 4096, Method::Helper, None).unwrap();
    let mut listener = Listener::open(&filters, 0);
    listener.socket.set_receive_buffer(64 << 10).unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; i=0; while [ $i -lt {TASKS} ]; do (:); i=$((i+1)); done",
        cgroup.0.display()
    );
    let status = Command::new("taskset").args(["-c", "0", "sh", "-c", &script]).status().unwrap();
    assert!(status.success());
    // The first receive after an overflow fails with ENOBUFS, which clears it.
    let mut buffer = [0; 4096];
    assert_eq!(
        listener.socket.receive_now(&mut buffer).unwrap_err().raw_os_error(),
        Some(libc::ENOBUFS)
    );
    let taken = listener.take();
    assert!(taken.len() > 10, "{}", taken.len());
    assert!(taken.iter().all(|(_, seen)| seen.is_some()), "{taken:?}");
    let drops = u64::from(listener.socket.drops().unwrap());
    let lost = listener.slots.take_losses(drops, true);
    let id = CgroupId { hierarchy: Hierarchy::V2, id: cgroup.id() };
    let received = taken.iter().filter(|(_, seen)| *seen == Some(id)).count();
    // The shell itself, and each of its children.
    assert_eq!(lost[&id] + received as u64, TASKS as u64 + 1);
    assert!(lost.values().sum::<u64>() <= drops);
}
