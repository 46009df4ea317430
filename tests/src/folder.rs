//! Folders that the agent can use whoever it becomes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use tempfile::TempDir;

/// All rights for all users.
const OPEN: u32 = 0o777;

/// Makes a folder in which any user may make and remove files.
///
/// # Errors
///
/// It cannot be made.
pub fn open_to_all() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(OPEN))?;
    Ok(folder)
}
