//! Requests that the agent refuses, and its messages.

use anyhow::Result;
use taskstats_proto::v1::{
    Cursor, GetNodeRequest, GetPidRequest, GetTgidRequest, Scope, WatchExitsRequest,
};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::detailed_status::DetailedStatus;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use tonic::Code;

use crate::support::{NO_SUCH_TASK, of_scope, on_cpus, refusal_in, refused};

/// Longer than any valid cpumask, shorter than the largest message.
const LONG_MASK: usize = 10_000;
/// More than the agent holds events back for.
const TOO_LONG_S: i64 = 11;
/// A number that is no scope, and no way to lag.
const NO_SCOPE: i32 = 77;

/// Task 0 does not exist: the error names the field.
#[tokio::test]
async fn task_zero_is_a_bad_request() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let refusal = refused(client.get_pid(GetPidRequest { pid: 0, ..Default::default() }).await)?;
    assert_violation(&refusal, "pid", "0");
    let request = GetTgidRequest { tgid: 0, include_threads: false, ..Default::default() };
    assert_violation(&refused(client.get_tgid(request).await)?, "tgid", "0");
    Ok(())
}

/// A task that does not exist is distinguished from a bad request by code and reason.
#[tokio::test]
async fn a_missing_task_is_not_found() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let refusal =
        refused(client.get_pid(GetPidRequest { pid: NO_SUCH_TASK, ..Default::default() }).await)?;
    assert_not_found(&refusal);
    let request =
        GetTgidRequest { tgid: NO_SUCH_TASK, include_threads: true, ..Default::default() };
    assert_not_found(&refused(client.get_tgid(request).await)?);
    Ok(())
}

/// Each malformed cpumask is refused with its field and the text that is wrong in it.
#[tokio::test]
async fn bad_cpumasks_are_refused_with_the_offending_text() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    for (mask, offending) in [
        ("a", "a"),
        ("1-0", "1-0"),
        ("0-", "0-"),
        ("-1", "-1"),
        ("99", "99"),
        ("0-99", "99"),
        ("0,x,1", "x"),
        ("0-1:2/1", "0-1:2/1"),
        ("4294967296", "4294967296"),
        ("0\0", "0"),
    ] {
        let refusal = refusal_in(Watch::open(&channel, on_cpus(mask)).await)?;
        assert_violation(&refusal, "cpumask", offending);
    }
    Ok(())
}

/// A cpumask of absurd length is refused with a message of sane length.
#[tokio::test]
async fn a_huge_cpumask_is_refused_briefly() -> Result<()> {
    const BRIEF: usize = 1000;
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    for text in ["a", "1"] {
        let outcome = Watch::open(&channel, on_cpus(&text.repeat(LONG_MASK))).await;
        let refusal = refusal_in(outcome)?;
        assert_violation(&refusal, "cpumask", "");
        assert!(refusal.message.len() < BRIEF, "{}", refusal.message);
        assert!(refusal.violations.iter().all(|violation| violation.1.len() < BRIEF));
    }
    Ok(())
}

/// An unknown scope is refused, instead of being read as the default.
#[tokio::test]
async fn an_unknown_scope_is_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let request = WatchExitsRequest { scope: NO_SCOPE, ..of_scope(Scope::Unspecified) };
    let refusal = refusal_in(Watch::open(&channel, request).await)?;
    assert_violation(&refusal, "scope", "77");
    Ok(())
}

/// A delay that is negative or too long is refused.
#[tokio::test]
async fn impossible_batch_delays_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    for (seconds, nanos) in [(-1, 0), (0, -1), (TOO_LONG_S, 0), (i64::MAX, 0)] {
        let mut request = WatchExitsRequest::default();
        let delay = request.max_batch_delay.get_or_insert_default();
        (delay.seconds, delay.nanos) = (seconds, nanos);
        let refusal = refusal_in(Watch::open(&channel, request).await)?;
        assert_violation(&refusal, "max_batch_delay", "");
    }
    Ok(())
}

/// An unknown lag policy is refused, instead of being read as the default.
#[tokio::test]
async fn an_unknown_lag_policy_is_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let request = WatchExitsRequest { on_lag: NO_SCOPE, ..WatchExitsRequest::default() };
    let refusal = refusal_in(Watch::open(&channel, request).await)?;
    assert_violation(&refusal, "on_lag", "77");
    Ok(())
}

/// An impossible cursor, or one beside `replay_last`, is refused with the name of its field.
#[tokio::test]
async fn impossible_cursors_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let watch = Watch::everything(&channel).await?;
    let now = watch.started().cursor.clone().unwrap_or_default();
    let beyond = Cursor { sequence: u64::MAX, ..now.clone() };
    let nobody = Cursor { instance_id: String::new(), ..now.clone() };
    let request = |resume_after: Cursor, replay_last| WatchExitsRequest {
        resume_after: Some(resume_after),
        replay_last,
        ..WatchExitsRequest::default()
    };
    for (request, field, offending) in [
        (request(beyond, 0), "resume_after.sequence", u64::MAX.to_string()),
        (request(nobody, 0), "resume_after.instance_id", "empty".to_owned()),
        (request(now.clone(), 5), "replay_last", "5".to_owned()),
    ] {
        let refusal = refusal_in(Watch::open(&channel, request).await)?;
        assert_violation(&refusal, field, &offending);
    }
    Watch::open(&channel, request(now, 0)).await?;
    Ok(())
}

/// One watcher more than the limit gets a retry delay, and is accepted later.
#[tokio::test]
async fn a_watcher_beyond_the_limit_gets_a_retry_delay() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-watchers", "1"]).await?;
    let channel = connect(&agent.url()).await?;
    let watch = Watch::everything(&channel).await?;
    let refusal = refusal_in(Watch::everything(&channel).await)?;
    assert_eq!((refusal.code, refusal.retry), (Code::ResourceExhausted, true), "{refusal:?}");
    drop(watch);
    within("a free watcher", async { while Watch::everything(&channel).await.is_err() {} }).await
}

/// A refused request leaves nothing behind: the agent still serves, and has no watcher.
#[tokio::test]
async fn refused_requests_leave_no_watcher_behind() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    drop(refusal_in(Watch::open(&channel, on_cpus("a")).await)?);
    let mut client = service(&agent.url()).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    assert_eq!(node.counters.unwrap_or_default().watchers, 0);
    Ok(())
}

fn assert_violation(refusal: &DetailedStatus, field: &str, offending: &str) {
    assert_eq!(refusal.code, Code::InvalidArgument, "{refusal:?}");
    let named: Vec<_> = refusal.violations.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(named, [field], "{refusal:?}");
    let mut described = refusal.violations.iter().map(|(_, description)| description);
    assert!(described.all(|output| output.contains(offending)), "{refusal:?}: no {offending}");
    assert_sentence(&refusal.message);
}

fn assert_not_found(refusal: &DetailedStatus) {
    assert_eq!(refusal.code, Code::NotFound, "{refusal:?}");
    assert_eq!(refusal.reason.as_deref(), Some("NO_SUCH_TASK"), "{refusal:?}");
    assert!(refusal.message.contains("ESRCH"), "{refusal:?}");
    assert!(refusal.message.contains(&NO_SUCH_TASK.to_string()), "{refusal:?}");
    assert_sentence(&refusal.message);
}

/// Messages are one sentence, lowercase, without a full stop.
fn assert_sentence(message: &str) {
    assert!(!message.starts_with(|c: char| c.is_uppercase()), "{message}");
    assert!(!message.ends_with('.') && !message.contains('\n'), "{message}");
}
