//! A collector that reconnects whatever happens to the agent, and everything that it received.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::LostStage;
use taskstats_tests::client::connect;
use taskstats_tests::deadline::within;
use taskstats_tests::follower::{Detached, Follower, Reopened};
use taskstats_tests::kernel::SeenExit;
use taskstats_tests::selection::Selection;
use taskstats_tests::stitched_stream::StitchedStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// A collector that runs.
pub(crate) struct Collector {
    collecting: JoinHandle<Result<Account>>,
    last: watch::Sender<Option<Vec<u32>>>,
    /// The number of messages read.
    read: watch::Receiver<u64>,
}

/// The exits and gaps that a collector received, for each run of the agent.
#[derive(Debug)]
pub(crate) struct Account {
    runs: Vec<StitchedStream>,
}

/// The result of a comparison with what the kernel sent.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) received: u64,
    /// Lost in the kernel, with their count.
    pub(crate) counted: u64,
    /// Exits between runs, reported without a count.
    pub(crate) unseen: u64,
    pub(crate) runs: usize,
}

impl Collector {
    /// Collects everything from now on.
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let first = Follower::open(&connect(url).await?, Selection::EVERYTHING).await?;
        let (last, until) = watch::channel(None);
        let (count, read) = watch::channel(0);
        let collecting = tokio::spawn(collect(url.to_owned(), first, until, count));
        Ok(Self { collecting, last, read })
    }

    /// Waits until it has read another message.
    pub(crate) async fn reads(&mut self) -> Result<()> {
        self.read.mark_unchanged();
        within("a collector to read", self.read.changed()).await?.context("a collector ended")
    }

    /// Reads until the exits of these processes, and returns everything received.
    pub(crate) async fn finish(self, marks: Vec<u32>) -> Result<Account> {
        self.last.send_replace(Some(marks));
        within("a collector to end", self.collecting).await??
    }
}

async fn collect(
    url: String,
    mut follower: Follower,
    mut until: watch::Receiver<Option<Vec<u32>>>,
    count: watch::Sender<u64>,
) -> Result<Account> {
    let mut runs = Vec::new();
    loop {
        let more = tokio::select! {
            more = follower.next() => more?,
            marks = finish(&mut until) => {
                for mark in marks? {
                    follower.exit_of(mark).await?;
                }
                runs.push(follower.leave().stitched);
                return Ok(Account { runs });
            }
        };
        count.send_modify(|count| *count += 1);
        if !more {
            follower = come_back(&url, follower, &mut runs).await?;
        }
    }
}

/// Waits for the last exits to read.
async fn finish(until: &mut watch::Receiver<Option<Vec<u32>>>) -> Result<Vec<u32>> {
    let marks = until.wait_for(Option::is_some).await?;
    marks.clone().context("no marks")
}

/// Resumes after the last cursor, however often the agent is killed meanwhile.
async fn come_back(
    url: &str,
    follower: Follower,
    runs: &mut Vec<StitchedStream>,
) -> Result<Follower> {
    let detached = follower.leave();
    let reopened = within("the agent to be back", async {
        loop {
            match reopen(url, &detached).await {
                Err(error) if is_passing(&error) => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    });
    let (follower, earlier) = reopened.await??.follow(detached);
    runs.extend(earlier);
    Ok(follower)
}

async fn reopen(url: &str, detached: &Detached) -> Result<Reopened> {
    detached.reopen(&connect(url).await?).await
}

/// Returns true if an error is that of a broken connection, rather than a response of the agent.
fn is_passing(error: &anyhow::Error) -> bool {
    let broken = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
    error.downcast_ref::<Status>().is_none_or(|status| broken.contains(&status.code()))
}

/// Exits that the kernel sends on a CPU while an end waits in the agent, at most.
const WAITING: usize = 4_096;

/// One exit, in the order in which the kernel sent those of its CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    kernel_sequence: u32,
    pid: u32,
}

/// The exits that the kernel sent, by CPU.
pub(crate) type AllSent = BTreeMap<u32, Vec<Sent>>;

/// Appends the exits that the reference listener received.
pub(crate) fn note(all: &mut AllSent, seen: &[SeenExit]) -> Result<()> {
    for exit in seen {
        let sent = Sent { kernel_sequence: exit.kernel_sequence, pid: exit.pid()? };
        all.entry(exit.cpu).or_default().push(sent);
    }
    Ok(())
}

impl Account {
    /// Compares with what the kernel sent between the marks: all missing exits are counted as lost, or
    /// stand between two runs, of which the later one began with a loss for the restart. The last exit of
    /// a process with several threads waits in the agent for a moment, so a kill loses some that were
    /// sent before others that were delivered.
    pub(crate) fn compare(&self, all: &AllSent, begin: &[u32]) -> Result<Compared> {
        for (later, run) in self.runs.iter().enumerate() {
            ensure_whole(run, later > 0)?;
        }
        let exits = || self.runs.iter().flat_map(StitchedStream::exits);
        for mark in begin {
            ensure!(exits().any(|exit| exit.pid == *mark), "the first mark {mark} is missing");
        }
        let mut compared = Compared { runs: self.runs.len(), ..Compared::default() };
        for (cpu, sent) in all {
            self.compare_cpu(*cpu, sent, &mut compared)?;
        }
        Ok(compared)
    }

    fn compare_cpu(&self, cpu: u32, sent: &[Sent], compared: &mut Compared) -> Result<()> {
        let positions: HashMap<Sent, usize> = sent.iter().copied().zip(0..).collect();
        let mut next = 0;
        for (number, run) in self.runs.iter().enumerate() {
            let mut reported = BTreeSet::new();
            for exit in run.exits().iter().filter(|exit| exit.cpu == cpu) {
                let exit = Sent { kernel_sequence: exit.kernel_sequence, pid: exit.pid };
                let position = positions.get(&exit).filter(|position| **position >= next);
                let position = position.with_context(|| format!("{exit:?} was not sent"))?;
                ensure!(reported.insert(*position), "{exit:?} was reported twice");
            }
            let Some((first, last)) = reported.first().zip(reported.last()) else { continue };
            // Before the first run the collector did not watch.
            compared.unseen += if number == 0 { 0 } else { u64::try_from(first - next)? };
            compared.received += u64::try_from(reported.len())?;
            let missing: Vec<usize> =
                (*first..=*last).filter(|position| !reported.contains(position)).collect();
            let counted = u64::try_from(missing.len())?.min(lost_on(run, cpu));
            compared.counted += counted;
            let uncounted = u64::try_from(missing.len())? - counted;
            let waiting = missing.iter().filter(|position| **position + WAITING > *last).count();
            let was_killed = number + 1 < self.runs.len();
            ensure!(
                uncounted == 0 || was_killed && uncounted <= u64::try_from(waiting)?,
                "run {number}: {uncounted} exits of CPU {cpu} are missing"
            );
            compared.unseen += uncounted;
            next = last + 1;
        }
        Ok(())
    }
}

/// Checks that the exits and losses of a run add up, and that a later run begins with a loss for
/// the restart.
fn ensure_whole(run: &StitchedStream, restarted: bool) -> Result<()> {
    let mut gaps = run.gaps().iter().peekable();
    if restarted {
        let first = gaps.next().context("a restart was not reported")?;
        ensure!(first.stage == LostStage::AgentRestart && first.after == 0, "{first:?}");
        ensure!(first.count.is_none(), "the loss of a restart has a count: {first:?}");
    }
    let mut lost = 0;
    for gap in gaps {
        ensure!(gap.stage == LostStage::KernelSocket, "not of the kernel: {gap:?}");
        lost += gap.count.context("a loss of unknown size")?;
    }
    let reported = u64::try_from(run.exits().len())? + lost;
    let passed = run.position() - run.beginning();
    ensure!(reported == passed, "{reported} of {passed} exits were reported");
    Ok(())
}

fn lost_on(run: &StitchedStream, cpu: u32) -> u64 {
    let own = run.gaps().iter().filter(|gap| gap.cpu == Some(cpu));
    own.filter_map(|gap| gap.count).sum()
}
