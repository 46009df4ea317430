//! The broker: the process that has `CAP_NET_ADMIN` in place of the agent.

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use taskstats_tests::agent::Agent;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{children, descriptors, is_gone};

use super::{NET_ADMIN, NOBODY, NONE, assert_all, statuses, use_all};

/// Standard input, output and error, the agent's end, and a pipe; and a netlink socket for queries.
const DESCRIPTORS: usize = 6;

/// The only child of an agent.
pub(super) fn broker_of(agent: &Agent) -> Result<u32> {
    let children = children(agent.pid()?)?;
    ensure!(children.len() == 1, "children: {children:?}");
    Ok(children[0])
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(pid.try_into()?), signal)?)
}

#[tokio::test]
async fn the_broker_has_one_capability_and_few_descriptors() -> Result<()> {
    let _lock = MachineLock::shared()?;
    // Without attribution it has no filters.
    let agent = Agent::start_with(["--user", NOBODY, "--attribution", "off"]).await?;
    use_all(&agent).await?;
    let broker = broker_of(&agent)?;
    let statuses = statuses(broker)?;
    assert_eq!(statuses.len(), 1, "threads");
    for (field, value) in [
        ("Name", "tstatsd-broker"),
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "65534 65534 65534 65534"),
        ("Groups", ""),
        ("CapPrm", NET_ADMIN),
        ("CapEff", NET_ADMIN),
        ("CapInh", NONE),
        ("CapBnd", NONE),
        ("CapAmb", NONE),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_all(&statuses, field, value);
    }
    assert!(descriptors(broker)? <= DESCRIPTORS, "{} descriptors", descriptors(broker)?);
    Ok(())
}

/// A signal to the process group or the control group is meant for the agent.
#[tokio::test]
async fn a_signal_to_the_broker_ends_nothing() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let broker = broker_of(&agent)?;
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signal(broker, ignored)?;
    }
    use_all(&agent).await?;
    assert_eq!(broker_of(&agent)?, broker);
    assert!(agent.stop().await?.success());
    is_gone(broker).await
}

#[tokio::test]
async fn the_broker_ends_with_an_agent_that_is_killed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let broker = broker_of(&agent)?;
    agent.signal(Signal::SIGKILL)?;
    agent.ended().await?;
    is_gone(broker).await
}

/// An agent that could neither query nor watch must not look alive.
#[tokio::test]
async fn the_agent_ends_with_its_broker() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    signal(broker_of(&agent)?, Signal::SIGKILL)?;
    let status = agent.ended().await?;
    assert_eq!(status.code(), Some(1), "{}", agent.stderr()?);
    assert!(agent.stderr()?.contains("the broker ended"), "{}", agent.stderr()?);
    Ok(())
}

/// An agent whose sandbox is off makes its requests itself, and a simulated kernel needs none.
#[tokio::test]
async fn without_a_sandbox_or_a_kernel_there_is_no_broker() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for arguments in [&["--no-sandbox"][..], &["--kernel", "sim"]] {
        let agent = Agent::start_with(arguments).await?;
        assert!(children(agent.pid()?)?.is_empty(), "{arguments:?}");
    }
    Ok(())
}
