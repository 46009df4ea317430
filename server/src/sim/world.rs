//! The simulated machine: a state machine that only [`World::advance`] advances.

mod workload;

use std::sync::Arc;
use std::time::Duration;

use super::messages::{exit_message, exit_message_bytes, reply_message};
use super::random::{Random, mix};
use super::socket::{InjectedFaults, SimSocket};
use super::spec::{Spec, Vanish};
use super::tasks::{NewTask, SimTime, Tasks};
use super::writer::MessageWriter;
use crate::taskstats::{Cpumask, DelayAccounting, Since, TaskId};

/// The default start of the machine, since the Unix epoch.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// The largest age of the workload's tasks at the start.
const MAX_INITIAL_AGE: Duration = Duration::from_secs(600);
/// Nanoseconds in a second.
const NANOSECONDS: u128 = 1_000_000_000;

/// A simulated machine. The same specification and the same calls have the same results. The
/// division of time into calls of [`World::advance`] does not matter.
#[derive(Debug)]
pub struct World {
    spec: Spec,
    now: Duration,
    booted_at: Duration,
    /// The time since which delays are accounted, since the machine's start; `None` if they are
    /// not.
    delays_since: Option<Duration>,
    tasks: Tasks,
    /// The processes of the workload, by the ids of their leaders.
    workload: Vec<u32>,
    cpus: Vec<Cpu>,
    /// Bound sockets by port id. The next socket reuses the id of a closed one.
    ports: Vec<Option<Arc<SimSocket>>>,
    report: Report,
    random: RandomStreams,
}

/// A random stream for each purpose, so that one does not affect the other.
#[derive(Debug)]
struct RandomStreams {
    workload: Random,
    messages: Random,
    requests: Random,
    /// Tasks beside the workload: those of callers and of self-tests.
    guests: Random,
}

/// The kernel's data for each CPU (`listener_array` and `taskstats_seqnum` of
/// `kernel/taskstats.c`).
#[derive(Clone, Debug, Default)]
struct Cpu {
    /// Port ids, in the order of registration.
    listeners: Vec<PortId>,
    sequence: u32,
}

/// The address of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortId(usize);

/// The counters of a simulated machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Tasks that exited.
    pub(crate) exits: u64,
    /// Exits of the workload, which are determined by the rate.
    pub(crate) workload_exits: u64,
    /// Messages that were sent, delivered or dropped, counted for each receiving socket. Those of
    /// self-tests are not counted.
    pub(crate) sent: u64,
    /// Exits of the workload that were due faster than this program can simulate them. Their
    /// messages are dropped, as by a kernel without memory, and counted as sent and dropped.
    pub(crate) skipped: u64,
}

impl World {
    /// Creates a machine with the tasks of its workload.
    #[must_use]
    pub(crate) fn new(spec: Spec) -> Self {
        Self::booted(spec, EPOCH)
    }

    /// Creates a machine that starts at a time since the Unix epoch.
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
            now: MAX_INITIAL_AGE,
            booted_at: now.saturating_sub(MAX_INITIAL_AGE),
            delays_since: spec.delay_accounting.then_some(Duration::ZERO),
            tasks: Tasks::new(spec.tasks as usize),
            workload: Vec::new(),
            cpus: vec![Cpu::default(); spec.cpus as usize],
            ports: Vec::new(),
            report: Report::default(),
            random,
        };
        // The first process is init, which never exits.
        world.tasks.spawn(NewTask { program: 0, seed: spec.seed, started: Duration::ZERO }, None);
        world.populate(true);
        world
    }

    /// Returns the specification.
    #[must_use]
    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Returns the counters.
    #[must_use]
    pub(crate) fn report(&self) -> Report {
        self.report
    }

    /// Advances the time. The exits of the workload that are due happen.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while self.advance_some(until, u32::MAX) {}
    }

    /// Advances the time to `until`, or until `most` exits have happened. Returns whether more are
    /// due.
    pub(super) fn advance_some(&mut self, until: Duration, most: u32) -> bool {
        for _ in 0..most {
            let Some(due) = self.next_exit().filter(|due| *due <= until) else {
                self.now = self.now.max(until);
                return false;
            };
            self.now = due;
            self.report.workload_exits += 1;
            self.end_random_task();
        }
        true
    }

    /// Advances the time to `until` without simulating the exits: every CPU has the mean number of
    /// exits, and their messages are dropped.
    pub(super) fn skip(&mut self, until: Duration) {
        let nanoseconds =
            until.saturating_sub(MAX_INITIAL_AGE).as_nanos() * u128::from(self.spec.rate);
        let due = u64::try_from(nanoseconds / NANOSECONDS).unwrap_or(u64::MAX);
        let skipped = due.saturating_sub(self.report.workload_exits);
        self.now = self.now.max(until);
        self.report.workload_exits += skipped;
        self.report.exits += skipped;
        self.report.skipped += skipped;
        let cpus = self.cpus.len() as u64;
        for (index, cpu) in (0_u64..).zip(&mut self.cpus) {
            // The first CPUs get the remainder.
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

    /// Returns the time since the machine's start.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Returns the time of the workload's next exit; `None` if there is none.
    pub(super) fn next_exit(&self) -> Option<Duration> {
        let rate = u64::from(self.spec.rate);
        let number = self.report.workload_exits + 1;
        let whole = Duration::from_secs(number.checked_div(rate)?);
        Some(MAX_INITIAL_AGE + whole + Duration::from_secs(number % rate) / self.spec.rate)
    }

    /// Starts a process that the workload does not end. Returns its id; `None` if all ids are in
    /// use.
    pub fn spawn(&mut self) -> Option<u32> {
        let new_task = NewTask::random(&mut self.random.guests, self.now);
        self.tasks.spawn(new_task, None)
    }

    /// Starts a thread in the group of a task. Returns its id; `None` if the task does not exist.
    pub fn spawn_thread(&mut self, of: u32) -> Option<u32> {
        let new_task = NewTask::random(&mut self.random.guests, self.now);
        self.tasks.spawn_thread(of, new_task)
    }

    /// Ends a live task on a CPU, with a status of `wait(2)`. Returns whether the task and the CPU
    /// exist.
    pub fn exit(&mut self, pid: u32, cpu: u32, status: u32) -> bool {
        if cpu >= self.spec.cpus {
            return false;
        }
        let Some(ended) = self.tasks.exit(pid, status, self.time(), &self.spec) else {
            return false;
        };
        self.report.exits += 1;
        self.send_exit(cpu, &ended);
        if let Some(index) = ended.workload_index {
            self.workload.swap_remove(index);
            if let Some(moved) = self.workload.get(index) {
                self.tasks.set_workload_index(*moved, index);
            }
        }
        true
    }

    /// Returns whether delays are accounted.
    pub(super) fn delay_accounting(&self) -> DelayAccounting {
        match self.delays_since {
            None => DelayAccounting::Off,
            Some(Duration::ZERO) => DelayAccounting::On(Since::Boot),
            Some(since) => {
                let on_at = self.booted_at + since;
                DelayAccounting::On(Since::Between { off_at: Some(on_at), on_at })
            }
        }
    }

    /// Turns on delay accounting for tasks that start from now on.
    pub(super) fn enable_delay_accounting(&mut self) {
        self.delays_since.get_or_insert(self.now);
    }

    /// Opens a socket with the lowest free port id, which may be that of a closed socket.
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

    /// Closes a socket. Its registrations remain until the next exit finds it closed.
    pub(super) fn close(&mut self, port: PortId) {
        if let Some(socket) = self.ports.get_mut(port.0) {
            *socket = None;
        }
    }

    /// Adds a socket to the lists of CPUs (`add_del_listener`).
    ///
    /// # Errors
    /// `ERANGE` if a CPU is not possible, in which case no list changes; `ENOENT` while the family
    /// is gone; `ENOMEM` as an injected fault.
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

    /// Removes all registrations of a port id.
    pub(super) fn deregister(&mut self, port: PortId) {
        for cpu in &mut self.cpus {
            cpu.listeners.retain(|listener| *listener != port);
        }
    }

    /// Returns the kernel's reply to a query.
    ///
    /// # Errors
    /// `ENOENT` while the family is gone; `ENOMEM` as an injected fault.
    pub(super) fn query(&mut self, id: TaskId) -> Result<Vec<u8>, i32> {
        self.check_request()?;
        let (at, spec) = (self.time(), &self.spec);
        let stats = match id {
            TaskId::Pid(pid) => self.tasks.task(pid, at, spec),
            TaskId::Tgid(tgid) => self.tasks.group_sums(tgid, at, spec),
        };
        Ok(match stats {
            Some(stats) => reply_message(id, &stats),
            None => MessageWriter::error(0, libc::ESRCH),
        })
    }

    /// Returns the tasks of a group, ascending.
    #[must_use]
    pub(crate) fn threads(&self, tgid: u32) -> Option<Vec<u32>> {
        self.tasks.threads(tgid)
    }

    /// Returns the number of listeners in a CPU's list, including dead ones.
    #[must_use]
    pub(crate) fn listeners(&self, cpu: u32) -> usize {
        self.cpus.get(cpu as usize).map_or(0, |cpu| cpu.listeners.len())
    }

    /// Returns whether the kernel has the family TASKSTATS now.
    #[must_use]
    pub(crate) fn has_family(&self) -> bool {
        let Some(Vanish { period, length }) = self.spec.faults.vanish else { return true };
        let uptime = (self.now - MAX_INITIAL_AGE).as_nanos();
        uptime % period.as_nanos() < (period - length).as_nanos()
    }

    fn check_request(&mut self) -> Result<(), i32> {
        if !self.has_family() {
            return Err(libc::ENOENT);
        }
        let fails = self.random.requests.happens(self.spec.faults.errors.0);
        if fails { Err(libc::ENOMEM) } else { Ok(()) }
    }

    fn time(&self) -> SimTime {
        let Self { now, booted_at, delays_since, .. } = *self;
        SimTime { now, booted_at, delays_since }
    }

    /// Sends an exit to the listeners of a CPU (`taskstats_exit`, `send_cpu_listeners`).
    fn send_exit(&mut self, cpu: u32, ended: &super::tasks::EndedTask) {
        let faults = self.spec.faults;
        // Without a listener no message is sent and no sequence number is used.
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
        let length = exit_message_bytes(self.spec.version, ended.has_group_record());
        let ports = &self.ports;
        let sent = &mut self.report.sent;
        let mut message = None;
        let Some(cpu_lists) = self.cpus.get_mut(cpu as usize) else { return };
        cpu_lists.listeners.retain(|port| {
            // A listener whose socket is closed is removed from the list.
            let Some(Some(socket)) = ports.get(port.0) else { return false };
            *sent += u64::from(socket.is_watched());
            let faults = InjectedFaults {
                no_memory: random.happens(faults.overflow.0),
                truncated: random.happens(faults.truncate.0),
            };
            let make = || exit_message(&ended.exit(cpu, sequence));
            socket.deliver(length, faults, || message.get_or_insert_with(make).clone());
            true
        });
    }
}
