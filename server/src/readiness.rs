//! Whether exits can be watched: found out at the start, and kept true while the agent runs.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::taskstats::{Kernel, KernelError};

/// The shortest delay before a failed self-test is repeated.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// The longest delay: an operator who has removed the cause does not wait longer.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// However many rechecks there are, the kernel is tried at most this often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Whether exits can be watched, and if not, why.
pub type Verdict = Result<(), Arc<KernelError>>;

/// What is known now. Clones know the same.
#[derive(Clone, Debug)]
pub struct Readiness {
    verdict: watch::Receiver<Verdict>,
    rechecks: Arc<Notify>,
}

/// Tries the kernel whenever there is a reason to.
#[derive(Debug)]
pub struct Prober {
    kernel: Arc<dyn Kernel>,
    verdict: watch::Sender<Verdict>,
    rechecks: Arc<Notify>,
    tried_at: Instant,
    /// Whether the last try could not be made.
    untested: bool,
}

impl Readiness {
    /// The last verdict.
    ///
    /// # Errors
    /// Why exits cannot be watched.
    pub fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    /// Has the kernel tried again: something failed that should not with this verdict, or somebody
    /// would like it to be another.
    pub fn recheck(&self) {
        self.rechecks.notify_one();
    }

    /// Doubts when what the kernel said speaks against the agent's place, or its means, rather than
    /// against the question.
    pub fn on_kernel_error(&self, error: &KernelError) {
        if !matches!(error, KernelError::NoSuchTask(_) | KernelError::HiddenThreads(_)) {
            self.recheck();
        }
    }

    /// Waits for another verdict than the one seen last; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Verdict> {
        self.verdict.changed().await.ok()?;
        Some(self.verdict.borrow_and_update().clone())
    }
}

impl Prober {
    /// Tries the kernel for the first time. Where it lets itself be listened to, and no more can be
    /// tried, the verdict is good.
    pub async fn start(kernel: Arc<dyn Kernel>) -> (Self, Readiness) {
        let mut untested = false;
        let first = judge(probe(&kernel).await, &mut untested).unwrap_or(Ok(()));
        log_change(&Ok(()), &first);
        let (sender, verdict) = watch::channel(first);
        let rechecks = Arc::new(Notify::new());
        let readiness = Readiness { verdict, rechecks: Arc::clone(&rechecks) };
        (Self { kernel, verdict: sender, rechecks, tried_at: Instant::now(), untested }, readiness)
    }

    /// Keeps the verdict true until the future is dropped. It sleeps without a timer as long as the
    /// verdict is good. One that cannot be tried stays what it was, and is tried again.
    pub async fn run(mut self) {
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

/// Tries the kernel beside the event loop, because it waits for exits.
async fn probe(kernel: &Arc<dyn Kernel>) -> Result<(), KernelError> {
    let kernel = Arc::clone(kernel);
    let tried = task::spawn_blocking(move || kernel.check_exits()).await;
    tried.unwrap_or(Err(KernelError::BadReply { operation: "the self-test" }))
}

/// What a try says of the kernel; `None` where it could not be made, which is told once.
fn judge(tried: Result<(), KernelError>, untested: &mut bool) -> Option<Verdict> {
    let was_untested = std::mem::replace(untested, false);
    match tried {
        Err(error @ KernelError::NotTested { .. }) => {
            *untested = true;
            if !was_untested {
                tracing::warn!(fix = error.fix(), "{error}");
            }
            None
        }
        tried => Some(tried.map_err(Arc::new)),
    }
}

/// Logs a change of the verdict, and tells whether it is one.
fn log_change(last: &Verdict, verdict: &Verdict) -> bool {
    match (last, verdict) {
        (Ok(()), Ok(())) => return false,
        (Err(last), Err(now)) if has_same_cause(last, now) => return false,
        (_, Err(error)) => tracing::warn!(fix = error.fix(), "exits cannot be watched: {error}"),
        (Err(_), Ok(())) => tracing::info!("exits can be watched again"),
    }
    true
}

/// Whether two errors have one cause, though it may have shown in another place or on another CPU.
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

    /// A kernel that is right or wrong, and counts how often it was tried.
    #[derive(Debug, Default)]
    struct Moody {
        cpus: Cpumask,
        good: AtomicBool,
        /// No task can be made to end.
        untestable: AtomicBool,
        tried: AtomicUsize,
    }

    impl Moody {
        fn new(good: bool) -> Arc<Self> {
            let cpus = Cpumask::from_iter([0]);
            Arc::new(Self { cpus, good: AtomicBool::new(good), ..Self::default() })
        }

        fn tried(&self) -> usize {
            self.tried.load(Ordering::SeqCst)
        }
    }

    impl Kernel for Moody {
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

    async fn keep(kernel: &Arc<Moody>) -> (Readiness, task::JoinHandle<()>) {
        let (prober, readiness) = Prober::start(Arc::clone(kernel) as Arc<dyn Kernel>).await;
        (readiness, tokio::spawn(prober.run()))
    }

    /// The cause goes away, and nobody has to say so.
    #[tokio::test(start_paused = true)]
    async fn a_bad_verdict_becomes_good_by_itself() {
        let kernel = Moody::new(false);
        let (mut readiness, prober) = keep(&kernel).await;
        let error = readiness.verdict().unwrap_err();
        assert!(matches!(*error, KernelError::NoExitsArrive { .. }), "{error}");
        kernel.good.store(true, Ordering::SeqCst);
        let began = Instant::now();
        assert!(readiness.next().await.unwrap().is_ok());
        assert!(began.elapsed() <= MAX_DELAY, "{:?}", began.elapsed());
        prober.abort();
    }

    /// While it stays bad, it is tried less and less often, and at least each minute.
    #[tokio::test(start_paused = true)]
    async fn what_stays_bad_is_tried_at_growing_intervals() {
        let kernel = Moody::new(false);
        let (_readiness, prober) = keep(&kernel).await;
        tokio::time::sleep(Duration::from_secs(63)).await;
        let in_the_first_minute = kernel.tried();
        assert!((5..=8).contains(&in_the_first_minute), "{in_the_first_minute}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let later = kernel.tried() - in_the_first_minute;
        assert!((9..=20).contains(&later), "{later}");
        prober.abort();
    }

    /// A good verdict costs nothing, until something fails.
    #[tokio::test(start_paused = true)]
    async fn a_good_verdict_is_tried_when_it_is_doubted_only() {
        let kernel = Moody::new(true);
        let (mut readiness, prober) = keep(&kernel).await;
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(kernel.tried(), 1);
        readiness.on_kernel_error(&KernelError::NoSuchTask(TaskId::Pid(1)));
        kernel.good.store(false, Ordering::SeqCst);
        readiness.on_kernel_error(&KernelError::NotPermitted { operation: "x" });
        assert!(readiness.next().await.unwrap().is_err());
        prober.abort();
    }

    /// A test that cannot be made proves nothing: the verdict stays, until one can.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_tested_stays_as_it_was() {
        for good in [true, false] {
            let kernel = Moody::new(good);
            let (mut readiness, prober) = keep(&kernel).await;
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

    /// The kernel let itself be listened to, and that is the best that is known.
    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_tested_at_the_start_is_trusted_until_then() {
        let kernel = Moody::new(false);
        kernel.untestable.store(true, Ordering::SeqCst);
        let error = kernel.check_exits().unwrap_err();
        assert!(matches!(error, KernelError::NotTested { .. }), "{error}");
        let (mut readiness, prober) = keep(&kernel).await;
        assert!(readiness.verdict().is_ok());
        kernel.untestable.store(false, Ordering::SeqCst);
        assert!(readiness.next().await.unwrap().is_err());
        prober.abort();
    }

    /// Descriptors that ran out are missed now here, now there; that is one state.
    #[test]
    fn one_cause_is_told_once_wherever_it_shows() {
        let system = |operation, errno| KernelError::System {
            operation,
            source: std::io::Error::from_raw_os_error(errno),
        };
        assert!(has_same_cause(&system("epoll_create", 24), &system("socket", 24)));
        assert!(!has_same_cause(&system("socket", 24), &system("socket", 12)));
        assert!(!has_same_cause(&system("socket", 24), &KernelError::NoFamily));
    }

    /// A herd of failing calls does not become a herd of self-tests.
    #[tokio::test(start_paused = true)]
    async fn doubts_are_followed_up_once_a_second_at_most() {
        let kernel = Moody::new(false);
        let (readiness, prober) = keep(&kernel).await;
        for _ in 0..1000 {
            readiness.recheck();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!((9..=12).contains(&kernel.tried()), "{}", kernel.tried());
        prober.abort();
    }
}
