//! The thread that owns the listener.

mod clock;
mod gap_detector;
mod handle;
mod ingest;
mod pacer;
mod process_ends;
mod registry;

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub(super) use self::clock::Clocks;
pub(crate) use self::handle::Claim;
use self::handle::ReaderCommand;
pub(super) use self::handle::{ReaderHandle, SocketDisposition};
use self::ingest::Ingest;
use self::pacer::Pacer;
pub(crate) use self::process_ends::PROCESS_ENDS_BYTES;
use self::registry::Registry;
use super::counters::Counters;
use super::history::History;
use crate::taskstats::{ClockSteps, Cpumask, Depth, ExitListener, KeptSocket, Kernel, KernelError};

/// Drop counters and the sysctl are read this often while exits flow.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The minimum grace of CPUs that an earlier run listened to: its watchers resume after the restart.
const INHERITED_GRACE: Duration = Duration::from_secs(10);

/// The configuration of the reader.
#[derive(Clone, Copy, Debug)]
pub struct ReaderConfig {
    /// Sleep between drains at high rates.
    pub pace: Duration,
    /// Size of a CPU's receive buffer, bytes.
    pub receive_buffer: usize,
    /// The time that CPUs are listened to after their last watcher left.
    pub grace: Duration,
}

/// A listener that an earlier run opened, and the time at which it was last read, since 1970.
pub(super) struct InheritedListener {
    pub(super) listener: Box<dyn ExitListener>,
    pub(super) cpus: Cpumask,
    pub(super) read_at: Duration,
}

/// Receives exits from a listener, which exists while there is a CPU to listen on.
pub(super) struct ExitReader {
    clocks: Clocks,
    handle: ReaderHandle,
    kernel: Arc<dyn Kernel>,
    commands: mpsc::Receiver<ReaderCommand>,
    ingest: Ingest,
    /// The sequence after the newest exit that was announced to watchers. Dropped with the reader,
    /// which ends their streams.
    newest: watch::Sender<u64>,
    registry: Registry,
    listener: Option<Box<dyn ExitListener>>,
    pacer: Pacer,
    /// The sleep before the next drain; `None` to wait for a message.
    sleep: Option<Duration>,
    checked_at: Option<Instant>,
    clock_steps: ClockSteps,
}

/// The decision to continue or to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop(SocketDisposition),
}

/// A reader thread, its handle, and the sequence after its newest exit.
pub(super) struct StartedReader {
    pub(super) handle: ReaderHandle,
    pub(super) thread: JoinHandle<Vec<KeptSocket>>,
    pub(super) newest: watch::Receiver<u64>,
}

/// Starts the reader thread.
///
/// # Errors
/// When the system starts no thread.
pub(super) fn start(
    kernel: Arc<dyn Kernel>,
    config: ReaderConfig,
    history: Arc<History>,
    counters: Arc<Counters>,
    inherited: Option<InheritedListener>,
) -> io::Result<StartedReader> {
    let (reader, newest) = prepare(kernel, config, history, counters, inherited, Clocks::SYSTEM);
    let handle = reader.handle.clone();
    let thread = thread::Builder::new().name("exit-reader".to_owned()).spawn(|| reader.run())?;
    Ok(StartedReader { handle, thread, newest })
}

/// Creates a reader without a thread.
pub(super) fn prepare(
    kernel: Arc<dyn Kernel>,
    config: ReaderConfig,
    history: Arc<History>,
    counters: Arc<Counters>,
    inherited: Option<InheritedListener>,
    clocks: Clocks,
) -> (ExitReader, watch::Receiver<u64>) {
    let (sender, commands) = mpsc::channel();
    let handle = ReaderHandle::new(sender);
    let (sender, newest) = watch::channel(history.next_sequence());
    let mut reader = ExitReader {
        clocks,
        handle,
        kernel,
        commands,
        ingest: Ingest::new(history, counters, clocks.wall()),
        newest: sender,
        registry: Registry::new(config.grace),
        listener: None,
        pacer: Pacer::new(config.pace, config.receive_buffer, clocks.now()),
        sleep: None,
        checked_at: None,
        clock_steps: ClockSteps::default(),
    };
    if let Some(inherited) = inherited {
        reader.inherit(inherited);
    }
    (reader, newest)
}

impl ExitReader {
    /// Returns a handle of this reader.
    #[cfg(test)]
    pub(super) fn handle(&self) -> ReaderHandle {
        self.handle.clone()
    }

    /// Runs to the end; returns the sockets if they are to be kept.
    pub(super) fn run(mut self) -> Vec<KeptSocket> {
        let disposition = loop {
            if let Flow::Stop(disposition) = self.step() {
                break disposition;
            }
        };
        self.begin();
        let kept = match disposition {
            SocketDisposition::Close => {
                self.close_all();
                Vec::new()
            }
            SocketDisposition::Keep => self.keep_all(),
        };
        self.ingest.finish(self.clocks.now());
        self.announce();
        kept
    }

    fn close_all(&mut self) {
        for cpu in self.registry.cpus().iter() {
            self.close(cpu);
        }
    }

    fn keep_all(&mut self) -> Vec<KeptSocket> {
        let Some(mut listener) = self.listener.take() else { return Vec::new() };
        if let Err(error) = listener.wait(Some(Duration::ZERO)) {
            tracing::warn!(%error, "looking for the last exits failed");
        }
        listener.drain(Depth::Empty, &mut self.ingest);
        listener.check_drops(&mut self.ingest);
        listener.keep()
    }

    /// Continues with the listener of an earlier run. Its CPUs stay open for a grace period.
    fn inherit(&mut self, inherited: InheritedListener) {
        self.registry.inherit(&inherited.cpus, self.clocks.now(), INHERITED_GRACE);
        self.ingest.resume(inherited.read_at);
        self.clock_steps.assume_step();
        self.set_listener(inherited.listener);
        self.publish_watched();
    }

    fn set_listener(&mut self, listener: Box<dyn ExitListener>) {
        self.handle.set_waker(Some(listener.waker()));
        self.listener = Some(listener);
    }

    /// Waits, executes commands, drains, and announces the result.
    pub(super) fn step(&mut self) -> Flow {
        let flow = if self.listener.is_some() { self.wait() } else { self.wait_for_command() };
        if flow != Flow::Continue {
            return flow;
        }
        // Also after a sleep: a command that was sent before there was a waker ended no wait.
        while let Ok(command) = self.commands.try_recv() {
            let flow = self.execute(command);
            if flow != Flow::Continue {
                return flow;
            }
        }
        self.drain();
        self.expire();
        Flow::Continue
    }

    /// Waits for a command. Without a watcher the kernel sends nothing.
    fn wait_for_command(&mut self) -> Flow {
        let command = self.commands.recv();
        command.map_or(Flow::Stop(SocketDisposition::Close), |command| self.execute(command))
    }

    /// Waits for exits, a command, or a deadline.
    fn wait(&mut self) -> Flow {
        match self.wait_for_listener() {
            Ok(()) => Flow::Continue,
            Err(error) => {
                tracing::error!(%error, "the exit reader ends");
                Flow::Stop(SocketDisposition::Close)
            }
        }
    }

    fn wait_for_listener(&mut self) -> Result<(), KernelError> {
        let Some(listener) = &mut self.listener else { return Ok(()) };
        if let Some(sleep) = self.sleep {
            thread::sleep(sleep);
            return listener.wait(Some(Duration::ZERO));
        }
        let deadlines = [self.registry.next_expiry(), self.ingest.next_due()];
        let next = deadlines.into_iter().flatten().min();
        listener.wait(next.map(|deadline| deadline.saturating_duration_since(self.clocks.now())))
    }

    /// Prepares to receive exits, at the present time of the clocks.
    fn begin(&mut self) -> Instant {
        let (now, wall) = (self.clocks.now(), self.clocks.wall());
        self.ingest.begin(wall);
        if self.clock_steps.observe(now, wall) {
            self.update_delay_accounting();
        }
        now
    }

    /// Determines what a delay of zero means in the next exits.
    fn update_delay_accounting(&mut self) {
        let known = self.clock_steps.restrict(self.kernel.delay_accounting());
        self.ingest.set_delay_accounting(known);
    }

    fn drain(&mut self) {
        let now = self.begin();
        let check = self.checked_at.is_none_or(|checked_at| now >= checked_at + CHECK_INTERVAL);
        if check {
            self.checked_at = Some(now);
            self.update_delay_accounting();
        }
        let Some(listener) = &mut self.listener else { return };
        let depth = if self.sleep.is_some() { Depth::Shallow } else { Depth::Empty };
        let drained = listener.drain(depth, &mut self.ingest);
        if check {
            listener.check_drops(&mut self.ingest);
        }
        if !drained.cut_short {
            self.ingest.left_nothing();
            if self.clock_steps.queues_emptied() {
                self.checked_at = None;
            }
        }
        self.ingest.end(now);
        let step = self.pacer.after_drain(drained, now);
        self.sleep = step.sleep;
        if step.announce {
            self.announce();
        }
    }

    fn announce(&self) {
        let next = self.ingest.next_sequence();
        self.newest.send_if_modified(|newest| std::mem::replace(newest, next) != next);
    }

    fn execute(&mut self, command: ReaderCommand) -> Flow {
        match command {
            ReaderCommand::Watch { cpus, done } => {
                let outcome = self.watch(&cpus).map(|()| self.handle.claim(cpus));
                // A caller that has gone drops the claim, and so ends it.
                drop(done.send(outcome));
            }
            ReaderCommand::Unwatch { cpus } => {
                self.registry.remove(&cpus, self.clocks.now());
                self.expire();
            }
            ReaderCommand::Stop(disposition) => return Flow::Stop(disposition),
        }
        Flow::Continue
    }

    /// Listens on all of `cpus`, or changes nothing.
    fn watch(&mut self, cpus: &Cpumask) -> Result<(), KernelError> {
        let mut opened = Vec::new();
        for cpu in self.registry.missing(cpus) {
            if let Err(error) = self.open(cpu) {
                self.begin();
                for cpu in opened {
                    self.close(cpu);
                }
                self.ingest.end(self.clocks.now());
                self.expire();
                return Err(error);
            }
            opened.push(cpu);
        }
        if !opened.is_empty() {
            self.ingest.opened(opened.into_iter().collect(), self.clocks.wall());
        }
        self.registry.add(cpus);
        self.publish_watched();
        Ok(())
    }

    fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        if let Some(listener) = &mut self.listener {
            return listener.open(cpu);
        }
        let mut listener = self.kernel.listen()?;
        listener.open(cpu)?;
        self.set_listener(listener);
        Ok(())
    }

    fn close(&mut self, cpu: u32) {
        if let Some(listener) = &mut self.listener {
            listener.close(cpu, &mut self.ingest);
            self.ingest.closed(cpu);
        }
    }

    /// Closes the CPUs whose grace is over, and with the last of them the listener.
    fn expire(&mut self) {
        let expired = self.registry.expire(self.clocks.now());
        if !expired.is_empty() {
            self.begin();
            for cpu in &expired {
                self.close(*cpu);
            }
            self.ingest.end(self.clocks.now());
            self.publish_watched();
        }
        if self.registry.is_empty() && self.listener.take().is_some() {
            self.handle.set_waker(None);
            self.ingest.finish(self.clocks.now());
            self.announce();
            self.sleep = None;
        }
    }

    fn publish_watched(&self) {
        self.handle.set_watched(self.registry.cpus());
    }
}

#[cfg(test)]
mod tests;
