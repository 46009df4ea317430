//! A kernel with as many CPUs as one likes, on which recorded exits happen.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::ClockId;
use taskstatsd::taskstats::{
    Cpumask, DelayAccounting, Depth, Drained, Exit, ExitListener, ExitSink, KeptSocket, Kernel,
    KernelError, SelfTest, Since, Stats, TaskId, Wake,
};

/// Has exits on all its CPUs, and no live task.
#[derive(Debug)]
pub(crate) struct SyntheticKernel {
    cpus: Cpumask,
    exits: Vec<Exit>,
    measured: Sender<Duration>,
}

/// Delivers the exits, and measures the CPU time of their receiver.
#[derive(Debug)]
struct SyntheticListener {
    queues: Vec<Queue>,
    exits: Vec<Exit>,
    /// The exit that is handed out next.
    next: usize,
    drains: usize,
    /// CPU time of the taker's thread when the history was full.
    began_at: Duration,
    measured: Sender<Duration>,
    bell: Bell,
    rung: Receiver<()>,
}

/// The queue of one CPU.
#[derive(Debug)]
struct Queue {
    cpu: u32,
    kernel_sequence: u32,
}

/// Ends a wait.
#[derive(Clone, Debug)]
struct Bell(Sender<()>);

/// Exits of one drain, over all queues: those of a few ms at full speed, and the most queues.
const EXITS_A_DRAIN: usize = 256;
/// Fills a history of 32 MiB, so that each further exit also evicts one.
const WARMING_DRAINS: usize = 2000;
const MEASURED_DRAINS: usize = 4000;
/// The measured exits.
pub(crate) const EXITS: u64 = (EXITS_A_DRAIN * MEASURED_DRAINS) as u64;

impl SyntheticKernel {
    /// A machine with so many CPUs; `measured` receives the CPU time that the thread of a listener
    /// took for [`EXITS`] exits.
    pub(crate) fn new(cpus: u32, exits: Vec<Exit>, measured: Sender<Duration>) -> Self {
        Self { cpus: (0..cpus).collect(), exits, measured }
    }
}

impl Kernel for SyntheticKernel {
    fn query(&self, id: TaskId) -> Result<Stats, KernelError> {
        Err(KernelError::NoSuchTask(id))
    }

    fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError> {
        Err(KernelError::NoSuchTask(TaskId::Tgid(tgid)))
    }

    fn possible_cpus(&self) -> &Cpumask {
        &self.cpus
    }

    fn online_cpus(&self) -> Result<Cpumask, KernelError> {
        Ok(self.cpus.clone())
    }

    fn delay_accounting(&self) -> DelayAccounting {
        DelayAccounting::On(Since::Boot)
    }

    fn enable_delay_accounting(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
        Ok(SelfTest { delivered: cpus.clone(), ..SelfTest::default() })
    }

    fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError> {
        let (bell, rung) = mpsc::channel();
        Ok(Box::new(SyntheticListener {
            queues: Vec::new(),
            exits: self.exits.clone(),
            next: 0,
            drains: 0,
            began_at: Duration::ZERO,
            measured: self.measured.clone(),
            bell: Bell(bell),
            rung,
        }))
    }

    fn adopt(&self, sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError> {
        if sockets.is_empty() {
            return self.listen();
        }
        let source = io::ErrorKind::Unsupported.into();
        Err(KernelError::System { operation: "adopting a socket", source })
    }
}

impl SyntheticListener {
    /// Hands out the same exits again, as the next ones of a CPU.
    fn hand_out(&mut self, queue: usize, sink: &mut dyn ExitSink) {
        let (Some(queue), Some(exit)) = (self.queues.get_mut(queue), self.exits.get_mut(self.next))
        else {
            return;
        };
        queue.kernel_sequence = queue.kernel_sequence.wrapping_add(1);
        exit.cpu = queue.cpu;
        exit.kernel_sequence = queue.kernel_sequence;
        sink.exit(exit);
        self.next = (self.next + 1) % self.exits.len();
    }
}

impl ExitListener for SyntheticListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(self.bell.clone())
    }

    fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        self.queues.push(Queue { cpu, kernel_sequence: 0 });
        Ok(())
    }

    fn close(&mut self, cpu: u32, _: &mut dyn ExitSink) {
        self.queues.retain(|queue| queue.cpu != cpu);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        if self.drains == WARMING_DRAINS {
            self.began_at = thread_cpu_time()?;
        }
        if self.drains < WARMING_DRAINS + MEASURED_DRAINS {
            return Ok(());
        }
        if self.drains == WARMING_DRAINS + MEASURED_DRAINS {
            self.drains += 1;
            // The receiver is gone if the measurement was cancelled.
            let _ = self.measured.send(thread_cpu_time()?.saturating_sub(self.began_at));
        }
        // The listener itself holds a bell, so only a ring or the time limit ends the wait.
        let _ = match timeout {
            Some(timeout) => self.rung.recv_timeout(timeout).is_ok(),
            None => self.rung.recv().is_ok(),
        };
        Ok(())
    }

    fn drain(&mut self, _: Depth, sink: &mut dyn ExitSink) -> Drained {
        if self.queues.is_empty() || self.drains >= WARMING_DRAINS + MEASURED_DRAINS {
            return Drained::default();
        }
        self.drains += 1;
        let fullest = EXITS_A_DRAIN / self.queues.len();
        for queue in 0..self.queues.len() {
            for _ in 0..fullest {
                self.hand_out(queue, sink);
            }
        }
        Drained { messages: EXITS_A_DRAIN, fullest, cut_short: false }
    }

    fn keep(self: Box<Self>) -> Vec<KeptSocket> {
        Vec::new()
    }

    fn check_drops(&mut self, _: &mut dyn ExitSink) {}
}

impl Wake for Bell {
    fn wake(&self) {
        // A listener that has ended waits no more.
        let _ = self.0.send(());
    }
}

fn thread_cpu_time() -> Result<Duration, KernelError> {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    let failed = |errno: Errno| KernelError::System {
        operation: "reading the CPU clock of a thread",
        source: errno.into(),
    };
    Ok(now.map_err(failed)?.into())
}
