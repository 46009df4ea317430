//! An agent that stands still for a while.

use anyhow::Result;
use taskstats_proto::v1::LostStage;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::gap_ranges::{ExitRange, Reported, reported, sent};
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use taskstats_tests::{cpus, process};

use crate::followers;

/// Holds 26,000 exits: the kernel doubles it, and counts 1,280 bytes for an exit.
const LARGE_BUFFER: &str = "16MiB";
/// Holds 3,300 exits.
const SMALL_BUFFER: &str = "2MiB";
/// About a second at full speed.
const EXITS: &str = "10000";

/// Exits that fit into the receive buffer are not lost.
#[tokio::test]
async fn a_short_stop_loses_nothing() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    assert_eq!(stop_agent(LARGE_BUFFER).await?.lost, 0);
    Ok(())
}

/// Exits beyond the receive buffer are counted exactly.
#[tokio::test]
async fn a_long_stop_is_counted_exactly() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    assert!(stop_agent(SMALL_BUFFER).await?.lost > 0, "nothing was lost");
    Ok(())
}

/// Stops the agent while threads exit on a CPU, compares what it reports afterwards with what the
/// kernel sent, and checks that the stream continues.
async fn stop_agent(receive_buffer: &str) -> Result<Reported> {
    let cpu = cpus::online()?[0];
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let agent = Agent::start_with(["--receive-buffer", receive_buffer]).await?;
    let channel = connect(&agent.url()).await?;
    let mut watch = Watch::everything(&channel).await?;
    let begin = watch.settled_mark(cpu).await?;
    process::pause(agent.pid()?).await?;
    let churn = Workload::run(&["--cpu", &cpu.to_string(), "churn-threads", EXITS]).await?;
    assert!(churn.status.success(), "{churn:?}");
    process::continue_process(agent.pid()?)?;
    let end = watch.settled_mark(cpu).await?;

    let range = [ExitRange { cpu, begin, end }];
    let reported = reported(&watch, &range)?;
    assert_eq!(reported.total(), sent(&reference.take()?, &range)?, "{reported:?}");
    assert_eq!(watch.sequence_check()?.lost(LostStage::History), 0);
    assert!(watch.losses().iter().all(|lost| lost.cpu == Some(cpu)), "{:?}", watch.losses());

    let losses = watch.losses().len();
    let mut other = Watch::everything(&channel).await?;
    for pid in followers::mark().await? {
        watch.exit_of(pid).await?;
        other.exit_of(pid).await?;
    }
    assert_eq!((watch.losses().len(), other.losses().len()), (losses, 0));
    Ok(reported)
}
