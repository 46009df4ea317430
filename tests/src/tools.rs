//! Third-party programs that the tests run; `tests/tools` installs them.

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

/// Returns an old grpcurl, which sends the path of a unix socket as the authority.
///
/// # Errors
///
/// The program is not installed.
pub fn old_grpcurl() -> Result<PathBuf> {
    installed("grpcurl-1.8.6")
}

/// Returns a gRPC client in another language, or an example collector, by its name in
/// `tests/peers/tools`.
///
/// # Errors
///
/// The program is not installed.
pub fn peer(name: &str) -> Result<PathBuf> {
    installed(name)
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
