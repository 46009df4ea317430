//! Temporary file systems.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A file system in memory, which is unmounted when it is dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `size`, for example `16k`, on a directory.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn mount(path: &Path, size: &str) -> Result<Self> {
        let options = format!("size={size},mode=700");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("mount a tmpfs on {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Remounts it read-only.
    ///
    /// # Errors
    ///
    /// A file in it is being written.
    pub fn make_read_only(&self) -> Result<()> {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &self.path, None::<&str>, flags, None::<&str>)
            .with_context(|| format!("make {} read-only", self.path.display()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A process that has a file open keeps the file system alive, detached.
        let _unmounted = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
