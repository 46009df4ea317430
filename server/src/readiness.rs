//! Readiness: whether exits can be watched. A prober tests it at the start, and again while the agent runs.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task;
use tokio::time::{Instant, sleep_until, timeout};

use crate::advice::{Cause, HasCause};
use crate::backoff::Backoff;
use crate::taskstats::{Kernel, KernelError};

/// The shortest delay before a failed self-test is repeated.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// The longest delay: an operator who has removed the cause does not wait longer.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// The shortest time between two tests, however many are requested.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The result of the last test: exits can be watched, or the error that prevents it.
pub(crate) type Verdict = Result<(), Arc<KernelError>>;

/// The current verdict. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    verdict: watch::Receiver<Verdict>,
    rechecks: Arc<Notify>,
}

/// The task that tests the kernel whenever there is a reason to.
#[derive(Debug)]
pub(crate) struct Prober {
    kernel: Arc<dyn Kernel>,
    verdict: watch::Sender<Verdict>,
    rechecks: Arc<Notify>,
    tried_at: Instant,
    /// Set while the last test could not be made.
    untested: bool,
}

impl Readiness {
    /// Returns the last verdict.
    ///
    /// # Errors
    /// The error that prevents watching exits.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    /// Requests another test, because a call failed that should not with this verdict, or was refused because
    /// of it.
    pub(crate) fn recheck(&self) {
        self.rechecks.notify_one();
    }

    /// Requests another test if an error is caused by the agent's environment or resources, and not by the
    /// query.
    pub(crate) fn on_kernel_error(&self, error: &KernelError) {
        if !matches!(error, KernelError::NoSuchTask(_) | KernelError::HiddenThreads(_)) {
            self.recheck();
        }
    }

    /// Waits for a verdict other than the last one that was seen; `None` if the prober has ended.
    pub(crate) async fn next(&mut self) -> Option<Verdict> {
        self.verdict.changed().await.ok()?;
        Some(self.verdict.borrow_and_update().clone())
    }
}

impl Prober {
    /// Tests the kernel for the first time. If it accepts a registration and nothing more can be tested, the
    /// verdict is good.
    pub(crate) async fn start(kernel: Arc<dyn Kernel>) -> (Self, Readiness) {
        let mut untested = false;
        let first = judge(probe(&kernel).await, &mut untested).unwrap_or(Ok(()));
        log_change(&Ok(()), &first);
        let (sender, verdict) = watch::channel(first);
        let rechecks = Arc::new(Notify::new());
        let readiness = Readiness { verdict, rechecks: Arc::clone(&rechecks) };
        (Self { kernel, verdict: sender, rechecks, tried_at: Instant::now(), untested }, readiness)
    }

    /// Keeps the verdict current until the future is dropped. With a good verdict there is no timer. A verdict
    /// that cannot be tested stays, and is tested again later.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        let mut delay = backoff.next_delay();
        loop {
            if self.verdict.borrow().is_ok() && !self.untested {
                backoff.reset();
                delay = backoff.next_delay();
                self.rechecks.notified().await;
            } else if timeout(delay, self.rechecks.notified()).await.is_err() {
                delay = backoff.next_delay();
            }
            sleep_until(self.tried_at + MIN_INTERVAL).await;
            let tried = probe(&self.kernel).await;
            self.tried_at = Instant::now();
            let Some(verdict) = judge(tried, &mut self.untested) else { continue };
            self.verdict.send_if_modified(|last| {
                let changed = log_change(last, &verdict);
                *last = verdict;
                changed
            });
        }
    }
}

/// Tests the kernel on a thread beside the event loop, because the test waits for exits.
async fn probe(kernel: &Arc<dyn Kernel>) -> Result<(), KernelError> {
    let kernel = Arc::clone(kernel);
    let tried = task::spawn_blocking(move || kernel.check_exits()).await;
    tried.unwrap_or(Err(KernelError::BadReply { operation: "the self-test" }))
}

/// Returns the verdict of a test; `None` if it could not be made, which is logged once.
fn judge(tried: Result<(), KernelError>, untested: &mut bool) -> Option<Verdict> {
    let was_untested = std::mem::replace(untested, false);
    match tried {
        Err(error @ KernelError::NotTested { .. }) => {
            *untested = true;
            if !was_untested {
                tracing::warn!(fix = fix(&error), "{error}");
            }
            None
        }
        tried => Some(tried.map_err(Arc::new)),
    }
}

/// Logs a change of the verdict, and returns whether it changed.
fn log_change(last: &Verdict, verdict: &Verdict) -> bool {
    match (last, verdict) {
        (Ok(()), Ok(())) => return false,
        (Err(last), Err(now)) if has_same_cause(last, now) => return false,
        (_, Err(error)) => tracing::warn!(fix = fix(error), "exits cannot be watched: {error}"),
        (Err(_), Ok(())) => tracing::info!("exits can be watched again"),
    }
    true
}

fn fix(error: &KernelError) -> Option<&'static str> {
    error.cause().map(Cause::advice_here)
}

/// Returns whether two errors have the same cause, though it may have appeared at another call or CPU.
fn has_same_cause(one: &KernelError, other: &KernelError) -> bool {
    match (one, other) {
        (
            KernelError::WrongNamespace { namespace: one },
            KernelError::WrongNamespace { namespace: other },
        ) => one == other,
        (KernelError::System { source: one, .. }, KernelError::System { source: other, .. }) => {
            one.raw_os_error() == other.raw_os_error()
        }
        _ => discriminant(one) == discriminant(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::taskstats::{
        Cpumask, DelayAccounting, ExitListener, KeptSocket, SelfTest, Stats, TaskId,
    };

    /// A kernel whose exits arrive or not, and which counts tests.
    #[derive(Debug, Default)]
    struct FakeKernel {
        cpus: Cpumask,
        good: AtomicBool,
        /// Set if no thread can be made to end.
        untestable: AtomicBool,
        tried: AtomicUsize,
    }

    impl FakeKernel {
        fn new(good: bool) -> Arc<Self> {
            let cpus = Cpumask::from_iter([0]);
            Arc::new(Self { cpus, good: AtomicBool::new(good), ..Self::default() })
        }

        fn tried(&self) -> usize {
            self.tried.load(Ordering::SeqCst)
        }
    }

    impl Kernel for FakeKernel {
        fn query(&self, id: TaskId) -> Result<Stats, KernelError> {
            Err(KernelError::NoSuchTask(id))
        }

        fn threads(&self, _: u32) -> Result<Vec<u32>, KernelError> {
            Ok(Vec::new())
        }

        fn possible_cpus(&self) -> &Cpumask {
            &self.cpus
        }

        fn online_cpus(&self) -> Result<Cpumask, KernelError> {
            Ok(self.cpus.clone())
        }

        fn delay_accounting(&self) -> DelayAccounting {
            DelayAccounting::Unknown
        }

        fn enable_delay_accounting(&self) -> Result<(), KernelError> {
            Ok(())
        }

        fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
            self.tried.fetch_add(1, Ordering::SeqCst);
            if self.untestable.load(Ordering::SeqCst) {
                return Ok(SelfTest { untested: cpus.clone(), ..SelfTest::default() });
            }
            let (delivered, missing) = match self.good.load(Ordering::SeqCst) {
                true => (cpus.clone(), Cpumask::default()),
                false => (Cpumask::default(), cpus.clone()),
            };
            Ok(SelfTest { delivered, missing, untested: Cpumask::default() })
        }

        fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError> {
            Err(KernelError::NoFamily)
        }

        fn adopt(&self, _: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError> {
            Err(KernelError::NoFamily)
        }
    }

    async fn start(kernel: &Arc<FakeKernel>) -> (Readiness, task::JoinHandle<()>) {
        let (prober, readiness) = Prober::start(Arc::clone(kernel) as Arc<dyn Kernel>).await;
        (readiness, tokio::spawn(prober.run()))
    }

    /// The verdict changes without a request when the cause is gone.
    #[tokio::test(start_paused = true)]
    async fn a_bad_verdict_is_tested_until_it_is_good() {
        let kernel = FakeKernel::new(false);
        let (mut readiness, prober) = start(&kernel).await;
        let error = readiness.verdict().unwrap_err();
        assert!(matches!(*error, KernelError::NoExitsArrive { .. }), "{error}");
        kernel.good.store(true, Ordering::SeqCst);
        let began = Instant::now();
        assert!(readiness.next().await.unwrap().is_ok());
        assert!(began.elapsed() <= MAX_DELAY, "{:?}", began.elapsed());
        prober.abort();
    }

    /// The tests of a bad verdict become less frequent, to one a minute.
    #[tokio::test(start_paused = true)]
    async fn a_bad_verdict_is_tested_at_growing_intervals() {
        let kernel = FakeKernel::new(false);
        let (_readiness, prober) = start(&kernel).await;
        tokio::time::sleep(Duration::from_secs(63)).await;
        let in_the_first_minute = kernel.tried();
        assert!((5..=8).contains(&in_the_first_minute), "{in_the_first_minute}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let later = kernel.tried() - in_the_first_minute;
        assert!((9..=20).contains(&later), "{later}");
        prober.abort();
    }

    /// A good verdict costs nothing until a call fails.
    #[tokio::test(start_paused = true)]
    async fn a_good_verdict_is_tested_only_on_request() {
        let kernel = FakeKernel::new(true);
        let (mut readiness, prober) = start(&kernel).await;
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(kernel.tried(), 1);
        readiness.on_kernel_error(&KernelError::NoSuchTask(TaskId::Pid(1)));
        kernel.good.store(false, Ordering::SeqCst);
        readiness.on_kernel_error(&KernelError::NotPermitted { operation: "x" });
        assert!(readiness.next().await.unwrap().is_err());
        prober.abort();
    }

    /// A test that cannot be made proves nothing, so the verdict stays.
    #[tokio::test(start_paused = true)]
    async fn a_verdict_that_cannot_be_tested_stays() {
        for good in [true, false] {
            let kernel = FakeKernel::new(good);
            let (mut readiness, prober) = start(&kernel).await;
            kernel.untestable.store(true, Ordering::SeqCst);
            kernel.good.store(!good, Ordering::SeqCst);
            readiness.recheck();
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!(readiness.verdict().is_ok(), good);
            assert!((10..=30).contains(&kernel.tried()), "{}", kernel.tried());
            kernel.untestable.store(false, Ordering::SeqCst);
            assert_eq!(readiness.next().await.unwrap().is_ok(), !good);
            prober.abort();
        }
    }

    /// The kernel accepted a registration, and no more is known.
    #[tokio::test(start_paused = true)]
    async fn a_kernel_that_cannot_be_tested_is_trusted() {
        let kernel = FakeKernel::new(false);
        kernel.untestable.store(true, Ordering::SeqCst);
        let error = kernel.check_exits().unwrap_err();
        assert!(matches!(error, KernelError::NotTested { .. }), "{error}");
        let (mut readiness, prober) = start(&kernel).await;
        assert!(readiness.verdict().is_ok());
        kernel.untestable.store(false, Ordering::SeqCst);
        assert!(readiness.next().await.unwrap().is_err());
        prober.abort();
    }

    /// Descriptors that ran out fail different calls, with one cause.
    #[test]
    fn one_cause_is_logged_once_whatever_call_fails() {
        let system = |operation, errno| KernelError::System {
            operation,
            source: std::io::Error::from_raw_os_error(errno),
        };
        assert!(has_same_cause(&system("epoll_create", 24), &system("socket", 24)));
        assert!(!has_same_cause(&system("socket", 24), &system("socket", 12)));
        assert!(!has_same_cause(&system("socket", 24), &KernelError::NoFamily));
    }

    /// Many failing calls do not cause many tests.
    #[tokio::test(start_paused = true)]
    async fn requests_are_fulfilled_once_a_second_at_most() {
        let kernel = FakeKernel::new(false);
        let (readiness, prober) = start(&kernel).await;
        for _ in 0..1000 {
            readiness.recheck();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!((9..=12).contains(&kernel.tried()), "{}", kernel.tried());
        prober.abort();
    }
}
