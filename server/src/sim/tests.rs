//! The simulated kernel keeps the rules of the real one. What both do alike, the conformance suite of
//! the workspace's tests proves; here stands what only a simulation can be asked.

use std::time::Duration;

use super::*;
use crate::bpf::CgroupLosses;
use crate::taskstats::{DelayCoverage, Depth, Exit, ExitSink};

const BUFFER: usize = 1 << 20;

/// What a listener delivers, in order.
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

/// All that happens in some time, taken in steps of another.
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
fn a_seed_decides_everything() {
    let spec = "cpus=3,rate=5000,seed=7,migrate=0.1,truncate=0.1";
    let second = Duration::from_secs(1);
    let first = run(spec, second, 2);
    assert_eq!(first, run(spec, second, 2));
    assert_ne!(first, run(&spec.replace("seed=7", "seed=8"), second, 2));
}

/// Time may be divided in any way: the exits are the same, CPU by CPU.
#[test]
fn steps_of_time_do_not_matter() {
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
    /// Leaves out what another run did not come to.
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

/// Whatever goes wrong with messages, each that was sent is received or counted.
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

/// A task that moves takes another CPU's number, so that numbers are missing there and doubled here.
#[test]
fn numbers_follow_each_other_unless_tasks_move() {
    let gaps = |spec: &str| {
        let exits = run(spec, Duration::from_secs(1), 1).exits;
        let of =
            |cpu| exits.iter().filter(move |exit| exit.cpu == cpu).map(|exit| exit.kernel_sequence);
        (0..2).filter(|cpu| !of(*cpu).zip(1..).all(|(number, expected)| number == expected)).count()
    };
    assert_eq!(gaps("cpus=2,rate=500"), 0);
    assert_eq!(gaps("cpus=2,rate=500,migrate=0.1"), 2);
}

/// Requests fail by random as they do without memory, and the family goes and comes.
#[test]
fn requests_fail_as_they_are_told_to() {
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
    // Who listens already is told: of the workload, and of each self-test that could be made.
    assert_eq!(drain(&mut *listener).exits.len(), 200 + 12);
}

/// The workload has about as many tasks as it shall, some of them threads.
#[test]
fn the_workload_stays_as_large_as_it_began() {
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

/// Every version's record decodes with what that version has.
#[test]
fn every_version_is_spoken() {
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
        assert!(groups.iter().all(|group| group.version == version), "that of the task's record");
        let has_extremes = received.exits.iter().flat_map(|exit| exit.task.delays.iter().flatten());
        assert_eq!(has_extremes.into_iter().any(|delay| delay.extremes.is_some()), version >= 15);
    }
}

/// Over the dead, times and context switches are added up since v14 only; over the living by all.
#[test]
fn groups_sum_what_their_version_sums() {
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
        let (dead, last) = (&exits[0].task, exits[1].process.as_deref().unwrap());
        let switches = |stats: &Stats| stats.context_switches.unwrap().voluntary;
        let all = (
            switches(&alone) + switches(dead),
            alone.cpu.user_us.unwrap() + dead.cpu.user_us.unwrap(),
        );
        let living = (switches(&alone), alone.cpu.user_us.unwrap());
        let expected = if version < 14 { living } else { all };
        assert_eq!((switches(&live), live.cpu.user_us.unwrap()), expected, "v{version}");
        let told = last.context_switches.map(|it| it.voluntary).zip(last.cpu.user_us);
        assert_eq!(told, (version >= 14).then_some(all), "v{version}");
    }
}

/// With nobody to tell, no number is taken; closing and dying are told apart.
#[test]
fn lists_forget_who_closed_at_once_and_who_died_at_the_next_exit() {
    let kernel = kernel("cpus=2,rate=0");
    kernel.leave_dead_listener(1).unwrap();
    let mut listener = listen_everywhere(&kernel);
    // It took the dead one's address, and with it its registration, which it gave up first.
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

/// What there was no time to make is dropped on the way, and counted to the last one.
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

/// A self-test hears its own exit on every CPU, is not counted, and leaves nothing behind.
#[test]
fn a_self_test_hears_every_cpu() {
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

/// The same tasks end after it, in the same way and on the same CPUs.
#[test]
fn a_self_test_does_not_change_what_the_workload_does() {
    let course = |disturbed: bool| {
        let kernel = kernel("cpus=3,rate=1000,threads=3");
        let mut listener = listen_everywhere(&kernel);
        if disturbed {
            kernel.self_test(kernel.possible_cpus()).unwrap();
            drain(&mut *listener);
        }
        kernel.world().advance(Duration::from_secs(1));
        let mut exits = drain(&mut *listener).exits;
        // In which order the queues are read is another matter.
        exits.sort_by_key(|exit| exit.cpu);
        let told = |exit: &Exit| (exit.cpu, exit.task.exit_status, exit.task.cpu.clone());
        exits.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(course(false).len(), 1000);
    assert!(course(true) == course(false));
}

/// Turned on, delays are accounted of those that are born from then on.
#[test]
fn delay_accounting_reaches_those_who_are_born_later() {
    let kernel = kernel("cpus=1,rate=0,delayacct=off");
    let waited = |pid| {
        let stats = kernel.query(TaskId::Pid(pid)).unwrap();
        (kernel.delay_accounting().of_task(&stats), stats.delays[1].unwrap().count > 0)
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

/// In real time, exits arrive by themselves, and the end comes at once.
#[test]
fn a_clock_moves_the_machine_on() {
    let kernel = SimKernel::start("cpus=2,rate=1000".parse().unwrap(), BUFFER).unwrap();
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
