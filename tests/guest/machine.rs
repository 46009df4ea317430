//! The virtual machine around the first program.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

use crate::report::{self, Report};

/// File systems that programs expect, and their directories.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
];
/// The port of the report; the first port is the console.
const PORT: &str = "/dev/ttyS1";
/// The working directory of the test.
const DIRECTORY: &str = "/tmp";
/// The flags of the loopback interface, and those that bring it up, after which the kernel assigns
/// its address (`IFF_UP` and `IFF_LOOPBACK`).
const LOOPBACK: (&str, &str) = ("/sys/class/net/lo/flags", "0x9");

/// Sets up the machine, runs `exercise`, sends its report, and powers off.
///
/// # Errors
///
/// The machine cannot be ended.
pub(crate) fn run(exercise: impl FnOnce(&Path) -> Result<Report>) -> Result<()> {
    let outcome = prepare().and_then(|()| exercise(Path::new(DIRECTORY)));
    if let Err(error) = send(&outcome) {
        eprintln!("guest: sending the report failed: {error:#}");
    }
    // QEMU ends instead of starting the machine again.
    reboot(RebootMode::RB_AUTOBOOT).context("end the machine")?;
    Ok(())
}

fn prepare() -> Result<()> {
    mount_all()?;
    let (path, up) = LOOPBACK;
    fs::write(path, up).context("bring the loopback up")
}

fn mount_all() -> Result<()> {
    for (kind, directory) in MOUNTS {
        fs::create_dir_all(directory)?;
        let mounted =
            mount(Some(kind), Path::new(directory), Some(kind), MsFlags::empty(), None::<&str>);
        mounted.with_context(|| format!("mount {directory}"))?;
    }
    Ok(())
}

fn send(outcome: &Result<Report>) -> Result<()> {
    let mut port: File = OpenOptions::new().write(true).open(PORT).context(PORT)?;
    match outcome {
        Ok(report) => report.write(&mut port),
        Err(error) => report::write_failure(error, &mut port),
    }
}
