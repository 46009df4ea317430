//! An agent with scripted responses, on a unix socket in a temporary directory.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use taskstats_client::Target;
use taskstats_proto::server::{TaskstatsService, TaskstatsServiceServer};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{self, batch_get_result};
use taskstats_proto::{EncodedGetPidResponse, EncodedWatchExitsResponse};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

/// The id of the only task and process.
pub(crate) const KNOWN: u32 = 42;

/// The id of a query that has no response.
pub(crate) const SILENT: u32 = 13;

/// The end of a stream, after its messages.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Never,
    Cleanly,
    With(Status),
}

/// The responses of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) stats: v1::TaskStats,
    pub(crate) threads: Vec<v1::TaskStats>,
    /// The owner of the task and process, for callers that request it.
    pub(crate) workload: Option<v1::Workload>,
    pub(crate) node: v1::GetNodeResponse,
    pub(crate) exits: Vec<Kind>,
    pub(crate) end: End,
    /// The streams after the first one; the last of them is repeated.
    pub(crate) later: Vec<(Vec<Kind>, End)>,
    /// The health of the agent, which has the empty name.
    pub(crate) health: ServingStatus,
    /// The health of the service.
    pub(crate) service_health: ServingStatus,
    /// The error of every call, if there is one.
    pub(crate) refusal: Option<Status>,
}

/// The requests that the agent received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) watches: Vec<v1::WatchExitsRequest>,
    pub(crate) metadata: Option<MetadataMap>,
}

/// A running agent, which ends when it is dropped.
pub(crate) struct Agent {
    directory: TempDir,
    received: Arc<Mutex<Received>>,
    server: JoinHandle<()>,
}

struct Service {
    script: Script,
    received: Arc<Mutex<Received>>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            stats: v1::TaskStats::default(),
            threads: Vec::new(),
            workload: None,
            node: v1::GetNodeResponse::default(),
            exits: Vec::new(),
            end: End::Never,
            later: Vec::new(),
            health: ServingStatus::Serving,
            service_health: ServingStatus::Serving,
            refusal: None,
        }
    }
}

impl Agent {
    pub(crate) fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let received = Arc::default();
        let (status, service_status) = (script.health, script.service_health);
        let service = Service { script, received: Arc::clone(&received) };
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        let server = tokio::spawn(async move {
            let (reporter, health) = tonic_health::server::health_reporter();
            reporter.set_service_status("", status).await;
            reporter.set_service_status(taskstats_proto::SERVICE_NAME, service_status).await;
            tonic::transport::Server::builder()
                .add_service(TaskstatsServiceServer::new(service))
                .add_service(health)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { directory, received, server }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    pub(crate) fn target(&self) -> Target {
        Target::Unix { path: self.path() }
    }

    pub(crate) fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Service {
    fn record<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.received.lock().unwrap().metadata = Some(request.metadata().clone());
        self.script.refusal.clone().map_or(Ok(()), Err)
    }

    /// Returns the stream after the first `before` ones.
    fn stream(&self, before: usize) -> (Vec<Kind>, End) {
        let later = &self.script.later;
        match before.checked_sub(1).map(|at| later.get(at).or(later.last())) {
            Some(Some(stream)) => stream.clone(),
            Some(None) | None => (self.script.exits.clone(), self.script.end.clone()),
        }
    }

    async fn stats(&self, id: u32) -> Result<v1::TaskStats, Status> {
        match id {
            KNOWN => Ok(self.script.stats.clone()),
            SILENT => std::future::pending().await,
            0 => Err(Status::invalid_argument("pid must not be 0")),
            _ => Err(Status::not_found(format!("no task has id {id} (ESRCH)"))),
        }
    }

    fn owner(&self, is_requested: bool) -> (Option<v1::Workload>, i32) {
        match self.script.workload.clone().filter(|_| is_requested) {
            Some(workload) => (Some(workload), v1::Attribution::Observed.into()),
            None => (None, v1::Attribution::Unspecified.into()),
        }
    }

    async fn entry(
        &self,
        id: batch_get_result::Id,
        number: u32,
        include_workload: bool,
    ) -> v1::BatchGetResult {
        let result = match self.stats(number).await {
            Ok(stats) => batch_get_result::Result::Stats(stats),
            Err(status) => batch_get_result::Result::Error(v1::BatchGetError {
                code: status.code().into(),
                message: status.message().to_owned(),
            }),
        };
        let (workload, attribution) = self.owner(include_workload);
        v1::BatchGetResult { id: Some(id), result: Some(result), workload, attribution }
    }
}

#[tonic::async_trait]
impl TaskstatsService for Service {
    async fn get_pid(
        &self,
        request: Request<v1::GetPidRequest>,
    ) -> Result<Response<EncodedGetPidResponse>, Status> {
        self.record(&request)?;
        let stats = self.stats(request.get_ref().pid).await?;
        let (workload, attribution) = self.owner(request.get_ref().include_workload);
        let response = v1::GetPidResponse { stats: Some(stats), workload, attribution };
        Ok(Response::new(EncodedGetPidResponse::from(&response)))
    }

    async fn get_tgid(
        &self,
        request: Request<v1::GetTgidRequest>,
    ) -> Result<Response<v1::GetTgidResponse>, Status> {
        self.record(&request)?;
        let request = request.into_inner();
        let stats = self.stats(request.tgid).await?;
        let threads = if request.include_threads { self.script.threads.clone() } else { vec![] };
        let (workload, attribution) = self.owner(request.include_workload);
        let stats = Some(stats);
        Ok(Response::new(v1::GetTgidResponse { stats, threads, workload, attribution }))
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        self.record(&request)?;
        let v1::BatchGetRequest { pids, tgids, include_workload } = request.into_inner();
        let mut results = Vec::new();
        for pid in pids {
            results.push(self.entry(batch_get_result::Id::Pid(pid), pid, include_workload).await);
        }
        for tgid in tgids {
            results
                .push(self.entry(batch_get_result::Id::Tgid(tgid), tgid, include_workload).await);
        }
        Ok(Response::new(v1::BatchGetResponse { results }))
    }

    type WatchExitsStream =
        Pin<Box<dyn Stream<Item = Result<EncodedWatchExitsResponse, Status>> + Send>>;

    async fn watch_exits(
        &self,
        request: Request<v1::WatchExitsRequest>,
    ) -> Result<Response<Self::WatchExitsStream>, Status> {
        self.record(&request)?;
        let before = {
            let mut received = self.received.lock().unwrap();
            received.watches.push(request.into_inner());
            received.watches.len() - 1
        };
        let (exits, end) = self.stream(before);
        let messages = exits.into_iter().map(|kind| {
            let message = v1::WatchExitsResponse { kind: Some(kind) };
            Ok(EncodedWatchExitsResponse::from(&message))
        });
        let messages = tokio_stream::iter(messages);
        Ok(Response::new(match end {
            End::Never => Box::pin(messages.chain(tokio_stream::pending())),
            End::Cleanly => Box::pin(messages),
            End::With(status) => Box::pin(messages.chain(tokio_stream::once(Err(status)))),
        }))
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        self.record(&request)?;
        Ok(Response::new(self.script.node.clone()))
    }
}
