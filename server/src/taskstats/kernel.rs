//! The seam between the agent and whatever answers for tasks.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{Cpumask, DelayAccounting, Exit, KnownBad, Stats};
use crate::bpf::CgroupLosses;

/// What a query asks for.
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

/// Why the kernel did not answer.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No task or group has the id (`ESRCH`).
    #[error("no live task has {0} (ESRCH from TASKSTATS_CMD_GET)")]
    NoSuchTask(TaskId),
    /// The agent may not ask (`EPERM`).
    #[error("{operation} was refused with EPERM: the agent lacks CAP_NET_ADMIN in the initial user namespace; {}", self.fix())]
    NotPermitted {
        /// What was tried.
        operation: &'static str,
    },
    /// The kernel has no taskstats, or does not show it to this network namespace.
    #[error("the kernel knows no generic netlink family TASKSTATS (ENOENT); {}", self.fix())]
    NoFamily,
    /// Asking this kernel can bring it down.
    #[error("the kernel {release} is known to panic when it reads a task's name for taskstats ({}), so it is left alone; {}", bug.source, self.fix())]
    KnownBadKernel {
        /// Its release.
        release: String,
        /// What is known of it.
        bug: &'static KnownBad,
    },
    /// The kernel accepted a registration and told of no exit.
    #[error("the kernel accepted the registration, but told of no exit on CPUs {cpus}; {}", self.fix())]
    NoExitsArrive {
        /// Where a task ended unheard.
        cpus: Cpumask,
    },
    /// Whether exits arrive could not be tried, which says nothing of whether they do.
    #[error("whether exits arrive could not be tested: {cause}; {}", self.fix())]
    NotTested {
        /// What was missing.
        cause: String,
    },
    /// Exits are told only in initial namespaces, and the agent is in another one.
    #[error("exits cannot be watched from a child {namespace} namespace; {}", self.fix())]
    WrongNamespace {
        /// The namespace that is not the initial one.
        namespace: Namespace,
    },
    /// A group lives, and procfs does not show its threads to the agent.
    #[error("the kernel knows tgid {0}, but /proc does not show its threads to the agent; {fix}", fix = self.fix())]
    HiddenThreads(u32),
    /// A system call failed in another way.
    #[error("{operation} failed: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The reply could not be read.
    #[error("the reply to {operation} could not be read")]
    BadReply {
        /// What was tried.
        operation: &'static str,
    },
}

impl KernelError {
    /// What a person can do about it; empty where there is nothing.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NotPermitted { .. } => {
                "start the agent with that capability (systemd: AmbientCapabilities=CAP_NET_ADMIN, \
                 Kubernetes: capabilities.add [NET_ADMIN], and no hostUsers: false)"
            }
            Self::NoFamily => {
                "use a kernel with CONFIG_TASKSTATS=y and run the agent in the initial network \
                 namespace (Kubernetes: hostNetwork: true)"
            }
            Self::WrongNamespace { namespace } => namespace.fix(),
            Self::KnownBadKernel { .. } => {
                "run another kernel, or take the risk with --ignore-known-bad-kernel"
            }
            Self::NoExitsArrive { .. } => {
                "run the agent in the host's network namespace, the only one that exits are sent to \
                 (Kubernetes: hostNetwork: true; systemd: no PrivateNetwork)"
            }
            Self::NotTested { .. } => {
                "let the agent start a thread (systemd: TasksMax, Kubernetes: podPidsLimit) and run \
                 on a CPU"
            }
            Self::HiddenThreads(_) => {
                "mount /proc without hidepid (systemd: no ProtectProc), or with gid= of the agent's \
                 group"
            }
            Self::System { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => {
                    "raise the limit of open files (systemd: LimitNOFILE, shell: ulimit -n)"
                }
                _ => "",
            },
            Self::NoSuchTask(_) | Self::BadReply { .. } => "",
        }
    }

    /// Whether something must be changed around the agent before the kernel can answer.
    #[must_use]
    pub fn is_precondition(&self) -> bool {
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

    /// Whether the agent has no descriptors left.
    fn is_exhaustion(&self) -> bool {
        let Self::System { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
}

/// A namespace that decides whether exits arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The network namespace: exits are sent in the initial one only.
    Network,
    /// The pid namespace: registration is refused in any but the initial one.
    Pid,
    /// The user namespace: capabilities of any but the initial one do not count.
    User,
}

impl Namespace {
    /// What to do to be in the initial one.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::Network => "run the agent in the host's one (Kubernetes: hostNetwork: true)",
            Self::Pid => "run the agent in the host's one (Kubernetes: hostPID: true)",
            Self::User => {
                "run the agent in the host's one (Kubernetes: remove hostUsers: false; systemd: no PrivateUsers)"
            }
        }
    }
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

/// Answers for live tasks and tells exits: the real kernel, or a simulated one.
pub trait Kernel: fmt::Debug + Send + Sync {
    /// Starts the threads that the kernel takes in this process, if it takes any. Until then, the
    /// process may have a single one.
    ///
    /// # Errors
    /// When the system starts no thread.
    fn start_threads(&self) -> io::Result<()> {
        Ok(())
    }

    /// The account of a live task or group.
    ///
    /// # Errors
    /// [`KernelError::NoSuchTask`] for an id that nobody has; others when the kernel cannot be asked.
    fn query(&self, id: TaskId) -> Result<Stats, KernelError>;

    /// The accounts of many, in order, as [`Kernel::query`] gives them.
    ///
    /// # Errors
    /// When the kernel cannot be asked at all; what is wrong with one id stands in its place.
    fn query_many(&self, ids: &[TaskId]) -> Result<Vec<Result<Stats, KernelError>>, KernelError> {
        let answers = ids.iter().map(|id| match self.query(*id) {
            Err(error) if !matches!(error, KernelError::NoSuchTask(_)) => Err(error),
            answer => Ok(answer),
        });
        answers.collect()
    }

    /// The ids of the live threads of a group, ascending.
    ///
    /// # Errors
    /// [`KernelError::NoSuchTask`] for a group that does not exist.
    fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError>;

    /// The CPUs that this machine can ever have.
    fn possible_cpus(&self) -> &Cpumask;

    /// The CPUs that run now.
    ///
    /// # Errors
    /// When the system does not tell.
    fn online_cpus(&self) -> Result<Cpumask, KernelError>;

    /// Whether the kernel keeps delay accounts now.
    fn delay_accounting(&self) -> DelayAccounting;

    /// Has the kernel keep delay accounts of the tasks that begin from now on. It goes on after the
    /// agent has ended.
    ///
    /// # Errors
    /// Why it does not.
    fn enable_delay_accounting(&self) -> Result<(), KernelError>;

    /// Listens on `cpus`, has a task end on each, and waits a moment for the kernel to tell so.
    /// Listeners that are open are not disturbed; they are told of these exits like of any other.
    ///
    /// # Errors
    /// Why the kernel cannot be listened to at all, or [`KernelError::NotTested`] when the system
    /// starts no task.
    fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError>;

    /// Tells whether exits can be watched, by a self-test of one CPU.
    ///
    /// # Errors
    /// Why not; [`KernelError::NoExitsArrive`] when all looks well and yet none is told;
    /// [`KernelError::NotTested`] when the kernel accepted a listener, and no task could be made to
    /// end.
    fn check_exits(&self) -> Result<(), KernelError> {
        let cpus = match self.online_cpus() {
            // A CPU that does not run is found out by the test.
            Err(error) if !error.is_exhaustion() => self.possible_cpus().clone(),
            told => told?,
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
        Err(KernelError::NotTested { cause: format!("none of CPUs {cpus} ran a task of ours") })
    }

    /// Opens a listener that listens on no CPU yet.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError>;

    /// Opens a listener that goes on where an earlier one was kept.
    ///
    /// # Errors
    /// When a socket is not one that this kernel's listeners keep.
    fn adopt(&self, sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError>;

    /// The version of `struct taskstats` that the kernel speaks.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn version(&self) -> Result<u16, KernelError> {
        Ok(self.query(TaskId::Pid(std::process::id()))?.version)
    }

    /// What is simulated, as the command line says it; `None` for a real kernel.
    fn simulated(&self) -> Option<String> {
        None
    }
}

/// What a self-test found: each CPU is in one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// CPUs on which a task ended, and the kernel told so.
    pub delivered: Cpumask,
    /// CPUs on which a task ended, and nothing was told.
    pub missing: Cpumask,
    /// CPUs on which no task could be made to end: they are outside of the agent's cpuset, or did
    /// not run it in time.
    pub untested: Cpumask,
}

/// A socket that still listens while nobody reads it: exits wait in its queue.
#[derive(Debug)]
pub struct KeptSocket {
    /// The CPU whose exits it is told.
    pub cpu: u32,
    /// The drop counter when it was last read.
    pub drops: u32,
    /// The socket.
    pub socket: OwnedFd,
}

/// Takes exits from the kernel, with one bounded queue a CPU. Owned by one thread.
pub trait ExitListener: Send {
    /// A handle that ends a [`ExitListener::wait`] from another thread.
    fn waker(&self) -> Box<dyn Wake>;

    /// Starts to listen on a CPU; in force when this returns.
    ///
    /// # Errors
    /// Why the kernel refused. Nothing is left behind.
    fn open(&mut self, cpu: u32) -> Result<(), KernelError>;

    /// Stops to listen on a CPU. What its queue still holds goes to the sink first.
    fn close(&mut self, cpu: u32, sink: &mut dyn ExitSink);

    /// Waits for messages, for the waker, or for the time to be over (never, if `None`).
    ///
    /// # Errors
    /// When the system cannot wait at all.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError>;

    /// Empties the queues that [`ExitListener::wait`] found filled.
    fn drain(&mut self, depth: Depth, sink: &mut dyn ExitSink) -> Drained;

    /// Gives up the sockets, which listen on. What they hold was drained before.
    fn keep(self: Box<Self>) -> Vec<KeptSocket>;

    /// Reads the drop counters of all CPUs, also of those that told of no overflow.
    fn check_drops(&mut self, sink: &mut dyn ExitSink);
}

/// How far a drain goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Until each queue was seen empty.
    Empty,
    /// Until each queue gave less than it was asked for. Another drain follows soon, and takes what
    /// came meanwhile: to chase single messages would cost a system call each.
    Shallow,
}

/// What a drain found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Messages taken from all queues.
    pub messages: usize,
    /// Messages taken from the queue that held most.
    pub fullest: usize,
    /// Whether a queue was left with messages, so that others get their turn.
    pub cut_short: bool,
}

/// Ends a wait.
pub trait Wake: Send + Sync {
    /// Ends the current wait, or the next one if there is none.
    fn wake(&self);
}

/// Where a listener puts what it took.
pub trait ExitSink {
    /// One exit.
    fn exit(&mut self, exit: &Exit);

    /// Exits of a CPU that the kernel dropped after those it delivered so far, and those of them whose
    /// cgroups are known.
    fn dropped(&mut self, cpu: u32, count: u64, by_cgroup: CgroupLosses);
}
