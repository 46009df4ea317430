//! Watchers of every kind and speed, for a configurable time.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, connect_narrowly};
use taskstats_tests::follower::Follower;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process;
use taskstats_tests::random::Random;
use taskstats_tests::selection::Selection;
use tokio::spawn;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::followers;

/// The variable with the duration of the soak in seconds.
const SECONDS: &str = "TASKSTATS_SOAK_SECONDS";
/// Its default.
const DEFAULT_SECONDS: u64 = 20;
/// Exits of a round; after each round everything is compared and then discarded, so that the test's
/// own memory does not grow with the time.
const EXITS: usize = 160_000;
/// Holds about 120,000 events: less than a round, so that a watcher that does not read in it is
/// overtaken.
const HISTORY: &str = "16MiB";
/// Drops of the kernel are for other tests.
const RECEIVE_BUFFER: &str = "64MiB";
/// A reconnecting watcher stays for so many messages at most.
const STAY: usize = 8;
/// Any seed does.
const SEED: u64 = 8;
/// Of so many exits one may have a number of the kernel's that nothing explains: a task that moves
/// to another CPU while it exits can cause it.
const EXITS_PER_GAP: u64 = 1000;
/// After the first round the history is full and every watcher has been served: later growth is the
/// allocator's.
const SLACK_KIB: u64 = 6 * 1024;

/// The watchers besides the reference.
struct Watchers {
    /// Read all the time.
    steady: Vec<Follower>,
    /// Read nothing during a round.
    slow: Vec<Follower>,
    /// Watchers that disconnect and resume all the time.
    restless: Follower,
}

/// Every watcher accounts for every exit, and the agent's memory does not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_every_kind_account_for_every_exit() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let until = Instant::now() + duration()?;
    let arguments = ["--history-bytes", HISTORY, "--receive-buffer", RECEIVE_BUFFER];
    let agent = Agent::start_with(arguments).await?;
    let mut reference =
        Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let mut watchers = Watchers::open(&agent).await?;
    let mut random = Random::new(SEED);
    let (mut rounds, mut warm, mut overtaken) = (0, 0, 0);
    while rounds < 2 || Instant::now() < until {
        watchers = round(&agent, &mut reference, watchers, &mut random).await?;
        overtaken += watchers.settle(&mut reference).await?;
        if rounds == 0 {
            warm = process::resident_kib(agent.pid()?)?;
        }
        rounds += 1;
    }
    let (held, counters) =
        (process::resident_kib(agent.pid()?)?, followers::counters(&agent.url()).await?);
    println!("{rounds} rounds, {overtaken} gaps, {warm} KiB, then {held} KiB, {counters:?}");
    assert!(overtaken > 0, "no watcher was overtaken");
    assert!(held <= warm + SLACK_KIB, "{warm} KiB became {held} KiB");
    let tolerated = counters.received / EXITS_PER_GAP;
    assert!(counters.unexplained_gaps <= tolerated, "{counters:?}");
    Ok(())
}

fn duration() -> Result<Duration> {
    let seconds = match env::var(SECONDS) {
        Ok(text) => text.parse().with_context(|| format!("{SECONDS} is {text:?}"))?,
        Err(_) => DEFAULT_SECONDS,
    };
    Ok(Duration::from_secs(seconds))
}

impl Watchers {
    async fn open(agent: &Agent) -> Result<Self> {
        let mut slow = Vec::new();
        for selection in [Selection::EVERYTHING, Selection::THREADS, Selection::of_cpu(0)] {
            slow.push(Follower::open(&connect_narrowly(&agent.url()).await?, selection).await?);
        }
        Ok(Self {
            steady: followers::open(&agent.url()).await?,
            slow,
            restless: Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?,
        })
    }

    /// Reads all watchers to the same position, compares them, and discards what they received;
    /// returns the number of gaps.
    async fn settle(&mut self, reference: &mut Follower) -> Result<usize> {
        let mut gaps = 0;
        for followers in self.groups() {
            followers::catch_up(reference, followers).await?;
            let uncounted = followers::reconcile(reference.stitched(), followers)?;
            ensure!(uncounted == 0, "{uncounted} losses without a count");
        }
        let mut done = u64::MAX;
        for follower in self.groups().into_iter().flatten() {
            gaps += follower.stitched().gaps().len();
            follower.stitched_mut().forget(u64::MAX);
            done = done.min(follower.stitched().position());
        }
        reference.stitched_mut().forget(done);
        Ok(gaps)
    }

    fn groups(&mut self) -> [&mut [Follower]; 3] {
        [&mut self.steady, &mut self.slow, std::slice::from_mut(&mut self.restless)]
    }
}

/// Makes exits at full speed while the watchers behave as their kind; returns them.
async fn round(
    agent: &Agent,
    reference: &mut Follower,
    watchers: Watchers,
    random: &mut Random,
) -> Result<Watchers> {
    let channel = connect(&agent.url()).await?;
    let (enough, over) = watch::channel(false);
    let Watchers { steady, slow, restless } = watchers;
    let readers: Vec<_> =
        steady.into_iter().map(|follower| spawn(read(follower, over.clone()))).collect();
    let wanderer =
        spawn(connect_and_disconnect(channel, restless, over, Random::new(random.seed())));

    followers::churn_watched(reference, EXITS).await?;
    enough.send_replace(true);

    let mut steady = Vec::new();
    for reader in readers {
        steady.push(reader.await??);
    }
    Ok(Watchers { steady, slow, restless: wanderer.await?? })
}

/// Reads until it is over.
async fn read(mut follower: Follower, mut over: watch::Receiver<bool>) -> Result<Follower> {
    loop {
        tokio::select! {
            _ = over.wait_for(|over| *over) => return Ok(follower),
            more = follower.next() => ensure!(more?, "a steady stream ended"),
        }
    }
}

/// Disconnects after some messages, sometimes in the middle of a batch, and resumes at once, until
/// it is stopped.
async fn connect_and_disconnect(
    channel: Channel,
    mut follower: Follower,
    mut over: watch::Receiver<bool>,
    mut random: Random,
) -> Result<Follower> {
    loop {
        for _ in 0..=random.below(STAY) {
            tokio::select! {
                _ = over.wait_for(|over| *over) => return Ok(follower),
                more = follower.next() => ensure!(more?, "a restless stream ended"),
            }
        }
        let mut detached = follower.leave();
        let last = detached.stitched.exits().len().saturating_sub(1 + random.below(STAY));
        if let Some(exit) = detached.stitched.exits().get(last).copied() {
            detached.stitched.cut(exit.sequence);
        }
        follower = detached.resume(&channel).await?;
    }
}
