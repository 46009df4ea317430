//! Settings by variables, as unit files and manifests write them.

use anyhow::Result;
use taskstats_tests::agent::Launch;
use taskstats_tests::client::service;
use taskstats_tests::machine_lock::MachineLock;

use crate::support::get_pid;

/// The exit code of a setting that cannot be used.
const USAGE: i32 = 2;

/// Switches are 1 or yes, lists have blanks and empty items, and a variable without a value is unset.
#[tokio::test]
async fn usual_spellings_are_accepted() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for switch in ["1", "yes", "ON", " true "] {
        let launch = Launch::new()?;
        let listen = format!("TASKSTATSD_LISTEN= {} , tcp://127.0.0.1:0,, ", launch.url());
        let insecure = format!("TASKSTATSD_INSECURE={switch}");
        let variables = ["env", &listen, &insecure, "TASKSTATSD_MAX_CALLS= 7 "];
        let unset = ["TASKSTATSD_NODE_NAME=", "TASKSTATSD_FAIL_FAST=", "TASKSTATSD_ALLOW=;"];
        let mut agent = launch.wrapped(variables.into_iter().chain(unset)).start().await?;
        for url in [agent.url(), agent.listening_on("tcp://")?] {
            get_pid(&mut service(&url).await?, std::process::id()).await?;
        }
        assert!(agent.stop().await?.success());
    }
    Ok(())
}

#[tokio::test]
async fn a_switch_that_is_off_is_off() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for switch in ["0", "no", "Off", "false", ""] {
        let launch = Launch::new()?.arguments(["--listen", "tcp://127.0.0.1:0"]);
        let insecure = format!("TASKSTATSD_INSECURE={switch}");
        let ending = launch.wrapped(["env", &insecure]).run().await?;
        assert_eq!(ending.status.code(), Some(USAGE), "{switch}: {}", ending.stderr);
        assert!(ending.stderr.contains("--insecure"), "{switch}: {}", ending.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_no_switch_names_its_variable() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let ending = Launch::new()?.wrapped(["env", "TASKSTATSD_INSECURE=maybe"]).run().await?;
    assert_eq!(ending.status.code(), Some(USAGE), "{}", ending.stderr);
    assert!(ending.stderr.contains("TASKSTATSD_INSECURE is `maybe`"), "{}", ending.stderr);
    Ok(())
}
