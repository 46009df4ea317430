//! Queries of single tasks, made together where each one alone would cost a round trip to another process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::RpcError;
use crate::taskstats::{Kernel, KernelError, Stats, TaskId};

/// The most queries that are made together.
const MAX_TOGETHER: usize = 32;
/// After a query, further ones wait for others if they begin within this time: their calls became ready while
/// the event loop was occupied. A lone caller needs longer to receive a response and to call again.
const SHORTLY: Duration = Duration::from_micros(25);
/// The same after several queries were made together: there are several callers.
const AMONG_OTHERS: Duration = Duration::from_millis(1);

type Queried = Result<Stats, KernelError>;

/// Queries single tasks from the event loop.
#[derive(Debug)]
pub(super) struct Queries {
    kernel: Arc<dyn Kernel>,
    queue: mpsc::UnboundedSender<Query>,
    company: Arc<Company>,
    /// Makes the queries. The task does not depend on any of the calls, which can be cancelled.
    _querying: AbortOnDropHandle<()>,
}

/// Whether there are several callers, so that a query should wait for theirs.
#[derive(Debug, Default)]
struct Company {
    /// There are, until then.
    until: Mutex<Option<Instant>>,
}

/// A query that waits for others which became ready in the same turn of the event loop.
#[derive(Debug)]
struct Query {
    id: TaskId,
    result: oneshot::Sender<Queried>,
}

impl Queries {
    /// Starts to query, on the current runtime.
    pub(super) fn start(kernel: Arc<dyn Kernel>) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let company = Arc::default();
        let querying = query_together(Arc::clone(&kernel), waiting, Arc::clone(&company));
        let querying = AbortOnDropHandle::new(tokio::spawn(querying));
        Self { kernel, queue, company, _querying: querying }
    }

    /// Queries one task: at once where that is a system call of this process.
    pub(super) async fn query(&self, id: TaskId) -> Result<Queried, RpcError> {
        if !self.kernel.is_remote() {
            return Ok(self.kernel.query(id));
        }
        if self.kernel.answers_at_once() && !self.company.is_there() {
            let queried = self.kernel.query(id);
            self.company.note(1);
            return Ok(queried);
        }
        let (result, queried) = oneshot::channel();
        // An error means that the task panicked, as the one of `queried` then shows.
        drop(self.queue.send(Query { id, result }));
        queried.await.map_err(|_| RpcError::Internal("a query of the kernel panicked"))
    }
}

impl Company {
    fn is_there(&self) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Records that so many queries were made together.
    fn note(&self, queries: usize) {
        let lasting = if queries > 1 { AMONG_OTHERS } else { SHORTLY };
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + lasting);
    }
}

/// Makes queries until all senders are gone. Those that are ready when the task has its turn are made
/// together.
async fn query_together(
    kernel: Arc<dyn Kernel>,
    mut waiting: mpsc::UnboundedReceiver<Query>,
    company: Arc<Company>,
) {
    let mut queries = Vec::new();
    while waiting.recv_many(&mut queries, MAX_TOGETHER).await > 0 {
        let ids = queries.iter().map(|query| query.id).collect();
        let results = if kernel.answers_at_once() {
            query_all(&*kernel, ids)
        } else {
            // Others of the event loop need not wait for the query that is running.
            let kernel = Arc::clone(&kernel);
            // After a panic the callers see that their results never come.
            spawn_blocking(move || query_all(&*kernel, ids)).await.unwrap_or_default()
        };
        company.note(queries.len());
        for (query, result) in queries.drain(..).zip(results) {
            // An error means that the call was cancelled.
            drop(query.result.send(result));
        }
    }
}

fn query_all(kernel: &dyn Kernel, ids: Vec<TaskId>) -> Vec<Queried> {
    match kernel.query_many(&ids) {
        Ok(results) => results,
        // An error of one is an error of all, so each has its own.
        Err(_) => ids.into_iter().map(|id| kernel.query(id)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::taskstats::{
        Cpumask, DelayAccounting, ExitListener, KeptSocket, LinuxKernel, SelfTest,
    };

    /// The running kernel, as if another process queried it.
    #[derive(Debug)]
    struct Remote {
        kernel: LinuxKernel,
        /// Round trips to the process.
        trips: AtomicUsize,
        answers_at_once: bool,
        fails: bool,
    }

    impl Remote {
        fn new(answers_at_once: bool, fails: bool) -> Arc<Self> {
            let kernel = LinuxKernel::new(4096).unwrap();
            Arc::new(Self { kernel, trips: AtomicUsize::new(0), answers_at_once, fails })
        }

        fn trip(&self) {
            self.trips.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Kernel for Remote {
        fn is_remote(&self) -> bool {
            true
        }

        fn answers_at_once(&self) -> bool {
            self.answers_at_once
        }

        fn query(&self, id: TaskId) -> Queried {
            self.trip();
            if self.fails { Err(KernelError::NoFamily) } else { self.kernel.query(id) }
        }

        fn query_many(&self, ids: &[TaskId]) -> Result<Vec<Queried>, KernelError> {
            self.trip();
            if self.fails { Err(KernelError::NoFamily) } else { self.kernel.query_many(ids) }
        }

        fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError> {
            self.kernel.threads(tgid)
        }

        fn possible_cpus(&self) -> &Cpumask {
            self.kernel.possible_cpus()
        }

        fn online_cpus(&self) -> Result<Cpumask, KernelError> {
            self.kernel.online_cpus()
        }

        fn delay_accounting(&self) -> DelayAccounting {
            self.kernel.delay_accounting()
        }

        fn enable_delay_accounting(&self) -> Result<(), KernelError> {
            self.kernel.enable_delay_accounting()
        }

        fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
            self.kernel.self_test(cpus)
        }

        fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError> {
            self.kernel.listen()
        }

        fn adopt(&self, sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError> {
            self.kernel.adopt(sockets)
        }
    }

    const CALLERS: usize = 3 * MAX_TOGETHER;

    /// Queries own and missing tasks alternately, all at once.
    async fn query_alternately(kernel: Arc<Remote>) -> Vec<Queried> {
        let queries = Queries::start(kernel);
        let own = TaskId::Pid(std::process::id());
        let ids = [own, TaskId::Pid(u32::MAX)].into_iter().cycle().take(CALLERS);
        let results = join_all(ids.map(|id| queries.query(id))).await;
        results.into_iter().collect::<Result<_, _>>().unwrap()
    }

    /// A caller that is not alone shares a round trip, and each gets the result of its own task.
    #[tokio::test]
    async fn queries_that_are_ready_together_share_round_trips() {
        for answers_at_once in [true, false] {
            let kernel = Remote::new(answers_at_once, false);
            for (index, result) in query_alternately(Arc::clone(&kernel)).await.iter().enumerate() {
                assert_eq!(result.is_ok(), index % 2 == 0, "{index}: {result:?}");
            }
            let trips = kernel.trips.load(Ordering::Relaxed);
            // The first one may find itself alone, also after a pause of this thread.
            assert!(trips <= CALLERS / 2, "{trips} round trips");
        }
    }

    #[tokio::test]
    async fn a_lone_query_is_made_at_once() {
        let kernel = Remote::new(true, false);
        let queries = Queries::start(Arc::clone(&kernel) as Arc<dyn Kernel>);
        queries.query(TaskId::Pid(std::process::id())).await.unwrap().unwrap();
        assert_eq!(kernel.trips.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_reaches_every_caller() {
        for result in query_alternately(Remote::new(false, true)).await {
            assert!(matches!(result, Err(KernelError::NoFamily)), "{result:?}");
        }
    }

    /// A call that is cancelled while it waits does not end others.
    #[tokio::test]
    async fn a_cancelled_call_leaves_others_answered() {
        let queries = Queries::start(Remote::new(false, false));
        let own = TaskId::Pid(std::process::id());
        let mut cancelled = Box::pin(queries.query(own));
        assert!(futures_util::poll!(&mut cancelled).is_pending());
        drop(cancelled);
        queries.query(own).await.unwrap().unwrap();
    }
}
