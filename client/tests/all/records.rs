//! Records and exits as an agent sends them.

use prost_types::Timestamp;
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::*;

/// 2026-11-22 14:07:09 UTC.
const SECONDS: i64 = 1_795_356_429;

pub(crate) fn time(milliseconds: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: SECONDS, nanos: milliseconds * 1_000_000 })
}

pub(crate) fn cursor(sequence: u64) -> Option<Cursor> {
    Some(Cursor { instance_id: "run1".to_owned(), sequence })
}

pub(crate) fn started(delay_accounting: DelayAccounting) -> Kind {
    Kind::Started(WatchStarted {
        cpumask: "0-1".to_owned(),
        instance_id: "run1".to_owned(),
        cursor: cursor(0),
        taskstats_version: 16,
        delay_accounting: delay_accounting.into(),
        node_name: "node7".to_owned(),
        boot_id: "boot".to_owned(),
    })
}

/// The container `web` of the pod `prod/api-0`, which is cgroup 9.
pub(crate) fn workload() -> Workload {
    Workload {
        cgroup_id: 9,
        cgroup: "/kubepods/burstable/pod7f2a/0123456789abcdef".to_owned(),
        hierarchy: Hierarchy::V2.into(),
        container: Some(Container {
            id: "0123456789abcdef".to_owned(),
            runtime: "containerd".to_owned(),
            name: "web".to_owned(),
        }),
        pod: Some(Pod {
            uid: "7f2a".to_owned(),
            namespace: "prod".to_owned(),
            name: "api-0".to_owned(),
            qos: "Burstable".to_owned(),
        }),
        ..Workload::default()
    }
}

/// Sets the cgroup of an exit.
pub(crate) fn of_cgroup(cgroup_id: u64, attribution: Attribution, exit: ExitEvent) -> ExitEvent {
    ExitEvent {
        cgroup_id: Some(cgroup_id),
        hierarchy: Hierarchy::V2.into(),
        attribution: attribution.into(),
        ..exit
    }
}

pub(crate) fn batch(events: Vec<ExitEvent>, end: u64) -> Kind {
    Kind::Events(ExitEvents { events, cursor: cursor(end) })
}

/// The exit with the given number, of a process with the name `sh`.
pub(crate) fn exit(sequence: u64, status: ExitStatus) -> ExitEvent {
    let task = TaskStats { exit: Some(status), ..stats("sh") };
    ExitEvent {
        sequence,
        cpu: 1,
        kernel_sequence: 7,
        received_at: time(120),
        task: Some(task),
        process: None,
        last_in_process: Some(true),
        ..Default::default()
    }
}

pub(crate) fn code(code: u32) -> ExitStatus {
    ExitStatus { raw_status: code << 8, code: Some(code), signal: None, core_dumped: false }
}

pub(crate) fn signal(signal: u32, core_dumped: bool) -> ExitStatus {
    ExitStatus { raw_status: signal, code: None, signal: Some(signal), core_dumped }
}

/// The statistics of task 42.
pub(crate) fn stats(comm: &str) -> TaskStats {
    TaskStats {
        taskstats_version: 16,
        identity: Some(identity(comm)),
        cpu: Some(CpuTime { user_us: Some(900), system_us: Some(300), ..Default::default() }),
        elapsed_us: Some(65_000_000),
        faults: Some(Faults { minor: 80, major: 2 }),
        memory: Some(Memory { peak_rss_kib: 34 << 10, peak_vm_kib: 1 << 20, ..Default::default() }),
        io: Some(Io { read_bytes: 4096, write_bytes: 8192, ..Default::default() }),
        context_switches: Some(ContextSwitches { voluntary: 5, involuntary: 1 }),
        delays: Some(Delays {
            cpu: delay(3, 40_000),
            block_io: delay(4, 3_100_000),
            ..Default::default()
        }),
        delay_accounting: DelayAccounting::On.into(),
        ..Default::default()
    }
}

/// The kernel's record of process 42 as a group of threads, which has few fields.
pub(crate) fn group(cpu_us: u64) -> TaskStats {
    TaskStats {
        identity: Some(Identity { tgid: Some(42), ..Default::default() }),
        cpu: Some(CpuTime { run_real_ns: Some(cpu_us * 1000), ..Default::default() }),
        delays: Some(Delays { cpu: delay(9, 700_000), ..Default::default() }),
        delay_accounting: DelayAccounting::On.into(),
        ..Default::default()
    }
}

fn identity(comm: &str) -> Identity {
    Identity {
        pid: Some(42),
        tgid: Some(42),
        ppid: Some(1),
        uid: Some(1000),
        gid: Some(100),
        comm: Some(comm.to_owned()),
        nice: Some(0),
        scheduler: Some(0),
        flags: Some(2),
        begin_time: time(0),
    }
}

fn delay(count: u64, total_ns: u64) -> Option<Delay> {
    Some(Delay { count, total_ns, max_ns: Some(total_ns), min_ns: None, max_at: None })
}

pub(crate) fn lost(count: Option<u64>) -> Kind {
    Kind::Lost(Lost {
        stage: LostStage::KernelSocket.into(),
        cpu: Some(1),
        count,
        first_at: time(120),
        last_at: time(250),
        total: 40,
        cursor: cursor(14),
        ..Default::default()
    })
}
