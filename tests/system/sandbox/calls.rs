//! What a process in the agent's sandbox can do, tried from inside of it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result};
use taskstats_tests::binaries;
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use tokio::process::Command;

/// What serving takes.
const ALLOWED: [&str; 8] = [
    "read procfs",
    "read sysfs",
    "list threads",
    "keep state",
    "start a thread",
    "pin a thread",
    "panic",
    "open generic netlink",
];
/// What system calls are refused.
const NOT_CALLED: [&str; 13] = [
    "send with fast open",
    "send a message with fast open",
    "mark a socket",
    "connect",
    "watch a directory",
    "open routing netlink",
    "open an internet socket",
    "listen on a port",
    "set an option of IP",
    "execute",
    "signal the parent",
    "unshare",
    "become root",
];
/// What landlock refuses, where the kernel has it.
const NOT_OPENED: [&str; 3] = ["read another file", "list another folder", "write a setting"];
/// What is not on the list either, under names that depend on the C library.
const NOT_MADE: [&str; 2] = ["make a socket", "make a link"];

/// Runs all attempts; returns what came of each.
async fn try_all(arguments: &[&str]) -> Result<BTreeMap<String, String>> {
    let said = Peer::run(&binaries::confined()?, arguments).await?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let lines = said.stdout.lines().filter_map(|line| line.split_once(": "));
    let mut outcomes: BTreeMap<_, _> =
        lines.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect();
    remove_folder(&said.stdout)?;
    outcomes.remove("folder");
    outcomes.insert("landlock".to_owned(), said.stderr);
    Ok(outcomes)
}

/// Without the sandbox each attempt succeeds: what fails in it fails because of it.
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

/// What serving takes is allowed, and what would give more rights, reach the network or start
/// programs is not.
#[tokio::test]
async fn what_serving_does_not_take_is_refused() -> Result<()> {
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

/// A panic names the functions that led to it: the agent may read its own binary.
#[tokio::test]
async fn a_panic_has_a_backtrace() -> Result<()> {
    let mut command = Command::new(binaries::confined()?);
    let output = GuardedChild::run(command.env("RUST_BACKTRACE", "1")).await?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("confined::panic_and_go_on"), "{stderr}");
    remove_folder(&String::from_utf8(output.stdout)?)
}

/// An abort ends the process by its own signal, not by what comes of one that was refused.
#[tokio::test]
async fn an_abort_is_an_abort() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(binaries::confined()?);
    let output = GuardedChild::run(command.arg("abort").env("TMPDIR", directory.path())).await?;
    assert_eq!(output.status.signal(), Some(nix::libc::SIGABRT));
    Ok(())
}

/// Removes the directory that the attempts were made in.
fn remove_folder(stdout: &str) -> Result<()> {
    let directory = stdout.lines().find_map(|line| line.strip_prefix("folder: "));
    Ok(std::fs::remove_dir_all(directory.context("no folder")?)?)
}
