//! A kernel of our own: the semantics of the kernel's taskstats code, under a seed and a virtual
//! clock, on a machine with an invented workload.
//!
//! It makes the bytes that a kernel sends, so that all of decode is as it is on a real one.

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

pub use spec::{Faults, Share, Spec, SpecError, Vanish};
pub use world::{Report, World};

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

/// A simulated machine behind the seam.
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
    /// Moves the time on once it has begun; `None` where the owner does.
    clock: Mutex<Option<SimClock>>,
}

/// What a kernel shares with its listeners and its clock.
#[derive(Debug)]
struct SharedWorld {
    world: Mutex<World>,
    /// Who waits for the world, so that its clock lets them.
    waiting: AtomicUsize,
    /// The true size that a socket's queue may have.
    limit: usize,
    time: TimeSource,
}

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeSource {
    /// That of the clock on the wall.
    Real,
    /// That of whoever calls [`World::advance`].
    Stepped,
}

impl SimKernel {
    /// Begins a machine whose time passes as real time does.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(spec: Spec, receive_buffer: usize) -> io::Result<Self> {
        let kernel = Self::prepare(spec, receive_buffer);
        kernel.start_threads()?;
        Ok(kernel)
    }

    /// Prepares a machine whose time passes as real time does from [`Kernel::start_threads`] on.
    ///
    /// `receive_buffer` is the size of each CPU's receive buffer, in bytes; it is less where all of
    /// them together would take more than 1 GiB, because they lie in this process.
    #[must_use]
    pub fn prepare(spec: Spec, receive_buffer: usize) -> Self {
        let kernel = Self::new(World::booted(spec, unix_time()), receive_buffer, TimeSource::Real);
        tracing::warn!(
            "the kernel is simulated: tasks, accounts and exits are invented (sim:{spec})"
        );
        let granted = spec.granted(receive_buffer);
        tracing::info!(
            asked = receive_buffer,
            granted,
            "receive buffers lie in the agent's own memory"
        );
        kernel
    }

    /// Begins a machine whose time passes when [`World::advance`] says so, and whose listeners never
    /// wait.
    #[must_use]
    pub fn stepped(spec: Spec, receive_buffer: usize) -> Self {
        Self::new(World::new(spec), receive_buffer, TimeSource::Stepped)
    }

    fn new(world: World, receive_buffer: usize, time: TimeSource) -> Self {
        let spec = *world.spec();
        let possible = (0..spec.cpus).collect();
        let (world, waiting) = (Mutex::new(world), AtomicUsize::new(0));
        // The kernel doubles what is asked for.
        let limit = 2 * spec.granted(receive_buffer);
        let shared = Arc::new(SharedWorld { world, waiting, limit, time });
        Self { shared, spec, possible, clock: Mutex::new(None) }
    }

    /// The machine, for as long as it is held.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Leaves a listener of a CPU behind as a process does that is killed: its socket is closed, and
    /// its registration stays. For tests.
    ///
    /// # Errors
    /// As [`ExitListener::open`].
    pub fn leave_dead_listener(&self, cpu: u32) -> Result<(), KernelError> {
        let mut listener = SimListener::new(Arc::clone(&self.shared), Purpose::Watch);
        listener.open(cpu)?;
        listener.die();
        Ok(())
    }

    /// Opens a socket that registers nowhere, and so is told only what the last owner of its address
    /// had registered. For tests.
    #[must_use]
    pub fn listen_on_reused_port(&self, cpu: u32) -> Box<dyn ExitListener> {
        let mut listener = SimListener::new(Arc::clone(&self.shared), Purpose::Watch);
        listener.open_silently(cpu);
        Box::new(listener)
    }

    /// Has a task of its own end on a CPU; returns its id, or `None` if there was none left.
    fn end_a_task(&self, cpu: u32) -> Option<u32> {
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

    /// As [`SharedWorld::world`], for the clock, which has nobody wait for itself.
    fn world_for_clock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those go first who wait for the world: a lock that is taken again at once is seldom given
    /// to anybody else.
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
            let Some(pid) = self.end_a_task(cpu) else {
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

/// Listens for one exit. Exits that were dropped would have arrived, but for their number.
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
        tracing::info!(exits, sent, skipped, "the simulated kernel ends");
    }
}

#[cfg(test)]
mod tests;
