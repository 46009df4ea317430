//! The user of the agent.

use anyhow::Result;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{descriptor_limit, set_descriptor_limit};

use super::broker::broker_of;
use super::{NET_ADMIN, NOBODY, NONE, assert_all, reported, statuses, use_all};

/// Exit code of a usage error.
const USAGE: i32 = 2;
/// Starts the agent as an unprivileged user with one capability, as systemd does.
const AMBIENT: [&str; 6] = [
    "setpriv",
    "--reuid=61000",
    "--regid=61000",
    "--clear-groups",
    "--inh-caps=+net_admin",
    "--ambient-caps=+net_admin",
];
/// Root as in a container that was granted one capability: it cannot become anyone else.
const ROOT_WITH_ONE: [&str; 3] =
    ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin"];

/// A user is chosen by its numbers.
#[tokio::test]
async fn the_user_is_chosen() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--user", "4242:4343"]).await?;
    use_all(&agent).await?;
    let statuses = statuses(agent.pid()?)?;
    assert_all(&statuses, "Uid", "4242 4242 4242 4242");
    assert_all(&statuses, "Gid", "4343 4343 4343 4343");
    Ok(())
}

/// A user that does not exist, is none, or would not be left is an error of usage.
#[tokio::test]
async fn a_user_that_cannot_be_changed_to_is_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (arguments, named) in [
        (vec!["--user", "no-such-user"], "no-such-user"),
        (vec!["--user", "1:2:3"], "1:2:3"),
        (vec!["--user", NOBODY, "--no-sandbox"], "--no-sandbox"),
    ] {
        let ending = Launch::new()?.listen_privately().arguments(&arguments).run().await?;
        assert_eq!(ending.status.code(), Some(USAGE), "{arguments:?}: {}", ending.stderr);
        assert!(ending.stderr.contains(named), "{}", ending.stderr);
    }
    Ok(())
}

/// Processes of a user that many programs share could read the state.
#[tokio::test]
async fn a_shared_user_keeps_no_state() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    let launch =
        Launch::new()?.listen_privately().arguments(["--user", NOBODY, "--state-dir", &path]);
    let ending = launch.run().await?;
    assert!(!ending.status.success());
    assert!(ending.stderr.contains("other programs run"), "{}", ending.stderr);
    Ok(())
}

/// Another process of the user can lower a limit, which nothing raises again: it is logged.
#[tokio::test]
async fn a_limit_that_was_lowered_is_logged() -> Result<()> {
    let _lock = MachineLock::shared()?;
    // To change the limits of another user's process would need a capability.
    let agent = Agent::start_with(["--user", "0:0"]).await?;
    let limit = descriptor_limit(agent.pid()?)?;
    set_descriptor_limit(agent.pid()?, limit - 1).await?;
    within("the warning", async {
        while !agent.stderr()?.contains("lowered a limit") {
            tokio::task::yield_now().await;
        }
        let line = format!("limit=\"LimitNOFILE\" from={limit} to={}", limit - 1);
        anyhow::ensure!(agent.stderr()?.contains(&line), "{}", agent.stderr()?);
        Ok(())
    })
    .await?
}

/// Another user with the capability leaves it to the broker, gives up the ways to pass it on, and serves.
#[tokio::test]
async fn another_user_is_kept() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Launch::new()?.listen_privately().wrapped(AMBIENT).start().await?;
    use_all(&agent).await?;
    let statuses = statuses(agent.pid()?)?;
    assert_all(&statuses, "Uid", "61000 61000 61000 61000");
    assert_all(&statuses, "CapPrm", NONE);
    assert_all(&super::statuses(broker_of(&agent)?)?, "CapEff", NET_ADMIN);
    for (field, value) in
        [("CapInh", NONE), ("CapAmb", NONE), ("NoNewPrivs", "1"), ("Seccomp", "2")]
    {
        assert_all(&statuses, field, value);
    }
    let reported = reported(&agent).await?;
    assert!(!reported.gaps.iter().any(|gap| gap.contains("root")), "{reported:?}");
    Ok(())
}

/// An agent that may not change to the requested user does not start as another one.
#[tokio::test]
async fn a_user_that_cannot_be_changed_to_is_an_error() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately().wrapped(AMBIENT).arguments(["--user", "4242"]);
    let ending = launch.run().await?;
    assert!(!ending.status.success());
    assert!(ending.stderr.contains("setgroups"), "{}", ending.stderr);
    Ok(())
}

/// Root that may not change its user, as in a container, loses root's privileges, and the agent
/// reports that it is still root.
#[tokio::test]
async fn root_of_a_container_serves_without_a_capability() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Launch::new()?.listen_privately().wrapped(ROOT_WITH_ONE).start().await?;
    use_all(&agent).await?;
    let statuses = statuses(agent.pid()?)?;
    assert_all(&statuses, "Uid", "0 0 0 0");
    assert_all(&statuses, "CapPrm", NONE);
    assert_all(&statuses, "Seccomp", "2");
    assert_all(&super::statuses(broker_of(&agent)?)?, "CapPrm", NET_ADMIN);
    let reported = reported(&agent).await?;
    assert!(reported.gaps.iter().any(|gap| gap.contains("still root")), "{reported:?}");
    Ok(())
}
