//! The service `taskstats.v1.TaskstatsService`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use prost::Message;
use taskstats_proto::server::TaskstatsService;
use taskstats_proto::v1::batch_get_result::Result as Outcome;
use taskstats_proto::{EncodedGetPidResponse, EncodedWatchExitsResponse, v1};
use tokio::task;
use tonic::{Request, Response, Status};

use super::convert::accounting;
use super::frame::Framer;
use super::queries::Queries;
use super::slow_call::SlowCall;
use super::statistics;
use super::stream::WatchStream;
use super::turns::Turns;
use super::workload::{self, SentWorkloads};
use super::{Node, RpcError, redact, request};
use crate::encode::encode_pid_response;
use crate::exits::{Exits, WatchError, Watcher};
use crate::readiness::Readiness;
use crate::security::{Caller, Callers, Resource};
use crate::taskstats::{Kernel, KernelError, TaskId};
use crate::workload::LiveWorkloads;

/// Implements the service.
#[derive(Debug)]
pub(crate) struct Service {
    kernel: Arc<dyn Kernel>,
    exits: Arc<Exits>,
    node: Arc<Node>,
    readiness: Readiness,
    callers: Arc<Callers>,
    workloads: Arc<LiveWorkloads>,
    turns: Arc<Turns>,
    queries: Queries,
}

impl Service {
    /// Returns the service. Each request needs its `Caller` among the extensions, which the layers
    /// of `serve` put there. Needs a tokio runtime.
    #[must_use]
    pub(crate) fn new(
        kernel: Arc<dyn Kernel>,
        exits: Arc<Exits>,
        node: Arc<Node>,
        readiness: Readiness,
        callers: Arc<Callers>,
        workloads: LiveWorkloads,
    ) -> Self {
        let (workloads, turns) = (Arc::new(workloads), Arc::new(Turns::start()));
        let queries = Queries::start(Arc::clone(&kernel));
        Self { kernel, exits, node, readiness, callers, workloads, turns, queries }
    }

    /// Runs `call` on a thread beside the event loop, which must not wait while the kernel walks the
    /// threads of a large process. `GetPid` runs on the event loop: its few microseconds in the kernel
    /// are less than a hand-over costs.
    ///
    /// The call holds one permit for slow calls, and more if `call` acquires more.
    async fn slow<T: Send + 'static>(
        &self,
        caller: &Arc<Caller>,
        call: impl FnOnce(&dyn Kernel, &mut SlowCall) -> Result<T, RpcError> + Send + 'static,
    ) -> Result<Response<T>, RpcError> {
        let mut permits = SlowCall::begin(caller)?;
        let kernel = Arc::clone(&self.kernel);
        let run = move || call(&*kernel, &mut permits).map(|response| (response, permits));
        let outcome = task::spawn_blocking(run).await;
        let response = outcome.map_err(|_| RpcError::Internal("a call to the kernel panicked"))?;
        let (response, permits) = response.inspect_err(|error| self.check_readiness(error))?;
        let mut response = Response::new(response);
        // `serve` holds them until the response is sent, because it may be large.
        response.extensions_mut().insert(permits.into_permits());
        Ok(response)
    }

    /// Converts an error of the kernel, which can mean that exits cannot be watched any more.
    fn failed(&self, error: KernelError) -> RpcError {
        let error = error.into();
        self.check_readiness(&error);
        error
    }

    fn check_readiness(&self, error: &RpcError) {
        if let RpcError::Kernel(error) = error {
            self.readiness.on_kernel_error(error);
        }
    }

    /// Begins to watch, unless the last self-test showed that exits cannot be watched. If its cause may
    /// be gone, as after running out of descriptors, the kernel is queried nevertheless.
    async fn watcher(&self, watch: request::Watch) -> Result<Watcher, RpcError> {
        if let Err(error) = self.readiness.verdict() {
            self.readiness.recheck();
            if error.is_precondition() {
                return Err(RpcError::ExitsUnavailable(error));
            }
        }
        let watcher = self.exits.watch(watch.selection, watch.options).await;
        watcher.map_err(|error| match error {
            WatchError::Kernel(error) => self.failed(error),
            WatchError::Future(_) | WatchError::Ended => error.into(),
        })
    }

    fn started(
        &self,
        watcher: &Watcher,
        cpumask: String,
        resume_after: Option<v1::Cursor>,
        framer: &Framer,
    ) -> Result<EncodedWatchExitsResponse, RpcError> {
        // A stream that breaks before the loss was sent must receive it after it resumes.
        let cursor = resume_after.filter(|_| watcher.begins_with_loss());
        let cursor = cursor.unwrap_or_else(|| framer.cursor(watcher.cursor()));
        Ok(framer.started(v1::WatchStarted {
            cpumask,
            instance_id: self.node.instance_id.clone(),
            cursor: Some(cursor),
            taskstats_version: self.node.version(&*self.kernel)?.into(),
            delay_accounting: accounting(self.kernel.delay_accounting()).into(),
            node_name: self.node.name.clone(),
            boot_id: self.node.boot_id.clone(),
        }))
    }
}

#[tonic::async_trait]
impl TaskstatsService for Service {
    type WatchExitsStream =
        Pin<Box<dyn Stream<Item = Result<EncodedWatchExitsResponse, Status>> + Send>>;

    async fn get_pid(
        &self,
        request: Request<v1::GetPidRequest>,
    ) -> Result<Response<EncodedGetPidResponse>, Status> {
        let redaction = caller(&request)?.redaction();
        let v1::GetPidRequest { pid, include_workload } = request.into_inner();
        let id = request::pid(pid)?;
        let task = include_workload.then(|| self.workloads.open(pid)).flatten();
        let stats = self.queries.query(id).await?.map_err(|error| self.failed(error))?;
        let accounting = self.kernel.delay_accounting();
        let mut encoded = match redaction {
            None => encode_pid_response(&stats, accounting),
            Some(redaction) => redact::encode_pid_response(&stats, accounting, redaction),
        };
        if let (Some(workload), attribution) = workload::of_live(task.as_ref()) {
            let response =
                v1::GetPidResponse { stats: None, workload: Some(workload), attribution };
            // Fields of one message may be encoded one after the other.
            response.encode(&mut encoded).map_err(|_| RpcError::Internal("a buffer is full"))?;
        }
        Ok(Response::new(EncodedGetPidResponse::from_parts(vec![encoded.into()])))
    }

    async fn get_tgid(
        &self,
        request: Request<v1::GetTgidRequest>,
    ) -> Result<Response<v1::GetTgidResponse>, Status> {
        let caller = caller(&request)?;
        let redaction = caller.redaction();
        let v1::GetTgidRequest { tgid, include_threads, include_workload } = request.into_inner();
        request::tgid(tgid)?;
        let workloads = Arc::clone(&self.workloads);
        let response = self.slow(&caller, move |kernel, permits| {
            let task = include_workload.then(|| workloads.open(tgid)).flatten();
            let mut response = statistics::process(kernel, tgid, include_threads, permits)?;
            (response.workload, response.attribution) = workload::of_live(task.as_ref());
            if let Some(redaction) = redaction {
                redact::strip_process(&mut response, redaction);
            }
            Ok(response)
        });
        Ok(response.await?)
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        let caller = caller(&request)?;
        let redaction = caller.redaction();
        let ids = request::batch(request.get_ref())?;
        let include_workload = request.get_ref().include_workload;
        let workloads = Arc::clone(&self.workloads);
        let response = self.slow(&caller, move |kernel, _| {
            let open = |id: &TaskId| match id {
                TaskId::Pid(id) | TaskId::Tgid(id) => workloads.open(*id),
            };
            let tasks: Vec<_> =
                if include_workload { ids.iter().map(open).collect() } else { Vec::new() };
            let mut results = statistics::batch(kernel, &ids)?;
            for (result, task) in results.iter_mut().zip(&tasks) {
                if matches!(result.result, Some(Outcome::Stats(_))) {
                    (result.workload, result.attribution) = workload::of_live(task.as_ref());
                }
            }
            if let Some(redaction) = redaction {
                redact::strip_batch(&mut results, redaction);
            }
            Ok(results)
        });
        Ok(response.await?.map(|results| v1::BatchGetResponse { results }))
    }

    async fn watch_exits(
        &self,
        request: Request<v1::WatchExitsRequest>,
    ) -> Result<Response<Self::WatchExitsStream>, Status> {
        let caller = caller(&request)?;
        let possible = self.kernel.possible_cpus();
        let watch = request::watch(request.get_ref(), &self.node.instance_id, possible)?;
        let resume_after = request.into_inner().resume_after;
        let permit = caller.acquire(Resource::Watcher).map_err(RpcError::LimitReached)?;
        let cpumask = watch.selection.cpus().to_string();
        let watcher = self.watcher(watch).await?;
        let framer = Framer { instance_id: self.node.instance_id.clone() };
        let started = self.started(&watcher, cpumask, resume_after, &framer)?;
        let redaction = caller.redaction();
        let turns = Arc::clone(&self.turns);
        let sent = SentWorkloads::default();
        let stream = WatchStream { watcher, framer, turns, redaction, sent, _permit: permit };
        Ok(Response::new(Box::pin(stream.messages(started))))
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        let caller = caller(&request)?;
        let (node, exits) = (Arc::clone(&self.node), Arc::clone(&self.exits));
        let (kernel, callers) = (Arc::clone(&self.kernel), Arc::clone(&self.callers));
        let verdict = self.readiness.verdict();
        if verdict.is_err() {
            self.readiness.recheck();
        }
        let describe = move |_: &dyn Kernel, _: &mut SlowCall| {
            Ok(node.describe(&kernel, &exits, &verdict, &callers))
        };
        let response = self.slow(&caller, describe);
        Ok(response.await?)
    }
}

/// Returns the caller, which the layers of `serve` put into the request.
fn caller<T>(request: &Request<T>) -> Result<Arc<Caller>, RpcError> {
    let caller = request.extensions().get::<Arc<Caller>>();
    caller.cloned().ok_or(RpcError::Internal("a request has no caller"))
}
