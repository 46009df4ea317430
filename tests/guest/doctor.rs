//! `taskstatsd doctor` on this kernel, where nothing is wrong.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taskstats_tests::binaries;
use taskstats_tests::deadline::within;
use taskstats_tests::guarded_child::GuardedChild;
use tokio::process::Command;

/// The checks that must be good.
const GOOD: [&str; 8] = [
    "kernel",
    "known-bad kernels",
    "taskstats",
    "CAP_NET_ADMIN",
    "user namespace",
    "pid namespace",
    "network namespace",
    "self-test",
];

/// Runs the doctor, which must find that exits arrive, and name the running kernel.
pub(crate) async fn consult(release: &str, version: u32) -> Result<()> {
    let mut doctor = Command::new(binaries::taskstatsd()?);
    let output =
        within("the doctor", GuardedChild::run(doctor.args(["doctor", "-o", "json"]))).await??;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(output.status.success(), "{}: {report}", output.status);
    ensure!(report["healthy"] == true, "{report}");
    let checks = report["checks"].as_array().context("no checks")?;
    for name in GOOD {
        let check = checks.iter().find(|check| check["name"] == name);
        let check = check.with_context(|| format!("no check of {name}: {report}"))?;
        ensure!(check["verdict"] == "good", "{check}");
    }
    let kernel = checks[0]["finding"].as_str().context("no finding on the kernel")?;
    let is_right = kernel.contains(release) && kernel.ends_with(&format!("version {version}"));
    ensure!(is_right, "the kernel is {release} with v{version}: {kernel}");
    Ok(())
}
