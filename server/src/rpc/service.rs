//! `taskstats.v1.TaskstatsService`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use taskstats_proto::server::TaskstatsService;
use taskstats_proto::v1::batch_get_result::{Id, Result as Outcome};
use taskstats_proto::{EncodedGetPidResponse, EncodedWatchExitsResponse, v1};
use tokio::task;
use tonic::{Request, Response, Status};

use super::convert::{accounting, task_stats};
use super::frame::Framer;
use super::redact::strip;
use super::stream::WatchStream;
use super::{Node, RpcError, request};
use crate::exits::{Exits, Watcher, encode_pid_response};
use crate::security::{Caller, Callers, Redaction, Resource};
use crate::taskstats::{DelayAccounting, Kernel, KernelError, Stats, TaskId};

/// Answers the calls of the contract.
#[derive(Debug)]
pub struct Service {
    kernel: Arc<dyn Kernel>,
    exits: Arc<Exits>,
    node: Arc<Node>,
    callers: Arc<Callers>,
}

impl Service {
    /// Serves what `kernel` and `exits` say. Each request has to come through a [`super::Gate`], which
    /// says who calls.
    #[must_use]
    pub fn new(
        kernel: Arc<dyn Kernel>,
        exits: Arc<Exits>,
        node: Arc<Node>,
        callers: Arc<Callers>,
    ) -> Self {
        Self { kernel, exits, node, callers }
    }

    /// Runs `call` beside the event loop, which must not wait while the kernel walks the threads of
    /// a large process. `GetPid` is not run so: the kernel answers it in a few microseconds, less
    /// than handing it over would take.
    async fn slow<T: Send + 'static>(
        &self,
        caller: &Arc<Caller>,
        call: impl FnOnce(&dyn Kernel) -> Result<T, KernelError> + Send + 'static,
    ) -> Result<T, RpcError> {
        let slot = caller.take(Resource::SlowCall).map_err(RpcError::Full)?;
        let kernel = Arc::clone(&self.kernel);
        let run = move || {
            let _slot = slot;
            call(&*kernel)
        };
        let outcome = task::spawn_blocking(run).await;
        Ok(outcome.map_err(|_| RpcError::Defect("a call to the kernel panicked"))??)
    }

    fn started(
        &self,
        watcher: &Watcher,
        cpumask: String,
        resume_after: Option<v1::Cursor>,
        framer: &Framer,
    ) -> Result<EncodedWatchExitsResponse, RpcError> {
        // A stream that breaks before the loss was told must be told it again.
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
        let id = request::pid(request.get_ref().pid)?;
        let stats = self.kernel.query(id).map_err(RpcError::from)?;
        let accounting = self.kernel.delay_accounting();
        let Some(redaction) = redaction else {
            let encoded = encode_pid_response(&stats, accounting);
            return Ok(Response::new(EncodedGetPidResponse::from_parts(vec![encoded.into()])));
        };
        let stats = Some(shown(&stats, accounting, Some(redaction)));
        Ok(Response::new(EncodedGetPidResponse::from(&v1::GetPidResponse { stats })))
    }

    async fn get_tgid(
        &self,
        request: Request<v1::GetTgidRequest>,
    ) -> Result<Response<v1::GetTgidResponse>, Status> {
        let caller = caller(&request)?;
        let redaction = caller.redaction();
        let v1::GetTgidRequest { tgid, include_threads } = request.into_inner();
        let id = request::tgid(tgid)?;
        let answer = self.slow(&caller, move |kernel| {
            let accounting = kernel.delay_accounting();
            let stats = Some(shown(&kernel.query(id)?, accounting, redaction));
            let threads = if include_threads { threads(kernel, tgid)? } else { Vec::new() };
            let threads = threads.iter().map(|stats| shown(stats, accounting, redaction));
            Ok(v1::GetTgidResponse { stats, threads: threads.collect() })
        });
        Ok(Response::new(answer.await?))
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        let caller = caller(&request)?;
        let redaction = caller.redaction();
        let ids = request::batch(request.get_ref())?;
        let answer = self.slow(&caller, move |kernel| {
            let accounting = kernel.delay_accounting();
            let accounts = kernel.query_many(&ids)?;
            let results = ids.iter().zip(accounts).map(|(id, account)| {
                batch_result(*id, account.map(|stats| shown(&stats, accounting, redaction)))
            });
            Ok(results.collect())
        });
        Ok(Response::new(v1::BatchGetResponse { results: answer.await? }))
    }

    async fn watch_exits(
        &self,
        request: Request<v1::WatchExitsRequest>,
    ) -> Result<Response<Self::WatchExitsStream>, Status> {
        let caller = caller(&request)?;
        let possible = self.kernel.possible_cpus();
        let watch = request::watch(request.get_ref(), &self.node.instance_id, possible)?;
        let resume_after = request.into_inner().resume_after;
        let slot = caller.take(Resource::Watcher).map_err(RpcError::Full)?;
        let cpumask = watch.selection.cpus().to_string();
        let watcher = self.exits.watch(watch.selection, watch.options).await;
        let watcher = watcher.map_err(RpcError::from)?;
        let framer = Framer { instance_id: self.node.instance_id.clone() };
        let started = self.started(&watcher, cpumask, resume_after, &framer)?;
        let redaction = caller.redaction();
        let stream = WatchStream { watcher, framer, redaction, _slot: slot };
        Ok(Response::new(Box::pin(stream.messages(started))))
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        let caller = caller(&request)?;
        let (node, exits) = (Arc::clone(&self.node), Arc::clone(&self.exits));
        let (kernel, callers) = (Arc::clone(&self.kernel), Arc::clone(&self.callers));
        let answer = self.slow(&caller, move |_| Ok(node.describe(&kernel, &exits, &callers)));
        Ok(Response::new(answer.await?))
    }
}

/// Who calls, as the gate said.
fn caller<T>(request: &Request<T>) -> Result<Arc<Caller>, RpcError> {
    let caller = request.extensions().get::<Arc<Caller>>();
    caller.cloned().ok_or(RpcError::Defect("a call came by no gate"))
}

/// An account as a caller may see it.
fn shown(
    stats: &Stats,
    accounting: DelayAccounting,
    redaction: Option<Redaction>,
) -> v1::TaskStats {
    let mut shown = task_stats(stats, accounting);
    if let Some(redaction) = redaction {
        strip(&mut shown, redaction);
    }
    shown
}

/// The accounts of a group's threads. Those that end meanwhile are left out.
fn threads(kernel: &dyn Kernel, tgid: u32) -> Result<Vec<Stats>, KernelError> {
    let ids: Vec<TaskId> = kernel.threads(tgid)?.into_iter().map(TaskId::Pid).collect();
    let accounts = kernel.query_many(&ids)?;
    let gone =
        |account: &Result<Stats, KernelError>| matches!(account, Err(KernelError::NoSuchTask(_)));
    accounts.into_iter().filter(|account| !gone(account)).collect()
}

fn batch_result(id: TaskId, account: Result<v1::TaskStats, KernelError>) -> v1::BatchGetResult {
    let (id, checked) = match id {
        TaskId::Pid(pid) => (Id::Pid(pid), request::pid(pid)),
        TaskId::Tgid(tgid) => (Id::Tgid(tgid), request::tgid(tgid)),
    };
    let outcome = checked.and_then(|_| account.map_err(RpcError::from));
    let result = match outcome {
        Ok(stats) => Outcome::Stats(stats),
        Err(error) => {
            let status = Status::from(error);
            Outcome::Error(v1::BatchGetError {
                code: status.code().into(),
                message: status.message().to_owned(),
            })
        }
    };
    v1::BatchGetResult { id: Some(id), result: Some(result) }
}
