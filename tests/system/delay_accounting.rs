//! The meaning of zero delays, reported for the node and for each record.

use anyhow::{Context, Result};
use taskstats_proto::v1::{DelayAccounting, GetNodeRequest, GetNodeResponse, GetTgidRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::client::{Client, connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::delay_accounting::DelayAccountingSwitch;
use taskstats_tests::environments::{AS_USER, USER};
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

use crate::support::{get_pid, task};

/// The kernel reports the begin of a task in seconds, so this much time must pass until a task is
/// certainly older than a timestamp.
const SURELY_OLDER_US: u64 = 2_100_000;

/// A task that began before delay accounting was turned on is distinguished from one that began
/// after it, while it runs and when it exits, as a task and as a group.
#[tokio::test]
async fn a_record_says_whether_its_delays_are_complete() -> Result<()> {
    use DelayAccounting::{Off, On, Partial};
    let switch = DelayAccountingSwitch::off()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone());
    let early = Workload::waiting(&["threads", "1"]).await?;
    let without = Workload::waiting(&["threads", "1"]).await?;
    let mut watch = Watch::everything(&channel).await?;
    assert_eq!(task_and_group(&mut client, early.pid()).await?, (Off, Off));
    grows_old(&mut client, early.pid()).await?;
    grows_old(&mut client, without.pid()).await?;
    assert_eq!(node(&mut client).await?.delay_accounting(), Off);
    assert_eq!(node(&mut client).await?.delay_accounting_since, None);

    switch.set(true)?;
    let on = node(&mut client).await?;
    assert_eq!(on.delay_accounting(), On);
    let since = on.delay_accounting_since.context("on without a time")?.seconds;
    assert_eq!(task_and_group(&mut client, early.pid()).await?, (Partial, Partial));
    grows_old(&mut client, early.pid()).await?;
    let late = Workload::waiting(&["threads", "1"]).await?;
    let late_began = grows_old(&mut client, late.pid()).await?;
    assert!(late_began >= since, "began at {late_began}, accounted since {since}");
    assert_eq!(task_and_group(&mut client, late.pid()).await?, (On, On));
    assert_eq!(exit(&mut watch, early).await?, (Partial, Some(Partial)));
    assert_eq!(exit(&mut watch, late).await?, (On, Some(On)));

    switch.set(false)?;
    assert_eq!(node(&mut client).await?.delay_accounting_since, None);
    assert_eq!(task_and_group(&mut client, without.pid()).await?, (Off, Off));
    Ok(())
}

/// Delays from before delay accounting was turned off are reported as partial.
#[tokio::test]
async fn delays_from_before_it_was_turned_off_are_partial() -> Result<()> {
    let switch = DelayAccountingSwitch::off()?;
    switch.set(true)?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let workload = Workload::waiting(&["idle"]).await?;
    let stats = get_pid(&mut client, workload.pid()).await?;
    let copies = stats.delays.as_ref().and_then(|delays| delays.write_protect_copy.as_ref());
    assert!(copies.context("no such class")?.count > 0, "a process copies pages when it begins");
    assert_eq!(stats.delay_accounting(), DelayAccounting::On, "a wait proves it");
    switch.set(false)?;
    let stats = get_pid(&mut client, workload.pid()).await?;
    assert_eq!(stats.delay_accounting(), DelayAccounting::Partial);
    Ok(())
}

/// The flag turns delay accounting on, and the log says so, because it stays on.
#[tokio::test]
async fn a_flag_turns_delay_accounting_on() -> Result<()> {
    let switch = DelayAccountingSwitch::off()?;
    drop(Agent::start().await?);
    assert!(!switch.is_on()?, "turned on without the flag");
    let mut agent = Agent::start_with(["--enable-delay-accounting"]).await?;
    assert!(switch.is_on()?);
    let mut client = service(&agent.url()).await?;
    let node = node(&mut client).await?;
    assert_eq!(node.delay_accounting(), DelayAccounting::On);
    assert!(node.delay_accounting_since.is_some());
    assert!(agent.stderr()?.contains("stays on after the agent has ended"), "{}", agent.stderr()?);
    assert!(agent.stop().await?.success());
    assert!(switch.is_on()?, "the agent logged that it stays on");
    Ok(())
}

/// An agent that may not turn it on logs the kernel's error and advice, and serves.
#[tokio::test]
async fn an_agent_that_may_not_turn_delay_accounting_on_logs_it() -> Result<()> {
    let switch = DelayAccountingSwitch::off()?;
    let launch = Launch::new()?.listen_privately().arguments(["--enable-delay-accounting"]);
    let agent = launch.wrapped(AS_USER).owned_by(USER)?.start().await?;
    let mut client = service(&agent.url()).await?;
    assert_eq!(node(&mut client).await?.delay_accounting(), DelayAccounting::Off);
    assert!(!switch.is_on()?);
    let stderr = agent.stderr()?;
    let line = stderr.lines().find(|line| line.contains("--enable-delay-accounting"));
    let line = line.with_context(|| format!("no such line in {stderr}"))?;
    assert!(line.contains("WARN") && line.contains("Permission denied"), "{line}");
    assert!(line.contains("sysctl.d"), "{line}");
    Ok(())
}

async fn node(client: &mut Client) -> Result<GetNodeResponse> {
    Ok(client.get_node(GetNodeRequest {}).await?.into_inner())
}

async fn task_and_group(
    client: &mut Client,
    pid: u32,
) -> Result<(DelayAccounting, DelayAccounting)> {
    let task = get_pid(client, pid).await?.delay_accounting();
    let request = GetTgidRequest { tgid: pid, include_threads: false, ..Default::default() };
    let group = client.get_tgid(request).await?.into_inner().stats.context("no statistics")?;
    Ok((task, group.delay_accounting()))
}

/// Waits until a task is certainly older than the current time, and returns its begin.
async fn grows_old(client: &mut Client, pid: u32) -> Result<i64> {
    within("a task to grow old", async {
        let first = get_pid(client, pid).await?;
        let young = first.elapsed_us.context("no age")?;
        loop {
            let stats = get_pid(client, pid).await?;
            if stats.elapsed_us.context("no age")? > young + SURELY_OLDER_US {
                let began = stats.identity.context("no identity")?.begin_time;
                return Ok(began.context("began never")?.seconds);
            }
        }
    })
    .await?
}

/// Ends a process, and returns the statistics of the task and of the group in its last exit.
async fn exit(
    watch: &mut Watch,
    workload: Workload,
) -> Result<(DelayAccounting, Option<DelayAccounting>)> {
    let ended = workload.end().await?;
    let event = watch.exit_of(ended.pid).await?;
    let group = event.process.as_ref().map(|group| group.delay_accounting());
    Ok((task(&event)?.delay_accounting(), group))
}
