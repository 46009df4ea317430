//! A control group that limits memory, of either version of the kernel's interface.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Mount point of the control group hierarchies.
const ROOTS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"];

/// A group, which is removed when it is dropped: its processes must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    directory: PathBuf,
    files: &'static Files,
}

/// The names of files in one version of the interface.
#[derive(Debug)]
struct Files {
    limit: &'static str,
    peak: &'static str,
    kills: &'static str,
}

const FIRST: Files = Files {
    limit: "memory.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
    kills: "memory.oom_control",
};
const SECOND: Files = Files { limit: "memory.max", peak: "memory.peak", kills: "memory.events" };

impl MemoryGroup {
    /// Creates a group for `name` whose processes may use at most `limit` bytes together, page
    /// cache included.
    ///
    /// # Errors
    ///
    /// The kernel cannot limit memory, or a group has that name already.
    pub fn new(name: &str, bytes: u64) -> Result<Self> {
        let (root, files) =
            hierarchy().context("no control group limits memory on this machine")?;
        let directory = root.join(format!("taskstats-tests-{}-{name}", std::process::id()));
        fs::create_dir(&directory)?;
        let group = Self { directory, files };
        fs::write(group.directory.join(files.limit), bytes.to_string())?;
        Ok(group)
    }

    /// Returns a command that starts another one in the group.
    #[must_use]
    pub fn wrapper(&self) -> [String; 4] {
        let processes = self.directory.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", processes.display());
        ["sh", "-e", "-c", &script].map(str::to_owned)
    }

    /// Returns the most that the group held, in bytes.
    ///
    /// # Errors
    ///
    /// The group has been removed.
    pub fn peak(&self) -> Result<u64> {
        Ok(fs::read_to_string(self.directory.join(self.files.peak))?.trim().parse()?)
    }

    /// Returns how many processes the kernel killed because the group held too much.
    ///
    /// # Errors
    ///
    /// The kernel reports none.
    pub fn kills(&self) -> Result<u64> {
        let text = fs::read_to_string(self.directory.join(self.files.kills))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("no oom_kill")?.parse()?)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A group with processes stays, and the next boot removes it.
        drop(fs::remove_dir(&self.directory));
    }
}

fn hierarchy() -> Option<(&'static Path, &'static Files)> {
    ROOTS.iter().map(Path::new).find_map(|root| {
        if root.join(FIRST.limit).exists() {
            return Some((root, &FIRST));
        }
        let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).ok()?;
        controllers.split_whitespace().any(|name| name == "memory").then_some((root, &SECOND))
    })
}
