//! Gaps under generated schedules of tasks that migrate, are pre-empted, and whose messages are
//! dropped.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CPUS: u32 = 3;
/// Messages of a CPU in order, which show its counter whatever came before.
const TAIL: u32 = 2 * CONFIRMED;

/// One exit.
#[derive(Clone, Copy, Debug)]
struct Task {
    /// The CPU whose listeners receive its message.
    listener: u32,
    /// The CPU that gives it a number.
    numbered_on: u32,
    /// The number of later messages that overtake it.
    delay: usize,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Received,
    /// At a full receive buffer, and counted there.
    Dropped,
    /// Without a trace.
    Vanished,
}

struct Machine {
    detector: GapDetector,
    now: Instant,
    next: BTreeMap<u32, u32>,
}

impl Machine {
    /// Begins on CPUs whose numbers lie `apart`, from `first` on.
    fn new(first: u32, apart: u32) -> Self {
        let next =
            (0..CPUS).map(|cpu| (cpu, first.wrapping_add(cpu.wrapping_mul(apart)))).collect();
        let mut machine = Self { detector: GapDetector::default(), now: Instant::now(), next };
        machine.tail();
        machine
    }

    fn number(&mut self, cpu: u32) -> u32 {
        let next = self.next.get_mut(&cpu).unwrap();
        *next = next.wrapping_add(1);
        next.wrapping_sub(1)
    }

    fn receive(&mut self, cpu: u32, number: u32) {
        self.detector.received(cpu, number);
    }

    /// Messages in order, on each CPU.
    fn tail(&mut self) {
        for cpu in (0..TAIL).flat_map(|_| 0..CPUS) {
            let number = self.number(cpu);
            self.receive(cpu, number);
        }
    }

    fn run(&mut self, tasks: &[Task]) {
        let mut waiting: Vec<(usize, u32, u32)> = Vec::new();
        for (time, task) in tasks.iter().enumerate() {
            let number = self.number(task.numbered_on);
            match task.outcome {
                Outcome::Received => waiting.push((time + task.delay, task.listener, number)),
                Outcome::Dropped => self.detector.dropped(1),
                Outcome::Vanished => {}
            }
            for (_, cpu, number) in
                waiting.extract_if(.., |(due, ..)| *due <= time).collect::<Vec<_>>()
            {
                self.receive(cpu, number);
            }
        }
        waiting.into_iter().for_each(|(_, cpu, number)| self.receive(cpu, number));
    }

    /// Returns the number of missing messages, after the time in which late ones may arrive.
    fn missing(&mut self) -> u64 {
        self.tail();
        assert_eq!(self.detector.missing(self.now), 0, "messages may be under way");
        self.now += PATIENCE;
        self.detector.missing(self.now)
    }
}

fn task(disorder: u32, loss: u32) -> impl Strategy<Value = Task> {
    let kinds = (0..100_u32, 0..100_u32);
    (0..CPUS, 0..CPUS, 0..40_usize, kinds).prop_map(move |(cpu, other, delay, (order, fate))| {
        Task {
            listener: cpu,
            numbered_on: if order < disorder { other } else { cpu },
            delay: if order % 10 < disorder / 10 { delay } else { 0 },
            outcome: match fate {
                fate if fate < loss => Outcome::Vanished,
                fate if fate < 2 * loss => Outcome::Dropped,
                _ => Outcome::Received,
            },
        }
    })
}

fn tasks(disorder: u32, loss: u32) -> impl Strategy<Value = Vec<Task>> {
    proptest::collection::vec(task(disorder, loss), 1..600)
}

fn count(tasks: &[Task], outcome: Outcome) -> u64 {
    tasks.iter().filter(|task| task.outcome == outcome).count() as u64
}

proptest! {
    #[test]
    fn tasks_that_migrate_or_are_overtaken_cause_no_gap(
        tasks in tasks(20, 0),
        first in any::<u32>(),
        apart in prop_oneof![0..100_u32, any::<u32>()],
    ) {
        let mut machine = Machine::new(first, apart);
        machine.run(&tasks);
        prop_assert_eq!(machine.missing(), 0);
    }

    #[test]
    fn numbers_that_vanish_are_counted_and_dropped_ones_are_not(
        tasks in tasks(0, 10),
        first in any::<u32>(),
        apart in prop_oneof![0..100_u32, any::<u32>()],
    ) {
        let mut machine = Machine::new(first, apart);
        machine.run(&tasks);
        prop_assert_eq!(machine.missing(), count(&tasks, Outcome::Vanished));
    }

    #[test]
    fn in_any_disorder_what_vanished_is_counted(
        tasks in tasks(20, 3),
        first in any::<u32>(),
        apart in prop_oneof![0..100_u32, any::<u32>()],
    ) {
        let mut machine = Machine::new(first, apart);
        machine.run(&tasks);
        prop_assert_eq!(machine.missing(), count(&tasks, Outcome::Vanished));
    }

    /// Small queues that overflow all the time: a few messages in order, and many dropped.
    #[test]
    fn bursts_of_drops_are_explained(
        bursts in proptest::collection::vec((1..12_u32, 0..5000_u32), 1..400),
        first in 0..1000_u32,
    ) {
        let mut machine = Machine::new(first, 1 << 20);
        for (received, dropped) in bursts {
            for _ in 0..received {
                let number = machine.number(0);
                machine.receive(0, number);
            }
            *machine.next.get_mut(&0).unwrap() += dropped;
            machine.detector.dropped(dropped.into());
        }
        prop_assert_eq!(machine.missing(), 0);
    }
}

/// The fault of issue 10: one foreign number moved the expectation, and each of the CPU's own numbers
/// was a gap from then on.
#[test]
fn a_far_off_number_moves_nothing() {
    let mut machine = Machine::new(0, 1_000_000);
    machine.receive(0, 2_000_500);
    for _ in 0..10_000 {
        let number = machine.number(0);
        machine.receive(0, number);
    }
    assert_eq!(machine.missing(), 0);
}

#[test]
fn a_cpu_that_was_closed_begins_anew() {
    let mut machine = Machine::new(0, 1000);
    machine.number(0);
    machine.tail();
    machine.detector.forget(0);
    (0..300).for_each(|_| _ = machine.number(0));
    assert_eq!(machine.missing(), 0);
}

#[test]
fn a_gap_is_counted_once() {
    let mut machine = Machine::new(u32::MAX - CONFIRMED - 1, 1 << 20);
    machine.number(1);
    machine.number(1);
    assert_eq!(machine.missing(), 2);
    assert_eq!(machine.missing(), 0);
}

#[test]
fn a_message_that_arrives_late_is_not_missing() {
    let mut machine = Machine::new(0, 1 << 20);
    let late = machine.number(1);
    machine.tail();
    assert_eq!(machine.detector.missing(machine.now), 0);
    machine.now += PATIENCE / 2;
    machine.receive(2, late);
    assert_eq!(machine.detector.missing(machine.now), 0);
    machine.now += PATIENCE / 2;
    assert_eq!(machine.detector.missing(machine.now), 0);
}
