//! Tests of what only a simulation has. The conformance tests of the workspace prove that the
//! simulated kernel and the real one behave alike.

use std::time::Duration;

use super::*;
use crate::bpf::CgroupLosses;
use crate::taskstats::{DelayCoverage, Depth, Exit, ExitSink};

const BUFFER: usize = 1 << 20;

/// The output of a listener, in order.
#[derive(Debug, Default, PartialEq)]
struct Received {
    exits: Vec<Exit>,
    dropped: Vec<(u32, u64)>,
}

impl ExitSink for Received {
    fn exit(&mut self, exit: &Exit) {
        self.exits.push(exit.clone());
    }

    fn dropped(&mut self, cpu: u32, count: u64, _: CgroupLosses) {
        self.dropped.push((cpu, count));
    }
}

impl Received {
    fn lost(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    fn all(&self) -> u64 {
        self.exits.len() as u64 + self.lost()
    }
}

fn kernel(spec: &str) -> SimKernel {
    SimKernel::stepped(spec.parse().unwrap(), BUFFER)
}

fn listen_everywhere(kernel: &SimKernel) -> Box<dyn ExitListener> {
    let mut listener = kernel.listen().unwrap();
    kernel.possible_cpus().iter().for_each(|cpu| listener.open(cpu).unwrap());
    listener
}

fn drain(listener: &mut dyn ExitListener) -> Received {
    let mut received = Received::default();
    loop {
        listener.wait(None).unwrap();
        if listener.drain(Depth::Empty, &mut received) == Default::default() {
            return received;
        }
    }
}

/// Runs a machine for `steps` steps and receives after each.
fn run(spec: &str, step: Duration, steps: u32) -> Received {
    let kernel = kernel(spec);
    let mut listener = listen_everywhere(&kernel);
    let mut all = Received::default();
    for _ in 0..steps {
        kernel.world().advance(step);
        let received = drain(&mut *listener);
        all.exits.extend(received.exits);
        all.dropped.extend(received.dropped);
    }
    all
}

#[test]
fn the_seed_determines_the_exits() {
    let spec = "cpus=3,rate=5000,seed=7,migrate=0.1,truncate=0.1";
    let second = Duration::from_secs(1);
    let first = run(spec, second, 2);
    assert_eq!(first, run(spec, second, 2));
    assert_ne!(first, run(&spec.replace("seed=7", "seed=8"), second, 2));
}

/// However time is divided into steps, the exits of each CPU are the same.
#[test]
fn the_division_of_time_does_not_matter() {
    let spec = "cpus=3,rate=5000,seed=7,threads=3";
    let by_cpu = |mut received: Received| {
        received.exits.sort_by_key(|exit| (exit.cpu, exit.kernel_sequence));
        received
    };
    let whole = by_cpu(run(spec, Duration::from_millis(100), 1));
    assert_eq!(whole, by_cpu(run(spec, Duration::from_micros(700), 200).truncate_to(&whole)));
    assert_eq!(whole.exits.len(), 500);
}

impl Received {
    /// Removes exits that happened after the end of another run.
    fn truncate_to(mut self, other: &Self) -> Self {
        let last = |cpu| {
            let of_cpu = other.exits.iter().filter(|exit| exit.cpu == cpu);
            of_cpu.map(|exit| exit.kernel_sequence).max()
        };
        self.exits.retain(|exit| Some(exit.kernel_sequence) <= last(exit.cpu));
        self
    }
}

#[test]
fn faults_do_not_change_the_workload() {
    let pids = |spec: &str| {
        let kernel = kernel(spec);
        kernel.world().advance(Duration::from_secs(1));
        (1..3000).filter(|pid| kernel.query(TaskId::Pid(*pid)).is_ok()).collect::<Vec<_>>()
    };
    let spec = "cpus=2,rate=1000,seed=3";
    assert_eq!(pids(spec), pids(&format!("{spec},overflow=0.5,truncate=0.5,migrate=0.5")));
}

/// Every message that was sent is received or counted, whatever fault it meets.
#[test]
fn received_and_dropped_are_what_was_sent() {
    for seed in 0..50 {
        let spec =
            format!("cpus=4,rate=20000,seed={seed},overflow=0.01,truncate=0.02,migrate=0.05");
        let kernel = SimKernel::stepped(spec.parse().unwrap(), 16 << 10);
        let mut listener = listen_everywhere(&kernel);
        let mut received = Received::default();
        for step in 1..20 {
            kernel.world().advance(Duration::from_millis(step % 7));
            listener.wait(None).unwrap();
            listener.drain(Depth::Shallow, &mut received);
        }
        for cpu in kernel.possible_cpus().iter() {
            listener.close(cpu, &mut received);
        }
        assert!(received.lost() > 0 && !received.exits.is_empty(), "{seed}");
        assert_eq!(received.all(), kernel.world().report().sent, "{seed}");
    }
}

/// A migrating task uses a number of another CPU, which leaves a gap there and a duplicate here.
#[test]
fn sequence_numbers_have_no_gaps_unless_tasks_migrate() {
    let gaps = |spec: &str| {
        let exits = run(spec, Duration::from_secs(1), 1).exits;
        let of =
            |cpu| exits.iter().filter(move |exit| exit.cpu == cpu).map(|exit| exit.kernel_sequence);
        (0..2).filter(|cpu| !of(*cpu).zip(1..).all(|(number, expected)| number == expected)).count()
    };
    assert_eq!(gaps("cpus=2,rate=500"), 0);
    assert_eq!(gaps("cpus=2,rate=500,migrate=0.1"), 2);
}

/// Requests fail at random as if memory were short, and the family vanishes and returns.
#[test]
fn requests_fail_as_specified() {
    let failing = kernel("cpus=1,errors=0.5");
    let failed = (0..1000)
        .filter(|_| matches!(failing.query(TaskId::Pid(1)), Err(KernelError::System { .. })));
    assert!((400..600).contains(&failed.count()));

    let vanishing = kernel("cpus=1,rate=10,vanish=10s/4s");
    let mut listener = listen_everywhere(&vanishing);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(vanishing.check_exits().is_ok());
        if !seen.last().unwrap() {
            assert!(matches!(vanishing.query(TaskId::Pid(1)), Err(KernelError::NoFamily)));
            assert!(matches!(vanishing.listen(), Err(KernelError::NoFamily)));
        }
        vanishing.world().advance(Duration::from_secs(1));
    }
    assert_eq!(seen, [[true; 6].as_slice(), &[false; 4]].concat().repeat(2));
    // The open listener receives the exits of the workload, and of each self-test that could run.
    assert_eq!(drain(&mut *listener).exits.len(), 200 + 12);
}

/// The workload keeps about the configured number of tasks, some of which are threads.
#[test]
fn the_workload_keeps_its_size() {
    let kernel = kernel("cpus=2,rate=1000000,tasks=300,threads=3,seed=5");
    let count = || {
        let ids = 1..1_000_000;
        let world = kernel.world();
        ids.filter(|pid| world.threads(*pid).is_some()).count()
    };
    assert!((300..320).contains(&count()));
    kernel.world().advance(Duration::from_millis(200));
    assert!((300..320).contains(&count()), "{}", count());
    assert_eq!(kernel.world().report().exits, 200_000);
}

/// The record of every version decodes with the fields of that version.
#[test]
fn every_version_is_encoded() {
    for version in 8..=17 {
        let kernel = kernel(&format!("cpus=1,rate=100,version={version},threads=3"));
        let mut listener = listen_everywhere(&kernel);
        kernel.world().advance(Duration::from_secs(3));
        let received = drain(&mut *listener);
        assert_eq!(received.exits.len(), 300);
        for exit in &received.exits {
            assert_eq!(exit.task.version, version);
            assert_eq!(exit.task.identity.tgid.is_some(), version >= 12);
            assert_eq!(exit.task.delays[7].is_some(), version >= 14);
            assert!(exit.task.unknown_tail.is_empty());
        }
        let groups: Vec<_> =
            received.exits.iter().filter_map(|exit| exit.process.as_ref()).collect();
        assert!(!groups.is_empty());
        assert!(
            groups.iter().all(|group| group.version == version),
            "the version of the task's record"
        );
        let has_extremes = received.exits.iter().flat_map(|exit| exit.task.delays.iter().flatten());
        assert_eq!(has_extremes.into_iter().any(|delay| delay.extremes.is_some()), version >= 15);
    }
}

/// Every version sums times and context switches of live tasks. Since v14 those of exited tasks are
/// summed too.
#[test]
fn groups_have_the_sums_of_their_version() {
    for version in [10, 13, 14, 16, 17] {
        let kernel = kernel(&format!("cpus=1,rate=0,version={version}"));
        let mut listener = listen_everywhere(&kernel);
        let leader = kernel.world().spawn().unwrap();
        let thread = kernel.world().spawn_thread(leader).unwrap();
        kernel.world().advance(Duration::from_secs(1));
        assert!(kernel.world().exit(thread, 0, 0));
        let alone = kernel.query(TaskId::Pid(leader)).unwrap();
        let live = kernel.query(TaskId::Tgid(leader)).unwrap();
        assert!(kernel.world().exit(leader, 0, 0));
        let exits = drain(&mut *listener).exits;
        let (exited, last) = (&exits[0].task, exits[1].process.as_deref().unwrap());
        let switches = |stats: &Stats| stats.context_switches.unwrap().voluntary;
        let all = (
            switches(&alone) + switches(exited),
            alone.cpu.user_us.unwrap() + exited.cpu.user_us.unwrap(),
        );
        let live_sums = (switches(&alone), alone.cpu.user_us.unwrap());
        let expected = if version < 14 { live_sums } else { all };
        assert_eq!((switches(&live), live.cpu.user_us.unwrap()), expected, "v{version}");
        let last_sums = last.context_switches.map(|it| it.voluntary).zip(last.cpu.user_us);
        assert_eq!(last_sums, (version >= 14).then_some(all), "v{version}");
    }
}

/// Without a listener no sequence number is used. A closed listener is removed at once, a dead one
/// at the next exit.
#[test]
fn closed_listeners_are_removed_at_once_and_dead_ones_at_the_next_exit() {
    let kernel = kernel("cpus=2,rate=0");
    kernel.leave_dead_listener(1).unwrap();
    let mut listener = listen_everywhere(&kernel);
    // The listener got the port id of the dead one, and ended the registration that it inherited.
    let listeners = |cpu| kernel.world().listeners(cpu);
    assert_eq!([listeners(0), listeners(1)], [1, 1]);
    listener.close(0, &mut Received::default());
    assert_eq!(listeners(0), 0);
    drop(listener);
    assert_eq!(listeners(1), 0);
    kernel.leave_dead_listener(1).unwrap();
    let pid = kernel.world().spawn().unwrap();
    assert!(kernel.world().exit(pid, 1, 0));
    assert_eq!(listeners(1), 0, "pruned");
    assert_eq!(kernel.world().report().sent, 0);
}

/// The messages of skipped exits are dropped, and counted exactly.
#[test]
fn skipped_exits_are_counted() {
    let kernel = kernel("cpus=3,rate=1000");
    let mut listener = kernel.listen().unwrap();
    [0, 2].into_iter().for_each(|cpu| listener.open(cpu).unwrap());
    kernel.world().advance(Duration::from_millis(100));
    let now = kernel.world().now();
    kernel.world().skip(now + Duration::from_millis(200));
    kernel.world().advance(Duration::from_millis(100));
    let received = drain(&mut *listener);
    let report = kernel.world().report();
    assert_eq!((report.exits, report.workload_exits, report.skipped), (400, 400, 200));
    assert_eq!(received.all(), report.sent);
    assert!(received.lost() >= 67 + 66, "{:?}", received.dropped);
}

/// A self-test receives its exit on every CPU, is not counted, and leaves no registration.
#[test]
fn a_self_test_receives_an_exit_of_every_cpu() {
    let kernel = kernel("cpus=3,rate=0");
    let tested = kernel.self_test(kernel.possible_cpus()).unwrap();
    let delivered = kernel.possible_cpus().clone();
    assert_eq!(tested, SelfTest { delivered, ..SelfTest::default() });
    assert_eq!(kernel.world().report().sent, 0);
    assert_eq!(kernel.world().listeners(1), 0);
    assert!(matches!(
        kernel.self_test(&[3].into_iter().collect()),
        Err(KernelError::System { .. })
    ));
}

/// The same tasks exit after it, with the same status on the same CPUs.
#[test]
fn a_self_test_does_not_change_the_workload() {
    let course = |disturbed: bool| {
        let kernel = kernel("cpus=3,rate=1000,threads=3");
        let mut listener = listen_everywhere(&kernel);
        if disturbed {
            kernel.self_test(kernel.possible_cpus()).unwrap();
            drain(&mut *listener);
        }
        kernel.world().advance(Duration::from_secs(1));
        let mut exits = drain(&mut *listener).exits;
        // The order in which the queues are read may differ.
        exits.sort_by_key(|exit| exit.cpu);
        let outcome = |exit: &Exit| (exit.cpu, exit.task.exit_status, exit.task.cpu.clone());
        exits.iter().map(outcome).collect::<Vec<_>>()
    };
    assert_eq!(course(false).len(), 1000);
    assert!(course(true) == course(false));
}

#[test]
fn delay_accounting_covers_tasks_that_start_later() {
    let kernel = kernel("cpus=1,rate=0,delayacct=off");
    let waited = |pid| {
        let stats = kernel.query(TaskId::Pid(pid)).unwrap();
        (kernel.delay_accounting().task_coverage(&stats), stats.delays[1].unwrap().count > 0)
    };
    let old = kernel.world().spawn().unwrap();
    kernel.world().advance(Duration::from_secs(60));
    assert_eq!(waited(old), (DelayCoverage::Off, false));
    kernel.enable_delay_accounting().unwrap();
    let new = kernel.world().spawn().unwrap();
    kernel.world().advance(Duration::from_secs(60));
    assert_eq!(waited(old), (DelayCoverage::Partial, false));
    assert!(waited(new).1);
}

/// In real time, exits happen without calls of `advance`, and dropping the kernel ends its thread.
#[test]
fn a_clock_advances_the_machine() {
    let kernel = SimKernel::prepare("cpus=2,rate=1000".parse().unwrap(), BUFFER);
    kernel.start_threads().unwrap();
    let mut listener = listen_everywhere(&kernel);
    let mut received = Received::default();
    while received.exits.len() < 10 {
        listener.wait(None).unwrap();
        listener.drain(Depth::Empty, &mut received);
    }
    assert!(kernel.query(TaskId::Pid(1)).is_ok());
    drop(listener);
    drop(kernel);
}
