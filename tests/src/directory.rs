//! Directories that any user can write to, because the agent changes its user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// All permissions for all users.
const OPEN: u32 = 0o777;
/// Read and entered by all, changed by the owner.
const READABLE: u32 = 0o755;

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

/// Makes a directory that any user may enter and read, and that its owner alone changes.
///
/// # Errors
///
/// It cannot be made.
pub fn readable_to_all() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(READABLE))?;
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
