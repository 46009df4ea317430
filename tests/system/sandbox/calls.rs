//! The operations of a process in the agent's sandbox, tried from inside.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result};
use taskstats_tests::binaries;
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use tokio::process::Command;

/// Operations that serving needs.
const ALLOWED: [&str; 7] = [
    "read procfs",
    "read sysfs",
    "list threads",
    "keep state",
    "start a thread",
    "pin a thread",
    "panic",
];
/// Operations that the seccomp filter refuses.
const NOT_CALLED: [&str; 14] = [
    "send with fast open",
    "send a message with fast open",
    "mark a socket",
    "connect",
    "watch a directory",
    "open routing netlink",
    "open generic netlink",
    "open an internet socket",
    "listen on a port",
    "set an option of IP",
    "execute",
    "signal the parent",
    "unshare",
    "become root",
];
/// Operations that landlock refuses, where the kernel has it.
const NOT_OPENED: [&str; 3] = ["read another file", "list another directory", "write a setting"];
/// Further system calls that are not allowed; their names depend on the C library.
const NOT_MADE: [&str; 2] = ["make a socket", "make a link"];

/// Runs all attempts, and returns the outcome of each.
async fn try_all(arguments: &[&str]) -> Result<BTreeMap<String, String>> {
    let said = Peer::run(&binaries::confined()?, arguments).await?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let lines = said.stdout.lines().filter_map(|line| line.split_once(": "));
    let mut outcomes: BTreeMap<_, _> =
        lines.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect();
    remove_directory(&said.stdout)?;
    outcomes.remove("directory");
    outcomes.insert("landlock".to_owned(), said.stderr);
    Ok(outcomes)
}

/// Without the sandbox each attempt succeeds, so a failure is due to the sandbox.
#[tokio::test]
async fn each_attempt_succeeds_outside_of_the_sandbox() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let outcomes = try_all(&["free"]).await?;
    for name in ALLOWED.iter().chain(&NOT_CALLED).chain(&NOT_OPENED).chain(&NOT_MADE) {
        // A filter would refuse these with EPERM before.
        let expected = match *name {
            "set an option of IP" => "EOPNOTSUPP",
            "connect" => "ENOENT",
            _ => "ok",
        };
        assert_eq!(outcomes.get(*name).map(String::as_str), Some(expected), "{name}");
    }
    Ok(())
}

/// Operations that serving needs are allowed. Those that would gain privileges, reach the network
/// or start programs are not.
#[tokio::test]
async fn operations_that_serving_does_not_need_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let outcomes = try_all(&[]).await?;
    for name in ALLOWED {
        assert_eq!(outcomes.get(name).map(String::as_str), Some("ok"), "{name}: {outcomes:?}");
    }
    for name in NOT_CALLED {
        assert_eq!(outcomes.get(name).map(String::as_str), Some("EPERM"), "{name}: {outcomes:?}");
    }
    for name in NOT_MADE {
        assert_ne!(outcomes.get(name).map(String::as_str), Some("ok"), "{name}: {outcomes:?}");
    }
    if outcomes.get("landlock").is_some_and(|said| said.contains("landlock version")) {
        for name in NOT_OPENED {
            assert_eq!(outcomes.get(name).map(String::as_str), Some("EACCES"), "{name}");
        }
    }
    Ok(())
}

/// A panic has a backtrace: the agent may read its own binary.
#[tokio::test]
async fn a_panic_has_a_backtrace() -> Result<()> {
    let mut command = Command::new(binaries::confined()?);
    let output = GuardedChild::run(command.env("RUST_BACKTRACE", "1")).await?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("confined::panic_and_go_on"), "{stderr}");
    remove_directory(&String::from_utf8(output.stdout)?)
}

/// An abort ends the process by SIGABRT, not by the consequence of a refused signal.
#[tokio::test]
async fn an_abort_ends_by_sigabrt() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(binaries::confined()?);
    let output = GuardedChild::run(command.arg("abort").env("TMPDIR", directory.path())).await?;
    assert_eq!(output.status.signal(), Some(nix::libc::SIGABRT));
    Ok(())
}

/// Removes the directory of the attempts.
fn remove_directory(stdout: &str) -> Result<()> {
    let directory = stdout.lines().find_map(|line| line.strip_prefix("directory: "));
    Ok(std::fs::remove_dir_all(directory.context("no directory")?)?)
}
