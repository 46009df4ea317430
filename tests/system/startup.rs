//! The start of the agent, and the messages of a failed start.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use anyhow::Result;
use taskstats_tests::agent::{Agent, Ending, Launch};
use taskstats_tests::client::service;
use taskstats_tests::machine_lock::MachineLock;

use crate::support::get_pid;

/// Exit code of a usage error.
const USAGE: i32 = 2;
/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o777;

/// A flag that does not exist is an error of usage, and named.
#[tokio::test]
async fn an_unknown_flag_is_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let ending = Launch::new()?.arguments(["--no-such-flag"]).run().await?;
    assert_eq!(ending.status.code(), Some(USAGE));
    assert!(ending.stderr.contains("--no-such-flag"), "{}", ending.stderr);
    Ok(())
}

/// Values that make no sense are errors of usage, and named.
#[tokio::test]
async fn invalid_values_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for arguments in [
        ["--listen", "carrier-pigeon://here"],
        ["--receive-buffer", "many"],
        ["--history-bytes", "-1"],
        ["--drain-timeout", "soon"],
    ] {
        let ending = Launch::new()?.arguments(arguments).run().await?;
        assert_eq!(ending.status.code(), Some(USAGE), "{arguments:?}: {}", ending.stderr);
        assert!(ending.stderr.contains(arguments[1]), "{arguments:?}: {}", ending.stderr);
    }
    Ok(())
}

/// Values out of range are refused with the range.
#[tokio::test]
async fn values_out_of_range_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for arguments in [
        ["--receive-buffer", "1KiB"],
        ["--receive-buffer", "1TiB"],
        ["--history-bytes", "1KiB"],
        ["--max-watchers", "0"],
        ["--max-call-rate", "1000000001"],
        ["--max-connections", "18446744073709551615"],
    ] {
        let ending = Launch::new()?.listen_privately().arguments(arguments).run().await?;
        assert_failed(&ending, arguments[0]);
        assert!(ending.stderr.contains("out of range"), "{}", ending.stderr);
    }
    Ok(())
}

/// The socket belongs to its owner and group alone.
#[tokio::test]
async fn the_socket_has_restricted_permissions() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let metadata = fs::metadata(agent.socket())?;
    assert!(metadata.file_type().is_socket());
    let mode = metadata.permissions().mode() & PERMISSIONS;
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    Ok(())
}

/// A socket that another agent serves is left alone.
#[tokio::test]
async fn a_socket_in_use_is_not_replaced() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let first = Agent::start().await?;
    let ending = Launch::new()?.arguments(["--listen", &first.url()]).run().await?;
    assert_failed(&ending, &first.socket().display().to_string());
    let mut client = service(&first.url()).await?;
    get_pid(&mut client, std::process::id()).await?;
    Ok(())
}

/// A stale socket is replaced.
#[tokio::test]
async fn a_stale_socket_is_replaced() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately();
    drop(UnixListener::bind(launch.socket())?);
    assert!(launch.socket().exists(), "closing does not remove it");
    let agent = launch.start().await?;
    get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
    Ok(())
}

/// A file that is no socket is never removed.
#[tokio::test]
async fn a_file_at_the_socket_path_is_kept() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately();
    drop(File::create(launch.socket())?);
    let ending = launch.run().await?;
    assert_failed(&ending, &launch.socket().display().to_string());
    assert!(fs::metadata(launch.socket())?.is_file());
    Ok(())
}

/// A directory that is missing is named.
#[tokio::test]
async fn a_missing_directory_is_named() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?;
    let missing = launch.socket().with_file_name("missing").join("agent.sock");
    let url = format!("unix://{}", missing.display());
    let ending = launch.arguments(["--listen", &url]).run().await?;
    assert_failed(&ending, &missing.display().to_string());
    Ok(())
}

/// A network port without encryption needs a flag, which the message names.
#[tokio::test]
async fn a_plaintext_network_port_needs_a_flag() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.arguments(["--listen", "tcp://127.0.0.1:0"]);
    let ending = launch.run().await?;
    assert!(!ending.status.success(), "{ending:?}");
    assert!(ending.stderr.contains("--insecure"), "{}", ending.stderr);
    let agent = launch.arguments(["--insecure"]).start().await?;
    let url = agent.listening_on("tcp://")?;
    get_pid(&mut service(&url).await?, std::process::id()).await?;
    Ok(())
}

/// A port that is in use is named.
#[tokio::test]
async fn a_port_in_use_is_named() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("tcp://{}", taken.local_addr()?);
    let ending = Launch::new()?.arguments(["--insecure", "--listen", &url]).run().await?;
    assert_failed(&ending, &taken.local_addr()?.to_string());
    Ok(())
}

/// One agent serves several listeners.
#[tokio::test]
async fn several_listeners_serve_at_the_same_time() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    for scheme in ["unix://", "tcp://"] {
        let url = agent.listening_on(scheme)?;
        get_pid(&mut service(&url).await?, std::process::id()).await?;
    }
    Ok(())
}

/// Checks that the agent failed with one line that contains `what`, and did not panic.
fn assert_failed(ending: &Ending, what: &str) {
    assert!(!ending.status.success(), "{ending:?}");
    assert!(ending.stderr.contains(what), "{}", ending.stderr);
    assert!(!ending.stderr.contains("panicked"), "{}", ending.stderr);
}
