//! The agent is killed and restarted at random moments, under load.

use std::time::{Duration, Instant};

use anyhow::Result;
use taskstats_tests::churn::{end_all, start_churn};
use taskstats_tests::cpus;
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::random::Random;
use taskstats_tests::service_manager::ServiceManager;
use tokio::time::sleep;

use crate::collector::{AllSent, Collector, note};
use crate::support::{duration, mark};

/// Collectors at once.
const COLLECTORS: usize = 3;
/// Exits on each CPU in a round.
const EXITS: usize = 4_000;
/// The longest life of an agent before it is killed, in ms: about as long as a round.
const LIFE_MS: usize = 800;
/// Large enough for all exits of a busy machine, so that only kills cause losses.
const LARGE_BUFFERS: [&str; 4] = ["--receive-buffer", "64MiB", "--history-bytes", "64MiB"];
/// Any seed does.
const SEED: u64 = 9;

/// The number of ends of the agent, by kind.
#[derive(Debug, Default)]
struct Ends {
    kills: usize,
    stops: usize,
}

/// With hand-overs, only kills are reported as losses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_hand_overs_leave_no_unreported_loss() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    survive(ServiceManager::new(LARGE_BUFFERS)?, Hand::Over).await
}

/// Without a state directory each restart is reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_restarts_leave_no_unreported_loss() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut manager = ServiceManager::new(LARGE_BUFFERS)?;
    manager.disable_hand_over();
    survive(manager, Hand::Nothing).await
}

/// The hand-over of a run to the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hand {
    Over,
    Nothing,
}

async fn survive(mut manager: ServiceManager, hand: Hand) -> Result<()> {
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let (mut sent, mut random) = (AllSent::new(), Random::new(SEED));
    manager.start().await?;
    let mut collectors = Vec::new();
    for _ in 0..COLLECTORS {
        collectors.push(Collector::start(&manager.url()).await?);
    }
    let begin = mark().await?;
    let until = Instant::now() + duration()? / 2;
    let mut ends = Ends::default();
    while ends.kills == 0 || ends.stops == 0 || Instant::now() < until {
        let loads = start_churn(EXITS)?;
        // The fault is random, so any time is as good as another.
        sleep(Duration::from_millis(u64::try_from(random.below(LIFE_MS))?)).await;
        ends.end(&mut manager, &mut random).await?;
        // Often, so that the buffer of the reference listener does not overflow.
        note(&mut sent, &reference.take()?)?;
        manager.start().await?;
        for collector in &mut collectors {
            note(&mut sent, &reference.take()?)?;
            // Sometimes the next end comes before the collectors have reconnected.
            if random.below(4) > 0 {
                // The load may be over by now.
                tokio::select! {
                    read = collector.reads() => read?,
                    failed = exit_without_end() => failed?,
                }
            }
        }
        end_all(loads).await?;
        note(&mut sent, &reference.take()?)?;
    }
    let end = mark().await?;
    let mut accounts = Vec::new();
    for collector in collectors {
        accounts.push(collector.finish(end.clone()).await?);
    }
    // After them: together with the marks they may have read other exits.
    note(&mut sent, &reference.take()?)?;
    let total: usize = sent.values().map(Vec::len).sum();
    println!("{ends:?}; the kernel sent {total} exits");
    for account in accounts {
        let compared = account.compare(&sent, &begin)?;
        println!("{compared:?}");
        let most = 1 + ends.kills + if hand == Hand::Over { 0 } else { ends.stops };
        assert!(compared.runs <= most, "a hand-over failed: {compared:?}, {ends:?}");
        assert!(compared.runs > 1, "{compared:?}");
    }
    Ok(())
}

async fn exit_without_end() -> Result<()> {
    loop {
        mark().await?;
    }
}

impl Ends {
    /// Kills the agent, or ends it with SIGTERM; the former twice as often.
    async fn end(&mut self, manager: &mut ServiceManager, random: &mut Random) -> Result<()> {
        if random.below(3) > 0 {
            manager.kill().await?;
            self.kills += 1;
        } else {
            manager.stop().await?;
            self.stops += 1;
        }
        Ok(())
    }
}
