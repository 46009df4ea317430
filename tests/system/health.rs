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
        let said = taskstatsctl(&agent.url(), &["health", "--service", service]).await?;
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), "SERVING\n"), "{said:?}");
        assert_eq!(said.stderr, "");
    }
    let said = taskstatsctl(&agent.url(), &["health"]).await?;
    let serving = said.stdout.lines().filter(|line| line.starts_with("SERVING ")).count();
    assert_eq!((said.code, serving), (Some(0), 2), "{said:?}");
    Ok(())
}

/// An unknown service and an agent that has ended are not healthy.
#[tokio::test]
async fn an_unknown_service_is_not_healthy() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let said = taskstatsctl(&agent.url(), &["health", "--service", "no.such.Service"]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no.such.Service"), "{said:?}");
    assert!(agent.stop().await?.success());
    let said = taskstatsctl(&agent.url(), &["health"]).await?;
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.contains(&agent.url()), "{said:?}");
    Ok(())
}
