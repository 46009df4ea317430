//! Files that the agent creates or uses as another user than the one that started it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::Result;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::client::service;
use taskstats_tests::machine_lock::MachineLock;

use super::NOBODY;
use crate::support::get_pid;

/// A directory in which only its owner creates files.
const OWNERS: u32 = 0o755;
/// Root, and its group.
const ROOT: (u32, u32) = (0, 0);

/// The socket keeps the owner that started the agent, so that operators keep their access.
#[tokio::test]
async fn the_socket_keeps_its_owner() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--user", NOBODY]).await?;
    let metadata = fs::metadata(agent.socket())?;
    assert_eq!((metadata.uid(), metadata.gid()), ROOT);
    assert_eq!(metadata.mode() & 0o777, 0o660);
    Ok(())
}

/// In a directory of root's the socket's file outlives the agent, and the next agent replaces it.
#[tokio::test]
async fn a_socket_in_a_directory_of_root_is_replaced_by_the_next_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(OWNERS))?;
    let socket = directory.path().join("agent.sock");
    let url = format!("unix://{}", socket.display());
    for _ in 0..2 {
        let mut agent =
            Launch::new()?.arguments(["--user", NOBODY, "--listen", &url]).start().await?;
        get_pid(&mut service(&url).await?, std::process::id()).await?;
        assert!(agent.stop().await?.success());
        assert!(socket.exists(), "who removed it?");
    }
    Ok(())
}

/// A state directory of root becomes the user's, with the agent's files in it.
#[tokio::test]
async fn a_state_directory_is_given_to_the_user() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let (state, detached) =
        (directory.path().join("state"), directory.path().join("state/handover"));
    fs::set_permissions(directory.path(), Permissions::from_mode(OWNERS))?;
    fs::create_dir(&state)?;
    fs::set_permissions(&state, Permissions::from_mode(0o700))?;
    fs::write(&detached, "left by root")?;
    let path = state.display().to_string();
    let agent = Agent::start_with(["--user", "4242:4343", "--state-dir", &path]).await?;
    let metadata = fs::metadata(&state)?;
    assert_eq!((metadata.uid(), metadata.gid()), (4242, 4343));
    assert!(agent.stderr()?.contains(&path), "{}", agent.stderr()?);
    assert!(agent.stderr()?.contains("handover is damaged"), "{}", agent.stderr()?);
    Ok(())
}

/// A directory with files of other programs does not change its owner.
#[tokio::test]
async fn a_directory_with_other_files_keeps_its_owner() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(OWNERS))?;
    let foreign = directory.path().join("foreign");
    fs::write(&foreign, "")?;
    refused(&directory.path().display().to_string(), &foreign.display().to_string()).await?;
    fs::remove_file(&foreign)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    refused(&directory.path().display().to_string(), "belongs to user 0 and has mode 0777").await?;
    refused(&directory.path().display().to_string(), "chown 4242").await?;
    assert_eq!(fs::metadata(directory.path())?.uid(), ROOT.0);
    Ok(())
}

/// The message about a path that is no directory has advice.
#[tokio::test]
async fn a_state_directory_that_is_none_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let missing = directory.path().join("missing");
    refused(&missing.display().to_string(), "does not exist; create it first: mkdir").await?;
    let file = directory.path().join("file");
    fs::write(&file, "")?;
    refused(&file.display().to_string(), "is not a directory; name a directory").await?;
    refused(&file.join("below").display().to_string(), "Not a directory").await
}

/// Checks that the agent does not start with a state directory, and reports `why`.
async fn refused(directory: &str, why: &str) -> Result<()> {
    let arguments = ["--user", "4242:4343", "--state-dir", directory];
    let ending = Launch::new()?.listen_privately().arguments(arguments).run().await?;
    assert!(!ending.status.success(), "{}", ending.stderr);
    assert!(ending.stderr.contains(why), "{}", ending.stderr);
    Ok(())
}
