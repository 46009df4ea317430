//! Signs of life for a service manager.

use std::path::Path;

use anyhow::Result;
use taskstats_tests::agent::Launch;
use taskstats_tests::machine_lock::MachineLock;

/// An agent with a watchdog sends its notification repeatedly.
#[tokio::test]
async fn the_agent_sends_watchdog_notifications() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let asked = ["env", "WATCHDOG_USEC=200000"];
    let mut agent = Launch::new()?.listen_privately().wrapped(asked).start().await?;
    for _ in 0..3 {
        agent.alive().await?;
    }
    assert!(agent.stop().await?.success());
    Ok(())
}

/// The unit enables the watchdog, with a longer interval than the agent's longest pause.
#[test]
fn the_unit_has_a_watchdog() -> Result<()> {
    let unit =
        Path::new(taskstats_tests::binaries::WORKSPACE).join("deploy/systemd/taskstatsd.service");
    assert!(std::fs::read_to_string(unit)?.lines().any(|line| line == "WatchdogSec=30s"));
    Ok(())
}
