//! Directories that any user can write to, because the agent changes its user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// All permissions for all users.
const OPEN: u32 = 0o777;

/// Creates a directory in which any user may create and remove files.
///
/// # Errors
///
/// The directory cannot be created.
pub fn open_to_all() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    open_file_to_all(directory.path())?;
    Ok(directory)
}

/// Opens a file to any user, as a service manager does its socket.
///
/// # Errors
///
/// The file does not exist.
pub fn open_file_to_all(path: &Path) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(OPEN))?)
}
