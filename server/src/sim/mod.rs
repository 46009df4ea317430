//! A simulated kernel, which follows the rules of the kernel's taskstats code under a seed and a
//! virtual clock. Its machine runs an invented workload.
//!
//! It sends the same bytes as a real kernel, so that decoding and everything above it works as on a
//! real one.

mod clock;
mod encode;
mod listener;
mod messages;
mod random;
mod socket;
mod spec;
mod statistics;
mod tasks;
mod world;
mod writer;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

pub(crate) use spec::{Spec, SpecError};
pub(crate) use world::{Report, World};

use self::clock::SimClock;
use self::listener::SimListener;
use self::socket::Purpose;
use crate::bpf::CgroupLosses;
use crate::clock::unix_time;
use crate::taskstats::reply::{QUERY, failed, refused, stats_in_reply};
use crate::taskstats::{
    Cpumask, DelayAccounting, Exit, ExitListener, ExitSink, KeptSocket, Kernel, KernelError,
    SelfTest, Stats, TaskId,
};

/// A simulated machine as a [`Kernel`].
///
/// ```
/// use std::time::Duration;
/// use taskstatsd::sim::SimKernel;
/// use taskstatsd::taskstats::{Kernel, TaskId};
///
/// let kernel = SimKernel::stepped("cpus=2,version=14".parse()?, 1 << 20);
/// let pid = kernel.world().spawn().unwrap();
/// kernel.world().advance(Duration::from_secs(1));
/// assert_eq!(kernel.query(TaskId::Pid(pid))?.version, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SimKernel {
    shared: Arc<SharedWorld>,
    spec: Spec,
    possible: Cpumask,
    /// Advances the machine once it is started; `None` for a stepped machine.
    clock: Mutex<Option<SimClock>>,
}

/// The machine, shared by the kernel, its listeners and its clock.
#[derive(Debug)]
struct SharedWorld {
    world: Mutex<World>,
    /// The number of threads that wait for the lock, so that the clock yields to them.
    waiting: AtomicUsize,
    /// The limit of a socket's receive queue, in bytes of true size.
    limit: usize,
    time: TimeSource,
}

/// The source of a machine's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeSource {
    /// The system's clock.
    Real,
    /// Calls of [`World::advance`].
    Stepped,
}

impl SimKernel {
    /// Creates a machine that runs in real time once [`Kernel::start_threads`] is called.
    ///
    /// `receive_buffer` is the size of each CPU's receive buffer, in bytes. It is reduced if all
    /// buffers together would exceed 1 GiB, because they are allocated by this process.
    #[must_use]
    pub(crate) fn prepare(spec: Spec, receive_buffer: usize) -> Self {
        let kernel = Self::new(World::booted(spec, unix_time()), receive_buffer, TimeSource::Real);
        tracing::warn!(
            "simulating the kernel: tasks, statistics and exits are invented (sim:{spec})"
        );
        let granted = spec.granted(receive_buffer);
        tracing::info!(
            requested = receive_buffer,
            granted,
            "allocated receive buffers in the memory of the agent"
        );
        kernel
    }

    /// Creates a machine whose time is advanced by `World::advance`, and whose listeners never
    /// block.
    #[must_use]
    pub fn stepped(spec: Spec, receive_buffer: usize) -> Self {
        Self::new(World::new(spec), receive_buffer, TimeSource::Stepped)
    }

    fn new(world: World, receive_buffer: usize, time: TimeSource) -> Self {
        let spec = *world.spec();
        let possible = (0..spec.cpus).collect();
        let (world, waiting) = (Mutex::new(world), AtomicUsize::new(0));
        // The kernel doubles the requested size.
        let limit = 2 * spec.granted(receive_buffer);
        let shared = Arc::new(SharedWorld { world, waiting, limit, time });
        Self { shared, spec, possible, clock: Mutex::new(None) }
    }

    /// Locks the machine.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Leaves a dead listener of a CPU, like a process that was killed: its socket is closed, and
    /// its registration remains. For tests.
    ///
    /// # Errors
    /// See [`ExitListener::open`].
    pub fn leave_dead_listener(&self, cpu: u32) -> Result<(), KernelError> {
        let mut listener = SimListener::new(Arc::clone(&self.shared), Purpose::Watch);
        listener.open(cpu)?;
        listener.abandon();
        Ok(())
    }

    /// Opens a socket that registers nowhere, and so receives only exits for which the last owner
    /// of its port id registered. For tests.
    #[must_use]
    pub fn listen_on_reused_port(&self, cpu: u32) -> Box<dyn ExitListener> {
        let mut listener = SimListener::new(Arc::clone(&self.shared), Purpose::Watch);
        listener.open_unregistered(cpu);
        Box::new(listener)
    }

    /// Ends a new task on a CPU and returns its id; `None` if all ids are in use.
    fn end_new_task(&self, cpu: u32) -> Option<u32> {
        let mut world = self.world();
        let pid = world.spawn()?;
        world.exit(pid, cpu, 0).then_some(pid)
    }

    fn threads_of(&self, tgid: u32) -> Option<Vec<u32>> {
        self.world().threads(tgid)
    }
}

impl SharedWorld {
    fn world(&self) -> MutexGuard<'_, World> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let world = self.world_for_clock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        world
    }

    /// Locks the machine for the clock, which is not counted among the waiting threads.
    fn world_for_clock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Yields until no other thread waits for the lock: a thread that locks again at once seldom
    /// loses the lock to another one.
    fn yield_to_waiters(&self) {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
    }
}

impl Kernel for SimKernel {
    fn start_threads(&self) -> io::Result<()> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.time == TimeSource::Real && clock.is_none() {
            *clock = Some(SimClock::start(Arc::clone(&self.shared))?);
        }
        Ok(())
    }

    fn query(&self, id: TaskId) -> Result<Stats, KernelError> {
        let reply = self.world().query(id);
        match reply {
            Ok(reply) => stats_in_reply(&reply, id),
            Err(libc::ENOENT) => Err(KernelError::NoFamily),
            Err(errno) => Err(refused(QUERY, errno)),
        }
    }

    fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError> {
        self.threads_of(tgid).ok_or(KernelError::NoSuchTask(TaskId::Tgid(tgid)))
    }

    fn possible_cpus(&self) -> &Cpumask {
        &self.possible
    }

    fn online_cpus(&self) -> Result<Cpumask, KernelError> {
        Ok(self.possible.clone())
    }

    fn delay_accounting(&self) -> DelayAccounting {
        self.world().delay_accounting()
    }

    fn enable_delay_accounting(&self) -> Result<(), KernelError> {
        self.world().enable_delay_accounting();
        Ok(())
    }

    fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
        let mut listener = SimListener::new(Arc::clone(&self.shared), Purpose::Probe);
        let mut tested = SelfTest::default();
        for cpu in cpus.iter() {
            listener.open(cpu)?;
            let Some(pid) = self.end_new_task(cpu) else {
                tested.untested.insert(cpu);
                continue;
            };
            let mut received = Probe { pid, received: false };
            listener.close(cpu, &mut received);
            if received.received { &mut tested.delivered } else { &mut tested.missing }.insert(cpu);
        }
        Ok(tested)
    }

    fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError> {
        if !self.world().has_family() {
            return Err(KernelError::NoFamily);
        }
        Ok(Box::new(SimListener::new(Arc::clone(&self.shared), Purpose::Watch)))
    }

    fn adopt(&self, sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError> {
        if sockets.is_empty() {
            return self.listen();
        }
        Err(failed("adopting a socket of a real kernel", io::ErrorKind::Unsupported.into()))
    }

    fn version(&self) -> Result<u16, KernelError> {
        Ok(self.spec.version)
    }

    fn simulated(&self) -> Option<String> {
        Some(format!("sim:{}", self.spec))
    }
}

/// Receives one exit. A dropped exit also counts, since it would have arrived in a larger queue.
struct Probe {
    pid: u32,
    received: bool,
}

impl ExitSink for Probe {
    fn exit(&mut self, exit: &Exit) {
        self.received |= exit.task.identity.pid == Some(self.pid);
    }

    fn dropped(&mut self, _: u32, _: u64, _: CgroupLosses) {
        self.received = true;
    }
}

impl Drop for SimKernel {
    fn drop(&mut self) {
        let clock = self.clock.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(clock) = clock else { return };
        clock.stop();
        let Report { exits, sent, skipped, .. } = self.world().report();
        tracing::info!(exits, sent, skipped, "stopped the simulated kernel");
    }
}

#[cfg(test)]
mod tests;
