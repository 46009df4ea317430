//! The user of the agent.

use anyhow::Result;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::machine_lock::MachineLock;

use super::{NET_ADMIN, NOBODY, NONE, assert_all, reported, statuses, use_all};

/// Exit code of a usage error.
const USAGE: i32 = 2;
/// Starts the agent as an unprivileged user with one capability, as systemd does.
const AMBIENT: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
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

/// Another user with the capability gives up the ways to pass it on, and serves.
#[tokio::test]
async fn another_user_is_kept() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Launch::new()?.listen_privately().wrapped(AMBIENT).start().await?;
    use_all(&agent).await?;
    let statuses = statuses(agent.pid()?)?;
    assert_all(&statuses, "Uid", "65534 65534 65534 65534");
    assert_all(&statuses, "CapEff", NET_ADMIN);
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
async fn root_of_a_container_serves_with_one_capability() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Launch::new()?.listen_privately().wrapped(ROOT_WITH_ONE).start().await?;
    use_all(&agent).await?;
    let statuses = statuses(agent.pid()?)?;
    assert_all(&statuses, "Uid", "0 0 0 0");
    assert_all(&statuses, "CapPrm", NET_ADMIN);
    assert_all(&statuses, "Seccomp", "2");
    let reported = reported(&agent).await?;
    assert!(reported.gaps.iter().any(|gap| gap.contains("still root")), "{reported:?}");
    Ok(())
}
