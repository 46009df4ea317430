//! The simulated machine: a plain state machine, moved on by [`World::advance`] and by nothing else.

use std::sync::Arc;
use std::time::Duration;

use super::messages::{exit_message, exit_message_bytes, reply_message};
use super::random::{Random, mix};
use super::socket::{InjectedFaults, SimSocket};
use super::spec::{Spec, Vanish};
use super::tasks::{NewTask, SimTime, Tasks};
use super::writer::MessageWriter;
use crate::taskstats::{Cpumask, DelayAccounting, Since, TaskId};

/// When the machine began, since 1970, if nobody says.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// The workload's tasks are this old at most when the machine begins to be looked at.
const OLDEST: Duration = Duration::from_secs(600);
/// Nanoseconds in a second.
const NANOSECONDS: u128 = 1_000_000_000;
/// One group in ... whose leader ends first.
const LEADERS_FIRST: usize = 4;
/// One exit in ... is no success.
const FAILURES: usize = 8;
/// What failures look like: exit codes 1, 2 and 127, SIGKILL, SIGSEGV with a core.
const FAILED: [u32; 5] = [0x0100, 0x0200, 0x7f00, 9, 0x8b];

/// A simulated machine. The same spec and the same calls have the same outcome; how the time of
/// [`World::advance`] is divided does not matter.
///
/// ```
/// use std::time::Duration;
/// use taskstatsd::sim::World;
///
/// let mut world = World::new("cpus=2,rate=1000".parse()?);
/// world.advance(Duration::from_secs(1));
/// assert_eq!(world.report().exits, 1000);
/// # Ok::<(), taskstatsd::sim::SpecError>(())
/// ```
#[derive(Debug)]
pub struct World {
    spec: Spec,
    now: Duration,
    booted_at: Duration,
    /// Since when delay accounts are kept, on the machine's own clock; `None` when they are not.
    accounted_since: Option<Duration>,
    tasks: Tasks,
    /// The processes that the workload ends, by the id of their leaders.
    workload: Vec<u32>,
    cpus: Vec<Cpu>,
    /// Bound sockets by port id. One that is closed leaves its id to the next one bound.
    ports: Vec<Option<Arc<SimSocket>>>,
    report: Report,
    random: RandomStreams,
}

/// One source of random for each cause, so that one does not change the course of the other.
#[derive(Debug)]
struct RandomStreams {
    workload: Random,
    messages: Random,
    requests: Random,
    /// Tasks that somebody starts beside the workload: callers, and self-tests.
    guests: Random,
}

/// What the kernel keeps for each CPU (`listener_array` and `taskstats_seqnum` of
/// `kernel/taskstats.c`).
#[derive(Clone, Debug, Default)]
struct Cpu {
    /// Port ids, in the order of their registration.
    listeners: Vec<PortId>,
    sequence: u32,
}

/// The address of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortId(usize);

/// What a simulated machine has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tasks that exited.
    pub exits: u64,
    /// Exits of the workload, which follow from the rate.
    pub workload_exits: u64,
    /// Messages that were sent to sockets, counted for each, whether they then fitted or not; but for
    /// those of self-tests.
    pub sent: u64,
    /// Exits of the workload that came faster than this program can work them out. Their messages are
    /// dropped on the way, as by a kernel without memory, and counted as sent and dropped.
    pub skipped: u64,
}

impl World {
    /// Begins a machine with the tasks of its workload.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self::booted(spec, EPOCH)
    }

    /// Begins a machine at a time since 1970.
    pub(super) fn booted(spec: Spec, now: Duration) -> Self {
        let seeded = |n: u64| Random::new(mix(spec.seed.wrapping_mul(4).wrapping_add(n)));
        let random = RandomStreams {
            workload: seeded(0),
            messages: seeded(1),
            requests: seeded(2),
            guests: seeded(3),
        };
        let mut world = Self {
            spec,
            now: OLDEST,
            booted_at: now.saturating_sub(OLDEST),
            accounted_since: spec.delay_accounting.then_some(Duration::ZERO),
            tasks: Tasks::new(spec.tasks as usize),
            workload: Vec::new(),
            cpus: vec![Cpu::default(); spec.cpus as usize],
            ports: Vec::new(),
            report: Report::default(),
            random,
        };
        // The first process is init, which stays.
        world.tasks.spawn(NewTask { program: 0, seed: spec.seed, born: Duration::ZERO }, None);
        world.populate(true);
        world
    }

    /// What it is like.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it has done.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report
    }

    /// Lets time pass: the workload's exits happen that are due by then.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while self.advance_some(until, u32::MAX) {}
    }

    /// Lets time pass to `until`, or so many exits happen; tells whether more are due.
    pub(super) fn advance_some(&mut self, until: Duration, most: u32) -> bool {
        for _ in 0..most {
            let Some(due) = self.next_exit().filter(|due| *due <= until) else {
                self.now = self.now.max(until);
                return false;
            };
            self.now = due;
            self.report.workload_exits += 1;
            self.end_some_task();
        }
        true
    }

    /// Lets time pass to `until` without working out what exits: every CPU has as many exits as it has
    /// on the average, and their messages are dropped.
    pub(super) fn skip(&mut self, until: Duration) {
        let nanoseconds = until.saturating_sub(OLDEST).as_nanos() * u128::from(self.spec.rate);
        let due = u64::try_from(nanoseconds / NANOSECONDS).unwrap_or(u64::MAX);
        let skipped = due.saturating_sub(self.report.workload_exits);
        self.now = self.now.max(until);
        self.report.workload_exits += skipped;
        self.report.exits += skipped;
        self.report.skipped += skipped;
        let cpus = self.cpus.len() as u64;
        for (index, cpu) in (0_u64..).zip(&mut self.cpus) {
            // The rest goes to the first ones.
            let share = skipped / cpus + u64::from(index < skipped % cpus);
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            cpu.listeners.retain(|port| self.ports.get(port.0).is_some_and(Option::is_some));
            if cpu.listeners.is_empty() || share == 0 {
                continue;
            }
            cpu.sequence = cpu.sequence.wrapping_add(share);
            for socket in cpu.listeners.iter().filter_map(|port| self.ports.get(port.0)?.as_ref()) {
                socket.drop_skipped(share);
                self.report.sent += u64::from(share) * u64::from(socket.is_watched());
            }
        }
    }

    /// The time.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// When the workload's next exit is due; `None` if there is none.
    pub(super) fn next_exit(&self) -> Option<Duration> {
        let rate = u64::from(self.spec.rate);
        let number = self.report.workload_exits + 1;
        let whole = Duration::from_secs(number.checked_div(rate)?);
        Some(OLDEST + whole + Duration::from_secs(number % rate) / self.spec.rate)
    }

    /// Starts a process that the workload leaves alone; returns its id, or `None` when all ids are
    /// taken.
    pub fn spawn(&mut self) -> Option<u32> {
        let birth = birth(&mut self.random.guests, self.now);
        self.tasks.spawn(birth, None)
    }

    /// Starts a thread in the group of a task; returns its id, or `None` when there is no such task.
    pub fn spawn_thread(&mut self, of: u32) -> Option<u32> {
        let birth = birth(&mut self.random.guests, self.now);
        self.tasks.spawn_thread(of, birth)
    }

    /// Ends a live task on a CPU, with a status of wait(2). Tells whether there was such a task, and
    /// such a CPU.
    pub fn exit(&mut self, pid: u32, cpu: u32, status: u32) -> bool {
        if cpu >= self.spec.cpus {
            return false;
        }
        let Some(death) = self.tasks.exit(pid, status, self.moment(), &self.spec) else {
            return false;
        };
        self.report.exits += 1;
        self.tell(cpu, &death);
        if let Some(index) = death.workload_index {
            self.workload.swap_remove(index);
            if let Some(moved) = self.workload.get(index) {
                self.tasks.set_workload_index(*moved, index);
            }
        }
        true
    }

    /// Whether delay accounts are kept now.
    pub(super) fn delay_accounting(&self) -> DelayAccounting {
        match self.accounted_since {
            None => DelayAccounting::Off,
            Some(Duration::ZERO) => DelayAccounting::On(Since::Boot),
            Some(since) => {
                let on_at = self.booted_at + since;
                DelayAccounting::On(Since::Between { off_at: Some(on_at), on_at })
            }
        }
    }

    /// Keeps delay accounts of the tasks that are born from now on.
    pub(super) fn enable_delay_accounting(&mut self) {
        self.accounted_since.get_or_insert(self.now);
    }

    /// Opens a socket under the lowest port id that is free; one that was just closed, if any.
    pub(super) fn bind(&mut self, socket: SimSocket) -> (PortId, Arc<SimSocket>) {
        let socket = Arc::new(socket);
        let free = self.ports.iter().position(Option::is_none);
        let port = free.unwrap_or_else(|| {
            self.ports.push(None);
            self.ports.len() - 1
        });
        self.ports[port] = Some(Arc::clone(&socket));
        (PortId(port), socket)
    }

    /// Closes a socket. Its registrations stay, until the next exit finds nobody there.
    pub(super) fn close(&mut self, port: PortId) {
        if let Some(socket) = self.ports.get_mut(port.0) {
            *socket = None;
        }
    }

    /// Adds a socket to the lists of CPUs (`add_del_listener`).
    ///
    /// # Errors
    /// `ERANGE` when a CPU is not possible, and then nothing is changed; `ENOENT` while the family is
    /// gone; `ENOMEM` by random.
    pub(super) fn register(&mut self, port: PortId, cpus: &Cpumask) -> Result<(), i32> {
        self.check_request()?;
        if cpus.last().is_some_and(|last| last >= self.spec.cpus) {
            return Err(libc::ERANGE);
        }
        for cpu in cpus.iter() {
            let Some(cpu) = self.cpus.get_mut(cpu as usize) else { continue };
            if !cpu.listeners.contains(&port) {
                cpu.listeners.push(port);
            }
        }
        Ok(())
    }

    /// Takes whatever is registered under a socket's port id from the lists of CPUs.
    pub(super) fn deregister(&mut self, port: PortId) {
        for cpu in &mut self.cpus {
            cpu.listeners.retain(|listener| *listener != port);
        }
    }

    /// Answers a question with the kernel's message.
    ///
    /// # Errors
    /// `ENOENT` while the family is gone; `ENOMEM` by random.
    pub(super) fn query(&mut self, id: TaskId) -> Result<Vec<u8>, i32> {
        self.check_request()?;
        let (at, spec) = (self.moment(), &self.spec);
        let stats = match id {
            TaskId::Pid(pid) => self.tasks.task(pid, at, spec),
            TaskId::Tgid(tgid) => self.tasks.group_sums(tgid, at, spec),
        };
        Ok(match stats {
            Some(stats) => reply_message(id, &stats),
            None => MessageWriter::error(0, libc::ESRCH),
        })
    }

    /// The tasks of a group, ascending.
    #[must_use]
    pub fn threads(&self, tgid: u32) -> Option<Vec<u32>> {
        self.tasks.threads(tgid)
    }

    /// The number of listeners that a CPU's list has, dead ones included.
    #[must_use]
    pub fn listeners(&self, cpu: u32) -> usize {
        self.cpus.get(cpu as usize).map_or(0, |cpu| cpu.listeners.len())
    }

    /// Whether the kernel knows the family TASKSTATS now.
    #[must_use]
    pub fn has_family(&self) -> bool {
        let Some(Vanish { period, length }) = self.spec.faults.vanish else { return true };
        let uptime = (self.now - OLDEST).as_nanos();
        uptime % period.as_nanos() < (period - length).as_nanos()
    }

    fn check_request(&mut self) -> Result<(), i32> {
        if !self.has_family() {
            return Err(libc::ENOENT);
        }
        let fails = self.random.requests.happens(self.spec.faults.errors.0);
        if fails { Err(libc::ENOMEM) } else { Ok(()) }
    }

    fn moment(&self) -> SimTime {
        let Self { now, booted_at, accounted_since, .. } = *self;
        SimTime { now, booted_at, accounted_since }
    }

    /// Ends a task of the workload somewhere, and starts others in its place.
    fn end_some_task(&mut self) {
        let random = &mut self.random.workload;
        let Some(tgid) = self.workload.get(random.below(self.workload.len())).copied() else {
            return;
        };
        let living = self.tasks.living(tgid);
        let leader_first = living.len() > 1 && random.below(LEADERS_FIRST) == 0;
        let Some(pid) = (if leader_first { living.first() } else { living.last() }) else { return };
        let status = match random.below(FAILURES) {
            0 => FAILED[random.below(FAILED.len())],
            _ => 0,
        };
        let cpu = u32::try_from(random.below(self.cpus.len())).unwrap_or(0);
        self.exit(*pid, cpu, status);
        self.populate(false);
    }

    /// Starts processes until there are as many tasks as there shall be. Those that are there when
    /// the machine is first looked at have an age.
    fn populate(&mut self, aged: bool) {
        // Twice the mean, less one, is the most: each number from one on is as likely.
        let most_threads = 2 * self.spec.threads - 1;
        while self.tasks.count() <= self.spec.tasks as usize {
            let mut birth = birth(&mut self.random.workload, self.now);
            if aged {
                let age = OLDEST / (1 + self.random.workload.one_to(1000));
                birth.born = self.now.saturating_sub(age);
            }
            let Some(tgid) = self.tasks.spawn(birth, Some(self.workload.len())) else { return };
            self.workload.push(tgid);
            for _ in 1..self.random.workload.one_to(most_threads) {
                let seed = self.random.workload.next();
                self.tasks.spawn_thread(tgid, NewTask { seed, ..birth });
            }
        }
    }

    /// Tells an exit to the listeners of a CPU (`taskstats_exit`, `send_cpu_listeners`).
    fn tell(&mut self, cpu: u32, death: &super::tasks::EndedTask) {
        let faults = self.spec.faults;
        // Without a listener the message is not made, and takes no number.
        if self.listeners(cpu) == 0 {
            return;
        }
        let random = &mut self.random.messages;
        let counting = if random.happens(faults.migrate.0) {
            random.below(self.cpus.len())
        } else {
            cpu as usize
        };
        let sequence = self.cpus.get_mut(counting).map_or(0, |cpu| {
            cpu.sequence = cpu.sequence.wrapping_add(1);
            cpu.sequence
        });
        let length = exit_message_bytes(self.spec.version, death.has_group_record());
        let ports = &self.ports;
        let sent = &mut self.report.sent;
        let mut message = None;
        let Some(cpu_lists) = self.cpus.get_mut(cpu as usize) else { return };
        cpu_lists.listeners.retain(|port| {
            // A listener whose socket has gone is taken out of the list.
            let Some(Some(socket)) = ports.get(port.0) else { return false };
            *sent += u64::from(socket.is_watched());
            let faults = InjectedFaults {
                no_memory: random.happens(faults.overflow.0),
                truncated: random.happens(faults.truncate.0),
            };
            let make = || exit_message(&death.exit(cpu, sequence));
            socket.deliver(length, faults, || message.get_or_insert_with(make).clone());
            true
        });
    }
}

fn birth(random: &mut Random, born: Duration) -> NewTask {
    let seed = random.next();
    NewTask { program: random.below(usize::MAX), seed, born }
}
