//! Directories that the agent can use whoever it becomes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// All rights for all users.
const OPEN: u32 = 0o777;

/// Makes a directory in which any user may make and remove files.
///
/// # Errors
///
/// It cannot be made.
pub fn open_to_all() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    open_file_to_all(directory.path())?;
    Ok(directory)
}

/// Opens a file to any user, as a service manager does its socket.
///
/// # Errors
///
/// It is not there.
pub fn open_file_to_all(path: &Path) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(OPEN))?)
}
