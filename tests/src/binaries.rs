//! The binaries under test, built once for each test process.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The directory of the workspace.
pub const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Names a directory that has all binaries already, where nothing can be built: another machine.
pub const PREBUILT: &str = "TASKSTATS_TESTS_BINARIES";
/// Prefixes of the variables by which cargo describes a package to its tests and build scripts.
const PACKAGE_VARIABLES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];

/// Returns the agent's binary, current with the sources.
///
/// # Errors
///
/// The build fails.
pub fn taskstatsd() -> Result<PathBuf> {
    built("taskstatsd")
}

/// Returns the command line's binary, current with the sources.
///
/// # Errors
///
/// The build fails.
pub fn taskstatsctl() -> Result<PathBuf> {
    built("taskstatsctl")
}

/// Returns the binary that makes tasks exit. Cargo builds it with the tests.
///
/// # Errors
///
/// The test executable is not where cargo puts it.
pub fn workload() -> Result<PathBuf> {
    Ok(directory()?.join("workload"))
}

/// Returns the binary that watches exits and logs them. Cargo builds it with the tests.
///
/// # Errors
///
/// As in [`workload`].
pub fn follower() -> Result<PathBuf> {
    Ok(directory()?.join("follower"))
}

/// Returns the binary that tries what the sandbox forbids. Cargo builds it with the tests.
///
/// # Errors
///
/// As in [`workload`].
pub fn confined() -> Result<PathBuf> {
    Ok(directory()?.join("confined"))
}

/// Returns the binary that keeps another one from raising its limit of open files, which cargo
/// builds with the tests.
///
/// # Errors
///
/// As in [`workload`].
pub fn low_nofile() -> Result<PathBuf> {
    Ok(directory()?.join("low_nofile"))
}

/// Returns the binary that tries the agent on whichever kernel runs, which cargo builds with the
/// tests.
///
/// # Errors
///
/// As in [`workload`].
pub fn guest() -> Result<PathBuf> {
    Ok(directory()?.join("guest"))
}

/// Returns the benchmark's binary. Cargo builds it with the tests.
///
/// # Errors
///
/// As in [`workload`].
pub fn bench() -> Result<PathBuf> {
    Ok(directory()?.join("taskstats-bench"))
}

/// Returns the directory of the profile that the tests were built with, for example `target/debug`.
///
/// # Errors
///
/// The test executable is not where cargo puts it.
pub fn directory() -> Result<PathBuf> {
    if let Some(directory) = env::var_os(PREBUILT) {
        return Ok(directory.into());
    }
    let executable = env::current_exe()?;
    let directory = executable.parent().and_then(Path::parent);
    Ok(directory.context("test executable outside a target directory")?.to_owned())
}

fn built(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    if env::var_os(PREBUILT).is_some() {
        return Ok(directory()?.join(name));
    }
    let outcome = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    outcome.as_ref().map_err(|message| anyhow!("{message}"))?;
    Ok(directory()?.join(name))
}

fn build() -> Result<()> {
    let directory = directory()?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or(OsString::from("cargo")));
    command.current_dir(WORKSPACE);
    // The same packages as in CONTRIBUTING.md, so that dependencies have the same features.
    command.args(["build", "--quiet", "--workspace", "--bins"]);
    // Cargo describes the tests' package to the tests. Build scripts of dependencies read the same
    // variables, and would run again.
    let of_package = |name: &OsString| {
        PACKAGE_VARIABLES
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| of_package(name)) {
        command.env_remove(name);
    }
    command.arg("--target-dir").arg(directory.parent().context("no target directory")?);
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => {}
        Some("release") => drop(command.arg("--release")),
        profile => bail!("unknown profile directory {profile:?}"),
    }
    let output = command.output().context("run cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
