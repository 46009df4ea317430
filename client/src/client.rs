//! The calls to an agent.

use std::time::Duration;

use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use taskstats_proto::v1::{
    Attribution, BatchGetRequest, BatchGetResult, GetNodeRequest, GetNodeResponse, GetPidRequest,
    GetTgidRequest, TaskStats, Workload, batch_get_result,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::Error;
use crate::exit_stream::ExitStream;
use crate::status::{self, Call};
use crate::target::Target;
use crate::watch_request::WatchRequest;
use crate::workloads::Owner;

/// The maximum number of ids in one [`Client::batch`]; the agent refuses more.
pub const MAX_BATCH: usize = 1000;

/// A connection to one agent.
///
/// Clones share the connection. A call after the connection broke connects again.
///
/// ```no_run
/// use taskstats_client::{Client, Threads};
///
/// # async fn example() -> Result<(), taskstats_client::Error> {
/// let client = Client::connect("tcp://node7:8275").await?;
/// let process = client.tgid(1, Threads::Include).await?;
/// println!("{} threads", process.threads.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    service: TaskstatsServiceClient<Channel>,
    health: HealthClient<Channel>,
    target: Target,
    deadline: Duration,
    include_workload: bool,
}

/// The choice of [`Client::tgid`] to request the threads of a process.
///
/// ```
/// use taskstats_client::Threads;
///
/// assert_eq!(Threads::default(), Threads::Omit);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Threads {
    /// The process alone.
    #[default]
    Omit,
    /// The process and each of its live threads.
    Include,
}

/// A live task, from [`Client::task`].
///
/// ```
/// use taskstats_client::Task;
///
/// fn cgroup(task: &Task) -> Option<&str> {
///     Some(&task.owner.as_ref()?.workload.cgroup)
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The statistics.
    pub stats: TaskStats,
    /// The owner. `None` if it is not known, or was not requested by [`Client::with_workloads`].
    pub owner: Option<Owner>,
}

/// The statistics of a live process, from [`Client::tgid`].
///
/// ```
/// use taskstats_client::Process;
///
/// fn busiest(process: &Process) -> Option<u64> {
///     process.threads.iter().filter_map(|thread| thread.cpu.as_ref()?.run_virtual_ns).max()
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// The values that the kernel adds up over the threads.
    pub stats: TaskStats,
    /// The statistics of the live threads, by ascending id; empty for [`Threads::Omit`].
    pub threads: Vec<TaskStats>,
    /// The owner of the first thread. `None` if it is not known, or was not requested by
    /// [`Client::with_workloads`].
    pub owner: Option<Owner>,
}

/// The id of a task or of a process.
///
/// ```
/// use taskstats_client::TaskId;
///
/// assert_ne!(TaskId::Pid(1), TaskId::Tgid(1));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TaskId {
    /// A task (thread).
    Pid(u32),
    /// A process (thread group).
    Tgid(u32),
}

/// The result for one id of a [`Client::batch`].
///
/// ```
/// use taskstats_client::{BatchEntry, Error};
///
/// fn is_gone(entry: &BatchEntry) -> bool {
///     matches!(entry.stats, Err(Error::NoSuchTask { .. }))
/// }
/// ```
#[derive(Debug)]
pub struct BatchEntry {
    /// The id.
    pub id: TaskId,
    /// The statistics, or the reason why there are none.
    pub stats: Result<TaskStats, Error>,
    /// The owner. `None` if it is not known, or was not requested by [`Client::with_workloads`].
    pub owner: Option<Owner>,
}

impl Client {
    pub(crate) fn new(channel: Channel, target: Target, deadline: Duration) -> Self {
        let health = HealthClient::new(channel.clone());
        let service = TaskstatsServiceClient::new(channel);
        Self { service, health, target, deadline, include_workload: false }
    }

    /// Returns a client that also requests the owner of each task and process: its cgroup, and the
    /// container, pod and units that the cgroup belongs to. Each costs the agent one more read.
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// let task = client.with_workloads().task(std::process::id()).await?;
    /// println!("{:?}", task.owner.map(|owner| owner.workload.cgroup));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_workloads(self) -> Self {
        Self { include_workload: true, ..self }
    }

    /// Returns the address of the agent.
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// println!("connected to {}", client.target());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the statistics of a live task (thread).
    ///
    /// # Errors
    /// - [`Error::NoSuchTask`] when no task has the id.
    /// - [`Error::InvalidArgument`] for the id 0.
    /// - [`Error::FailedPrecondition`] when the kernel does not permit the agent to query it.
    /// - The errors of any call: [`Error::Unauthenticated`], [`Error::PermissionDenied`],
    ///   [`Error::ResourceExhausted`], [`Error::Unavailable`], [`Error::DeadlineExceeded`],
    ///   [`Error::Disconnected`], [`Error::Unreachable`], and [`Error::Internal`].
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// let stats = client.pid(std::process::id()).await?;
    /// println!("{:?} µs of wall time", stats.elapsed_us);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pid(&self, pid: u32) -> Result<TaskStats, Error> {
        Ok(self.task(pid).await?.stats)
    }

    /// Returns a live task (thread) and, after [`Client::with_workloads`], its owner.
    ///
    /// # Errors
    /// The errors of [`Client::pid`].
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// let task = client.with_workloads().task(std::process::id()).await?;
    /// println!("{:?} of {:?}", task.stats.cpu, task.owner);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn task(&self, pid: u32) -> Result<Task, Error> {
        let request = GetPidRequest { pid, include_workload: self.include_workload };
        let mut service = self.service.clone();
        let response = self.finish(service.get_pid(self.request(request))).await?;
        let owner = owner(response.attribution(), response.workload);
        Ok(Task { stats: response.stats.ok_or(Error::Incomplete { field: "stats" })?, owner })
    }

    /// Returns the statistics of a live process (thread group) and, if requested, of its threads.
    ///
    /// # Errors
    /// - [`Error::FailedPrecondition`] with the reason `TOO_MANY_THREADS` when the threads do not fit
    ///   into a response.
    /// - The errors of [`Client::pid`].
    ///
    /// ```no_run
    /// use taskstats_client::{Client, Threads};
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// let process = client.tgid(std::process::id(), Threads::Include).await?;
    /// for thread in process.threads {
    ///     println!("{:?}", thread.identity);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tgid(&self, tgid: u32, threads: Threads) -> Result<Process, Error> {
        let include_threads = threads == Threads::Include;
        let include_workload = self.include_workload;
        let request = self.request(GetTgidRequest { tgid, include_threads, include_workload });
        let mut service = self.service.clone();
        let response = self.finish(service.get_tgid(request)).await?;
        let owner = owner(response.attribution(), response.workload);
        let stats = response.stats.ok_or(Error::Incomplete { field: "stats" })?;
        Ok(Process { stats, threads: response.threads, owner })
    }

    /// Returns one entry for each id: those of `pids` in order, then those of `tgids`.
    ///
    /// A missing id is an entry with an error, and does not affect the others.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] for more than [`MAX_BATCH`] ids together.
    /// - The errors of [`Client::pid`], other than [`Error::NoSuchTask`].
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// for entry in client.batch(&[1, 2], &[1]).await? {
    ///     match entry.stats {
    ///         Ok(stats) => println!("{:?}: {:?}", entry.id, stats.cpu),
    ///         Err(error) => println!("{:?}: {error}", entry.id),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch(&self, pids: &[u32], tgids: &[u32]) -> Result<Vec<BatchEntry>, Error> {
        let (pids, tgids) = (pids.to_vec(), tgids.to_vec());
        let requested = pids.len() + tgids.len();
        let include_workload = self.include_workload;
        let request = BatchGetRequest { pids, tgids, include_workload };
        let mut service = self.service.clone();
        let response = self.finish(service.batch_get(self.request(request))).await?;
        if response.results.len() != requested {
            return Err(Error::Incomplete { field: "results" });
        }
        response.results.into_iter().map(entry).collect()
    }

    /// Returns the state of the node and of the agent.
    ///
    /// # Errors
    /// The errors of any call, as in [`Client::pid`].
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// let node = client.node().await?;
    /// println!("{} runs Linux {}", node.node_name, node.kernel_release);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn node(&self) -> Result<GetNodeResponse, Error> {
        let mut service = self.service.clone();
        self.finish(service.get_node(self.request(GetNodeRequest {}))).await
    }

    /// Returns the status of a service, from the standard health check.
    ///
    /// The empty name is that of the whole agent.
    ///
    /// # Errors
    /// - [`Error::NoSuchService`] when the agent has no service of this name.
    /// - The errors of any call, as in [`Client::pid`].
    ///
    /// ```no_run
    /// use taskstats_client::{Client, ServingStatus};
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// if client.health("").await? == ServingStatus::Serving {
    ///     println!("the agent serves");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn health(&self, service: &str) -> Result<ServingStatus, Error> {
        let request = self.request(HealthCheckRequest { service: service.to_owned() });
        let mut health = self.health.clone();
        match self.finish(health.check(request)).await {
            Ok(response) => Ok(response.status()),
            Err(Error::NoSuchTask { .. }) => {
                Err(Error::NoSuchService { service: service.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a stream of exits.
    ///
    /// The deadline applies to the opening alone. The stream continues until the agent drains or the
    /// connection breaks.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] for a CPU list that does not parse or names a CPU that the node
    ///   cannot have, for a batch delay above 10 s, and for a cursor that lies in the future.
    /// - [`Error::FailedPrecondition`] when the kernel does not permit the agent to listen.
    /// - The errors of any call, as in [`Client::pid`].
    ///
    /// ```no_run
    /// use taskstats_client::{Client, WatchRequest};
    ///
    /// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
    /// let mut exits = client.watch(WatchRequest::new()).await?;
    /// while let Some(event) = exits.next().await {
    ///     println!("{:?}", event?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(&self, request: WatchRequest) -> Result<ExitStream, Error> {
        let mut service = self.service.clone();
        let stream = self.finish(service.watch_exits(request.into_message()?)).await?;
        Ok(ExitStream::new(stream, self.target.clone(), self.deadline))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    /// Waits for a response until the deadline. The agent keeps deadlines too, unless it is stopped.
    async fn finish<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let deadline = self.deadline;
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Call { target: &self.target, deadline }.error(status)),
            Err(_) => Err(Error::DeadlineExceeded { deadline }),
        }
    }
}

fn entry(result: BatchGetResult) -> Result<BatchEntry, Error> {
    let id = match result.id {
        Some(batch_get_result::Id::Pid(pid)) => TaskId::Pid(pid),
        Some(batch_get_result::Id::Tgid(tgid)) => TaskId::Tgid(tgid),
        None => return Err(Error::Incomplete { field: "id" }),
    };
    let owner = owner(result.attribution(), result.workload);
    let stats = match result.result {
        Some(batch_get_result::Result::Stats(stats)) => Ok(stats),
        Some(batch_get_result::Result::Error(e)) => Err(status::of_entry(e.code, &e.message)),
        None => return Err(Error::Incomplete { field: "result" }),
    };
    Ok(BatchEntry { id, stats, owner })
}

fn owner(attribution: Attribution, workload: Option<Workload>) -> Option<Owner> {
    Some(Owner { workload: workload?, attribution })
}
