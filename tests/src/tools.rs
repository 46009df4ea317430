//! Third-party programs that connect to the agent; `tests/tools` installs them.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::binaries::WORKSPACE;

/// Returns grpcurl.
///
/// # Errors
///
/// The program is not installed.
pub fn grpcurl() -> Result<PathBuf> {
    installed("grpcurl")
}

/// Returns a python with grpcio and its health and reflection packages.
///
/// # Errors
///
/// The program is not installed.
pub fn python() -> Result<PathBuf> {
    installed("python3")
}

/// Returns kubectl.
///
/// # Errors
///
/// The program is not installed.
pub fn kubectl() -> Result<PathBuf> {
    installed("kubectl")
}

/// Returns Envoy.
///
/// # Errors
///
/// The program is not installed.
pub fn envoy() -> Result<PathBuf> {
    installed("envoy")
}

/// Returns k6.
///
/// # Errors
///
/// The program is not installed.
pub fn k6() -> Result<PathBuf> {
    installed("k6")
}

fn installed(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(format!("{WORKSPACE}/target/tools/bin/{name}"));
    ensure!(path.exists(), "{name} is missing: run tests/tools");
    Ok(path)
}
