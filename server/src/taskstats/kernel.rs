//! The interface of a kernel: queries for live tasks, and exits.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{Cpumask, DelayAccounting, Exit, KnownBad, Stats};
use crate::bpf::{CgroupLosses, KeptSlots};

/// The subject of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskId {
    /// One task (thread).
    Pid(u32),
    /// One thread group, as the kernel sums it.
    Tgid(u32),
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(id) => write!(formatter, "pid {id}"),
            Self::Tgid(id) => write!(formatter, "tgid {id}"),
        }
    }
}

/// The error of a kernel operation.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No task or group has the id (`ESRCH`).
    #[error("no live task has {0} (ESRCH from TASKSTATS_CMD_GET)")]
    NoSuchTask(TaskId),
    /// The agent lacks a capability (`EPERM`).
    #[error(
        "{operation} was refused with EPERM: the agent lacks CAP_NET_ADMIN in the initial user namespace"
    )]
    NotPermitted {
        /// The operation.
        operation: &'static str,
    },
    /// The kernel lacks taskstats, or does not expose it to this network namespace.
    #[error("the kernel knows no generic netlink family TASKSTATS (ENOENT)")]
    NoFamily,
    /// Queries can make this kernel panic.
    #[error("the kernel {release} is known to panic when it reads a task's name for taskstats ({}), so it is not queried", bug.source)]
    KnownBadKernel {
        /// The kernel's release.
        release: String,
        /// The known bug.
        bug: &'static KnownBad,
    },
    /// The kernel accepted a registration but sent no exit.
    #[error("the kernel accepted the registration, but reported no exit on CPUs {cpus}")]
    NoExitsArrive {
        /// The CPUs on which a task exited without a message.
        cpus: Cpumask,
    },
    /// The arrival of exits could not be tested, so it is unknown whether they arrive.
    #[error("whether exits arrive could not be tested: {cause}")]
    NotTested {
        /// The reason.
        cause: String,
    },
    /// Exits are sent only in the initial namespaces, and the agent is in another one.
    #[error("exits cannot be watched from a child {namespace} namespace")]
    WrongNamespace {
        /// The namespace that is not the initial one.
        namespace: Namespace,
    },
    /// A group exists, but procfs does not show its threads to the agent.
    #[error("the kernel knows tgid {0}, but /proc does not show its threads to the agent")]
    HiddenThreads(u32),
    /// Another error of a system call.
    #[error("{operation} failed: {source}")]
    System {
        /// The operation.
        operation: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The reply could not be decoded.
    #[error("the reply to {operation} could not be read")]
    BadReply {
        /// The operation.
        operation: &'static str,
    },
}

impl KernelError {
    /// Returns whether the agent's environment must change before the kernel can reply.
    #[must_use]
    pub(crate) fn is_precondition(&self) -> bool {
        match self {
            Self::NotPermitted { .. }
            | Self::NoFamily
            | Self::WrongNamespace { .. }
            | Self::KnownBadKernel { .. }
            | Self::NoExitsArrive { .. } => true,
            Self::NoSuchTask(_)
            | Self::HiddenThreads(_)
            | Self::NotTested { .. }
            | Self::System { .. }
            | Self::BadReply { .. } => false,
        }
    }

    /// Returns whether the agent has no file descriptors left.
    pub(super) fn is_exhaustion(&self) -> bool {
        let Self::System { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
}

/// The error of starting the process that makes the requests which need `CAP_NET_ADMIN`.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The process could not be confined.
    #[error("{0}")]
    Refused(String),
    /// A system call failed.
    #[error("{operation} failed: {source}")]
    System {
        /// The operation.
        operation: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

impl BrokerError {
    pub(super) fn system(operation: &'static str, source: io::Error) -> Self {
        Self::System { operation, source }
    }
}

/// A kind of namespace on which the arrival of exits depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The network namespace: exits are sent only in the initial one.
    Network,
    /// The pid namespace: registration is refused outside the initial one.
    Pid,
    /// The user namespace: capabilities outside the initial one do not count.
    User,
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Network => "network",
            Self::Pid => "pid",
            Self::User => "user",
        })
    }
}

/// A source of statistics of live tasks and of exits: the running kernel or a simulated one.
pub trait Kernel: fmt::Debug + Send + Sync {
    /// Starts the threads that the kernel needs in this process, if any. Until then, the process
    /// may be single-threaded.
    ///
    /// # Errors
    /// The error of the system if it starts no thread.
    fn start_threads(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns the statistics of a live task or group.
    ///
    /// # Errors
    /// [`KernelError::NoSuchTask`] for an id that does not exist; others if the kernel cannot be
    /// queried.
    fn query(&self, id: TaskId) -> Result<Stats, KernelError>;

    /// Returns true if a query is a round trip to another process, so that several are better made together.
    fn is_remote(&self) -> bool {
        false
    }

    /// Returns false while a query would wait for that of another thread, which can last milliseconds.
    fn answers_at_once(&self) -> bool {
        true
    }

    /// Returns the statistics of many tasks and groups, in the order of `ids`.
    ///
    /// # Errors
    /// The error if the kernel cannot be queried at all. An error that concerns one id
    /// stands in its result.
    fn query_many(&self, ids: &[TaskId]) -> Result<Vec<Result<Stats, KernelError>>, KernelError> {
        let results = ids.iter().map(|id| match self.query(*id) {
            Err(error) if !matches!(error, KernelError::NoSuchTask(_)) => Err(error),
            result => Ok(result),
        });
        results.collect()
    }

    /// Returns the ids of the live threads of a group, ascending.
    ///
    /// # Errors
    /// [`KernelError::NoSuchTask`] for a group that does not exist.
    fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError>;

    /// Returns the CPUs that this machine can ever have.
    fn possible_cpus(&self) -> &Cpumask;

    /// Returns the CPUs that are online.
    ///
    /// # Errors
    /// The error of reading sysfs.
    fn online_cpus(&self) -> Result<Cpumask, KernelError>;

    /// Returns whether the kernel accounts delays.
    fn delay_accounting(&self) -> DelayAccounting;

    /// Turns on delay accounting for tasks that start from now on. It stays on after the agent has
    /// ended.
    ///
    /// # Errors
    /// The error of writing the sysctl.
    fn enable_delay_accounting(&self) -> Result<(), KernelError>;

    /// Registers on `cpus`, ends a task on each, and waits briefly for the kernel's messages. Open
    /// listeners are not disturbed; they receive these exits like any other.
    ///
    /// # Errors
    /// The error of registering, or [`KernelError::NotTested`] if the system starts no task.
    fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError>;

    /// Checks that exits can be watched, by a self-test of one CPU.
    ///
    /// # Errors
    /// [`KernelError::NoExitsArrive`] if registering succeeds and no exit is sent;
    /// [`KernelError::NotTested`] if registering succeeds but no task could be ended on any CPU;
    /// otherwise the error of registering.
    fn check_exits(&self) -> Result<(), KernelError> {
        let cpus = match self.online_cpus() {
            // The test recognizes a CPU that is offline.
            Err(error) if !error.is_exhaustion() => self.possible_cpus().clone(),
            cpus => cpus?,
        };
        for cpu in cpus.iter() {
            let tested = self.self_test(&Cpumask::from_iter([cpu]))?;
            if !tested.missing.is_empty() {
                return Err(KernelError::NoExitsArrive { cpus: tested.missing });
            }
            if !tested.delivered.is_empty() {
                return Ok(());
            }
        }
        Err(KernelError::NotTested {
            cause: format!("none of CPUs {cpus} ran the task of the self-test"),
        })
    }

    /// Opens a listener without any CPU.
    ///
    /// # Errors
    /// The error of the system, for example if no file descriptors are left.
    fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError>;

    /// Opens a listener with sockets that an earlier listener kept.
    ///
    /// # Errors
    /// The error if a socket is not one that a listener of this kernel kept.
    fn adopt(&self, sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError>;

    /// Returns the kernel's version of `struct taskstats`.
    ///
    /// # Errors
    /// The error if the kernel cannot be queried.
    fn version(&self) -> Result<u16, KernelError> {
        Ok(self.query(TaskId::Pid(std::process::id()))?.version)
    }

    /// Returns the specification of a simulated kernel, as on the command line; `None` for a real
    /// one.
    fn simulated(&self) -> Option<String> {
        None
    }
}

/// The result of a self-test. Each tested CPU is in one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// CPUs on which a task exited and the kernel sent a message.
    pub delivered: Cpumask,
    /// CPUs on which a task exited and no message arrived.
    pub missing: Cpumask,
    /// CPUs on which no task could be ended: they are outside the agent's cpuset, or did not run
    /// the task in time.
    pub untested: Cpumask,
}

/// A registered socket without a reader: exits wait in its queue.
#[derive(Debug)]
pub struct KeptSocket {
    /// The CPU on which it is registered.
    pub(crate) cpu: u32,
    /// The drop counter when it was last read.
    pub(crate) drops: u32,
    /// The socket.
    pub(crate) socket: OwnedFd,
    /// The memory of its filter, if it has one.
    pub(crate) cgroups: Option<KeptSlots>,
}

/// A receiver of exits, with one bounded queue for each CPU. It is owned by one thread.
pub trait ExitListener: Send {
    /// Returns a handle that ends a [`ExitListener::wait`] from another thread.
    fn waker(&self) -> Box<dyn Wake>;

    /// Registers on a CPU. The registration is in force when this returns.
    ///
    /// # Errors
    /// The error of the kernel. No registration remains.
    fn open(&mut self, cpu: u32) -> Result<(), KernelError>;

    /// Ends the registration on a CPU, after passing the rest of its queue to the sink.
    fn close(&mut self, cpu: u32, sink: &mut dyn ExitSink);

    /// Waits for messages, for the waker, or until the timeout expires; `None` means no timeout.
    ///
    /// # Errors
    /// The error if waiting is impossible.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError>;

    /// Receives from the queues that [`ExitListener::wait`] found ready.
    fn drain(&mut self, depth: Depth, sink: &mut dyn ExitSink) -> Drained;

    /// Releases the sockets, which stay registered. Their queues were drained before.
    fn keep(self: Box<Self>) -> Vec<KeptSocket>;

    /// Reads the drop counters of all CPUs, including those that reported no overflow.
    fn check_drops(&mut self, sink: &mut dyn ExitSink);
}

/// The condition that ends a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Each queue was seen empty.
    Empty,
    /// Each queue returned fewer messages than the inbox holds. Another drain follows soon and
    /// receives what has arrived meanwhile: receiving single messages would cost a system call
    /// each.
    Shallow,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Messages received from all queues.
    pub messages: usize,
    /// Messages received from the fullest queue.
    pub fullest: usize,
    /// Set if a queue still holds messages because others had to be served.
    pub cut_short: bool,
}

/// A handle that ends a wait.
pub trait Wake: Send + Sync {
    /// Ends the current wait, or the next one if none is running.
    fn wake(&self);
}

/// A receiver of exits.
pub trait ExitSink {
    /// Receives one exit.
    fn exit(&mut self, exit: &Exit);

    /// Receives the number of exits of a CPU that the kernel dropped after those delivered so far,
    /// and how many of them belong to which known cgroup.
    fn dropped(&mut self, cpu: u32, count: u64, by_cgroup: CgroupLosses);
}
