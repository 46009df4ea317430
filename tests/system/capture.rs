//! `taskstatsd capture`, and the test of tests/kernels on the running kernel, which records one.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use taskstats_tests::binaries;
use taskstats_tests::deadline::within;
use taskstats_tests::environments::{CHILD_NETWORK, CHILD_NETWORK_AS_USER, CHILD_PID};
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;

use taskstats_tests::workload::Workload;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::NO_SUCH_TASK;

/// Exit code of a usage error.
const USAGE: i32 = 2;
/// Exit code of a command that the kernel or the system refused.
const REFUSED: i32 = 1;
/// The number of threads whose exits, of some hundred bytes each, exceed the 64 KiB of a pipe.
const MORE_THAN_A_PIPE_HOLDS: &str = "1000";
/// Drops the capability that taskstats needs.
const WITHOUT_NET_ADMIN: [&str; 4] = ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];

/// The test that `tests/kernels` runs on other kernels passes on this one: queries, exits and a
/// capture that a signal ends agree with an independent decoder.
#[tokio::test]
async fn this_kernel_passes_the_guest_tests() -> Result<()> {
    // Alone: the trial compares every exit of the machine.
    let _lock = MachineLock::exclusive()?;
    binaries::taskstatsd()?;
    let directory = tempfile::tempdir_in(binaries::directory()?)?;
    let mut guest = Command::new(binaries::guest()?);
    guest.arg(directory.path()).env(binaries::PREBUILT, binaries::directory()?);
    let output = within("the trial", GuardedChild::run(&mut guest)).await??;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.lines().last(), Some("passed"), "{stdout}");
    assert_eq!(fs::read_dir(directory.path())?.count(), 0, "something was left behind");
    Ok(())
}

/// Values that cannot be used are errors of usage that name their flag.
#[tokio::test]
async fn invalid_captures_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (arguments, named) in [
        (&["--seconds", "0"][..], "--seconds 0"),
        (&["--seconds", "86401"], "--seconds 86401"),
        (&["--seconds", "1", "--cpus", "70000"], "--cpus"),
        (&["--seconds", "1", "--pid", "many"], "--pid"),
        (&["--seconds", "1", "--receive-buffer", "1KiB"], "--receive-buffer"),
        (&[], "--seconds"),
    ] {
        let arguments = [&["capture"], arguments].concat();
        let said = Peer::run(&binaries::taskstatsd()?, &arguments).await?;
        assert_eq!(said.code, Some(USAGE), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(named), "{arguments:?}: {}", said.stderr);
        assert_eq!(said.stdout, "");
    }
    Ok(())
}

/// A flag of the serving agent is not passed over.
#[tokio::test]
async fn a_flag_of_the_agent_is_refused_for_a_capture() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let arguments = ["--max-watchers", "3", "capture", "--seconds", "1"];
    let said = Peer::run(&binaries::taskstatsd()?, arguments).await?;
    assert_eq!(said.code, Some(USAGE), "{}", said.stderr);
    assert!(said.stderr.contains("--max-watchers"), "{}", said.stderr);
    Ok(())
}

/// A capture that fails reports the cause, and leaves no file; an existing file is not overwritten.
#[tokio::test]
async fn a_capture_that_cannot_be_taken_says_why() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let (agent, path) = (binaries::taskstatsd()?, directory.path().join("capture"));
    let (agent_text, path_text) = (agent.to_string_lossy(), path.to_string_lossy());
    let capture = ["capture", "--seconds", "1", "--output", &path_text];
    let nobody = NO_SUCH_TASK.to_string();
    let said = Peer::run(&agent, [&capture[..], &["--pid", &nobody]].concat()).await?;
    assert_eq!(said.code, Some(REFUSED));
    assert!(said.stderr.contains(&nobody) && said.stderr.contains("ESRCH"), "{}", said.stderr);
    let deprived = [&WITHOUT_NET_ADMIN[..], &[&*agent_text], &capture].concat();
    let said = Peer::run("setpriv".as_ref(), deprived).await?;
    assert_eq!(said.code, Some(REFUSED));
    assert!(said.stderr.contains("CAP_NET_ADMIN"), "{}", said.stderr);
    assert!(!path.exists());
    fs::write(&path, "precious")?;
    let said = Peer::run(&agent, capture).await?;
    assert_eq!(said.code, Some(REFUSED));
    assert!(said.stderr.contains("--output") && said.stderr.contains("exists"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(&path)?, "precious");
    Ok(())
}

/// Where the kernel sends no exits, a capture is refused with advice, instead of being empty.
#[tokio::test]
async fn a_capture_is_refused_where_no_exits_arrive() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = binaries::taskstatsd()?.to_string_lossy().into_owned();
    for (environment, fix) in [
        (CHILD_NETWORK, "--network=host"),
        (CHILD_NETWORK_AS_USER, "--network=host"),
        (CHILD_PID, "--pid=host"),
    ] {
        let mut words = environment.iter().copied().chain([&*agent, "capture", "--seconds", "1"]);
        let first = words.next().context("no program")?;
        let said = Peer::run(first.as_ref(), words.collect::<Vec<_>>()).await?;
        assert_eq!((said.code, said.stdout.len()), (Some(REFUSED), 0), "{environment:?}: {said:?}");
        assert!(said.stderr.contains(fix), "{environment:?}: {}", said.stderr);
    }
    Ok(())
}

/// An output that is not read does not delay the end of a capture, neither at its time limit nor
/// after a second signal, and the capture is reported as incomplete.
#[tokio::test]
async fn a_capture_with_a_blocked_output_ends() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (seconds, signals) in [("1", &[][..]), ("3600", &[Signal::SIGTERM, Signal::SIGINT])] {
        let mut command = Command::new(binaries::taskstatsd()?);
        command.args(["capture", "--seconds", seconds]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut capture = GuardedChild::spawn(&mut command)?;
        let stderr = capture.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        within("the capture to begin", lines.next_line()).await??;
        Workload::run(&["churn-threads", MORE_THAN_A_PIPE_HOLDS]).await?;
        let pid = Pid::from_raw(capture.id().context("it has ended")?.try_into()?);
        // Different signals, because the kernel may merge two of one kind.
        signals.iter().try_for_each(|signal| kill(pid, *signal))?;
        let said = within("the last line", lines.next_line()).await??;
        let code = within("the end", capture.wait()).await??.code();
        assert_eq!(code, Some(REFUSED), "{said:?}");
        assert!(said.as_ref().is_some_and(|said| said.contains("incomplete")), "{said:?}");
    }
    Ok(())
}
