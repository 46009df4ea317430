//! The connection to an agent and its unary calls.

use std::time::Duration;

use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use taskstats_proto::v1::{
    BatchGetRequest, BatchGetResult, GetNodeRequest, GetNodeResponse, GetPidRequest,
    GetTgidRequest, TaskStats, batch_get_result,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::Error;
use crate::status::{self, Call};
use crate::target::Target;
use crate::tls::TlsSettings;
use crate::watch::{ExitStream, WatchRequest};

/// How long a unary call may take unless [`ClientBuilder::deadline`] says otherwise: an agent
/// answers within milliseconds, and a person waits no longer.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// How long connecting may take unless [`ClientBuilder::connect_timeout`] says otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most ids that one [`Client::batch`] may ask for; the agent refuses more.
pub const MAX_BATCH: usize = 1000;

/// Deadlines are cut to this, because the header that carries them has eight digits.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a quiet TCP connection is probed, so that an agent whose node vanished is noticed;
/// twice the interval of heartbeats.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// A connection to one agent.
///
/// Clones share the connection, which is made again when it broke and another call is made.
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
}

/// Settings of a [`Client`] before it connects.
///
/// ```no_run
/// use std::time::Duration;
/// use taskstats_client::Client;
///
/// # async fn example() -> Result<(), taskstats_client::Error> {
/// let target = "unix:///run/taskstatsd/taskstatsd.sock".parse()?;
/// let client = Client::builder().deadline(Duration::from_millis(200)).connect(target).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    connect_timeout: Duration,
    deadline: Duration,
    tls: TlsSettings,
}

/// Whether [`Client::tgid`] asks for the threads of the process too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Threads {
    /// The process alone.
    #[default]
    Omit,
    /// The process and each of its live threads.
    Include,
}

/// A live process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its account, as far as the kernel sums one over threads.
    pub stats: TaskStats,
    /// The accounts of its live threads by ascending id; empty unless they were asked for.
    pub threads: Vec<TaskStats>,
}

/// What an account is asked for by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TaskId {
    /// A task (thread).
    Pid(u32),
    /// A process (thread group).
    Tgid(u32),
}

/// What became of one id of a batch.
#[derive(Debug)]
pub struct BatchEntry {
    /// The id.
    pub id: TaskId,
    /// Its account, or why there is none.
    pub stats: Result<TaskStats, Error>,
}

impl Client {
    /// Connects to the agent at `target`, in one of the forms of [`Target`], with default settings.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] and [`Error::Unreachable`].
    pub async fn connect(target: &str) -> Result<Self, Error> {
        Self::builder().connect(target.parse()?).await
    }

    /// Returns default settings, to change and connect with.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            deadline: DEFAULT_DEADLINE,
            tls: TlsSettings::default(),
        }
    }

    /// The agent that this client is connected to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the account of a live task (thread).
    ///
    /// # Errors
    /// [`Error::NoSuchTask`] when no task has the id, [`Error::InvalidArgument`] when it is 0,
    /// [`Error::FailedPrecondition`] when the agent may not ask the kernel, and what any call can
    /// end with.
    pub async fn pid(&self, pid: u32) -> Result<TaskStats, Error> {
        let mut service = self.service.clone();
        let answer = self
            .finish(service.get_pid(self.request(GetPidRequest { pid, ..Default::default() })))
            .await?;
        answer.stats.ok_or(Error::Incomplete { field: "stats" })
    }

    /// Returns the account of a live process (thread group) and, if asked, of its threads.
    ///
    /// # Errors
    /// Those of [`Client::pid`]; [`Error::FailedPrecondition`] with reason `TOO_MANY_THREADS` when
    /// the threads do not fit into an answer.
    pub async fn tgid(&self, tgid: u32, threads: Threads) -> Result<Process, Error> {
        let include_threads = threads == Threads::Include;
        let request = self.request(GetTgidRequest { tgid, include_threads, ..Default::default() });
        let mut service = self.service.clone();
        let answer = self.finish(service.get_tgid(request)).await?;
        let stats = answer.stats.ok_or(Error::Incomplete { field: "stats" })?;
        Ok(Process { stats, threads: answer.threads })
    }

    /// Returns one entry for each id: those of `pids` in order, then those of `tgids`. A missing
    /// id fails its own entry alone.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than [`MAX_BATCH`] ids together,
    /// [`Error::FailedPrecondition`] when the agent may not ask the kernel, and what any call can
    /// end with.
    pub async fn batch(&self, pids: &[u32], tgids: &[u32]) -> Result<Vec<BatchEntry>, Error> {
        let request =
            BatchGetRequest { pids: pids.to_vec(), tgids: tgids.to_vec(), ..Default::default() };
        let mut service = self.service.clone();
        let answer = self.finish(service.batch_get(self.request(request))).await?;
        if answer.results.len() != pids.len() + tgids.len() {
            return Err(Error::Incomplete { field: "results" });
        }
        answer.results.into_iter().map(entry).collect()
    }

    /// Returns what the node and the agent are and can do.
    ///
    /// # Errors
    /// What any call can end with.
    pub async fn node(&self) -> Result<GetNodeResponse, Error> {
        let mut service = self.service.clone();
        self.finish(service.get_node(self.request(GetNodeRequest {}))).await
    }

    /// Returns whether the agent serves a service, by the standard health check. The empty name
    /// stands for the whole agent.
    ///
    /// # Errors
    /// [`Error::NoSuchService`] when the agent has no service of this name, and what any call can
    /// end with.
    pub async fn health(&self, service: &str) -> Result<ServingStatus, Error> {
        let request = self.request(HealthCheckRequest { service: service.to_owned() });
        let mut health = self.health.clone();
        match self.finish(health.check(request)).await {
            Ok(answer) => Ok(answer.status()),
            Err(Error::NoSuchTask { .. }) => {
                Err(Error::NoSuchService { service: service.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a stream of exits. The deadline holds for opening it alone; the stream has no end of
    /// its own.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a cpumask that does not parse or names a CPU that the node
    /// cannot have, a delay out of bounds, or a cursor that lies in the future; [`Error::FailedPrecondition`] when the kernel does
    /// not let the agent listen; and what any call can end with.
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

    /// Waits for an answer, no longer than the deadline: an agent that stopped would not keep it.
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

impl ClientBuilder {
    /// Sets how long connecting may take.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a unary call, and the opening of a stream, may take; at most a day. The agent
    /// is told.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(MAX_DEADLINE);
        self
    }

    /// Sets the CAs that the agent's certificate may come from, in PEM. A [`Target::Tls`] needs it:
    /// the CAs that browsers trust sign no agents.
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::builder()
    ///     .ca_certificate(std::fs::read("ca.crt")?)
    ///     .identity(std::fs::read("collector.crt")?, std::fs::read("collector.key")?)
    ///     .connect("tls://node7".parse()?)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca = Some(pem.into());
        self
    }

    /// Sets the certificate that is shown to the agent, and its private key, both in PEM.
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the agent's certificate must have, where that is not the target's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when nobody answers in time, or one side refuses the other,
    /// [`Error::InvalidTarget`] when the target makes no address, [`Error::Tls`] when certificates
    /// are missing, cannot be used, or are given for a target without TLS.
    pub async fn connect(self, target: Target) -> Result<Client, Error> {
        let endpoint = target.endpoint()?.connect_timeout(self.connect_timeout);
        let mut endpoint = self.tls.apply(&target, endpoint)?;
        if !matches!(target, Target::Unix { .. }) {
            endpoint =
                endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_while_idle(true);
        }
        match endpoint.connect().await {
            Ok(channel) => {
                let health = HealthClient::new(channel.clone());
                let service = TaskstatsServiceClient::new(channel);
                Ok(Client { service, health, target, deadline: self.deadline })
            }
            Err(error) => Err(Error::Unreachable { target, source: Box::new(error) }),
        }
    }
}

fn entry(result: BatchGetResult) -> Result<BatchEntry, Error> {
    let id = match result.id {
        Some(batch_get_result::Id::Pid(pid)) => TaskId::Pid(pid),
        Some(batch_get_result::Id::Tgid(tgid)) => TaskId::Tgid(tgid),
        None => return Err(Error::Incomplete { field: "id" }),
    };
    let stats = match result.result {
        Some(batch_get_result::Result::Stats(stats)) => Ok(stats),
        Some(batch_get_result::Result::Error(e)) => Err(status::of_entry(e.code, &e.message)),
        None => return Err(Error::Incomplete { field: "result" }),
    };
    Ok(BatchEntry { id, stats })
}
