//! Hand-over files that cannot be used: the next run logs the cause, and starts without them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::service_manager::ServiceManager;

use super::{NO_ARGUMENTS, assert_restart_is_reported, stored_names, watch_one_exit};

/// Another user than the one that runs the tests.
const FOREIGN_USER: u32 = 1;
/// Bytes before the checksum.
const MAGIC_BYTES: usize = 8;
/// The number of bytes before those that the checksum covers.
const HEADER_BYTES: usize = MAGIC_BYTES + 4;
/// An impossible boot id, as long as a real one.
const OTHER_BOOT: &[u8] = b"00000000-0000-4000-8000-000000000000";
/// The agent's log line for all that it rejects.
const REFUSED: &str = "discarded the state of the previous run";
/// The agent's log line for sockets and a file that do not belong together.
const OTHER_CPUS: &str = "the stored sockets are of other CPUs than the file says";

#[tokio::test]
async fn a_damaged_file_is_refused() -> Result<()> {
    refused("is damaged", |manager| {
        let mut bytes = fs::read(manager.handover_file())?;
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).context("an empty file")? ^= 1;
        Ok(fs::write(manager.handover_file(), bytes)?)
    })
    .await
}

#[tokio::test]
async fn a_truncated_file_is_refused() -> Result<()> {
    refused("is damaged", |manager| {
        let bytes = fs::read(manager.handover_file())?;
        let half = bytes.get(..bytes.len() / 2).context("an empty file")?;
        Ok(fs::write(manager.handover_file(), half)?)
    })
    .await
}

#[tokio::test]
async fn a_file_of_another_user_is_refused() -> Result<()> {
    refused("belongs to user 1", |manager| {
        Ok(chown(manager.handover_file(), Some(FOREIGN_USER), Some(FOREIGN_USER))?)
    })
    .await
}

#[tokio::test]
async fn a_file_of_another_boot_is_refused() -> Result<()> {
    refused("the file is of another boot", |manager| of_another_boot(&manager.handover_file()))
        .await
}

#[tokio::test]
async fn sockets_without_their_file_are_refused() -> Result<()> {
    refused(OTHER_CPUS, |manager| Ok(fs::remove_file(manager.handover_file())?)).await
}

#[tokio::test]
async fn a_file_without_its_sockets_is_refused() -> Result<()> {
    refused(OTHER_CPUS, |manager| {
        manager.clear_store();
        Ok(())
    })
    .await
}

/// A manager whose unit allows no stored descriptors.
#[tokio::test]
async fn a_manager_that_stores_nothing_costs_the_history() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?.without_store();
    manager.start().await?;
    let cursor = watch_one_exit(&manager).await?;
    assert!(manager.stop().await?.success());
    assert_eq!(manager.stored()?, [""; 0]);
    assert!(manager.handover_file().exists(), "the agent cannot know that nothing is stored");
    manager.start().await?;
    assert_says(&manager, OTHER_CPUS)?;
    assert_restart_is_reported(&manager, &cursor).await
}

/// An agent without a state directory closes the sockets that the manager stored for it.
#[tokio::test]
async fn sockets_without_a_state_directory_are_closed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    manager.start().await?;
    let cursor = watch_one_exit(&manager).await?;
    assert!(manager.stop().await?.success());
    assert_eq!(manager.stored()?, stored_names()?);
    manager.disable_hand_over();
    manager.start().await?;
    assert_eq!(manager.stored()?, [""; 0], "unused sockets");
    assert_restart_is_reported(&manager, &cursor).await
}

/// Damages the hand-over of a run. The next run logs `why` it rejects it, removes it, reports the
/// restart to watchers, and hands over to its own successor.
async fn refused(why: &str, spoil: impl FnOnce(&mut ServiceManager) -> Result<()>) -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    manager.start().await?;
    let cursor = watch_one_exit(&manager).await?;
    assert!(manager.stop().await?.success());
    assert_eq!(manager.stored()?, stored_names()?);
    spoil(&mut manager)?;
    manager.start().await?;
    assert_says(&manager, why)?;
    assert_eq!(manager.stored()?, [""; 0], "unused sockets");
    assert!(!manager.handover_file().exists(), "an unused file");
    assert_restart_is_reported(&manager, &cursor).await?;
    assert!(manager.stop().await?.success());
    manager.start().await?;
    assert!(!manager.stderr()?.contains(REFUSED), "{}", manager.stderr()?);
    Ok(())
}

fn assert_says(manager: &ServiceManager, why: &str) -> Result<()> {
    let stderr = manager.stderr()?;
    let reported = stderr.lines().any(|line| line.contains(REFUSED) && line.contains(why));
    assert!(reported, "{stderr}");
    Ok(())
}

/// Writes another boot id into a file, and corrects the checksum.
fn of_another_boot(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let boot = fs::read("/proc/sys/kernel/random/boot_id")?;
    let boot = boot.trim_ascii_end();
    let place = bytes.windows(boot.len()).position(|window| window == boot);
    let place = place.context("a file without boot")?;
    let body = bytes.get_mut(place..place + boot.len()).context("no boot")?;
    body.copy_from_slice(OTHER_BOOT);
    let checksum = crc32fast::hash(bytes.get(HEADER_BYTES..).context("no body")?).to_le_bytes();
    bytes.get_mut(MAGIC_BYTES..HEADER_BYTES).context("no header")?.copy_from_slice(&checksum);
    Ok(fs::write(path, bytes)?)
}
