//! Exits that the kernel drops because the agent's socket is full.

use anyhow::Result;
use taskstats_proto::v1::LostStage;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::cpus;
use taskstats_tests::gap_ranges::{ExitRange, reported, sent};
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

/// The smallest receive buffer that the agent accepts: a few exits fill it.
const RECEIVE_BUFFER: &str = "4KiB";
/// Enough exits at full speed to overflow such a buffer many times.
const EXITS: &str = "20000";

/// Exits that the kernel dropped are counted exactly, by their CPU.
#[tokio::test]
async fn drops_of_the_kernel_are_counted_exactly() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    for cpu in cpus::online()? {
        let mut reference = ReferenceListener::open(&cpus::online()?)?;
        let agent = Agent::start_with(["--receive-buffer", RECEIVE_BUFFER]).await?;
        let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
        let begin = watch.settled_mark(cpu).await?;
        let churn = Workload::run(&["--cpu", &cpu.to_string(), "churn-threads", EXITS]).await?;
        assert!(churn.status.success(), "{churn:?}");
        let end = watch.settled_mark(cpu).await?;
        let range = [ExitRange { cpu, begin, end }];
        let reported = reported(&watch, &range)?;
        assert!(reported.lost > 0, "nothing was dropped: {reported:?}");
        assert_eq!(reported.total(), sent(&reference.take()?, &range)?, "{reported:?}");
        assert_eq!(watch.sequence_check()?.lost(LostStage::History), 0);
        assert!(watch.losses().iter().all(|lost| lost.cpu.is_some()), "a drop without its CPU");
        let log = agent.stderr()?;
        let warnings = log.lines().filter(|line| line.contains("--receive-buffer"));
        assert_eq!(
            warnings.filter(|line| line.contains(&format!("cpu={cpu}"))).count(),
            1,
            "{log}"
        );
    }
    Ok(())
}
