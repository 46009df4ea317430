//! `taskstatsctl health` against the real agent.

use anyhow::Result;
use taskstats_tests::agent::Agent;
use taskstats_tests::machine_lock::MachineLock;

use crate::command::taskstatsctl;

/// An agent that serves is healthy, as a whole and by its service.
#[tokio::test]
async fn an_agent_that_serves_is_healthy() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    for service in ["", "taskstats.v1.TaskstatsService"] {
        let output = taskstatsctl(&agent.url(), &["health", "--service", service]).await?;
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "SERVING\n"), "{output:?}");
        assert_eq!(output.stderr, "");
    }
    let output = taskstatsctl(&agent.url(), &["health"]).await?;
    let serving = output.stdout.lines().filter(|line| line.starts_with("SERVING ")).count();
    assert_eq!((output.code, serving), (Some(0), 2), "{output:?}");
    Ok(())
}

/// An unknown service and an agent that has ended are not healthy.
#[tokio::test]
async fn an_unknown_service_is_not_healthy() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let output = taskstatsctl(&agent.url(), &["health", "--service", "no.such.Service"]).await?;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("no.such.Service"), "{output:?}");
    assert!(agent.stop().await?.success());
    let output = taskstatsctl(&agent.url(), &["health"]).await?;
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert!(output.stderr.contains(&agent.url()), "{output:?}");
    Ok(())
}
