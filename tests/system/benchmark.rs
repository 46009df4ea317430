//! The benchmark works. Its figures are not judged: they depend on the machine.

use anyhow::{Result, ensure};
use taskstats_tests::binaries;
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::machine_lock::MachineLock;
use tokio::process::Command;

/// All measurements but `idle`, which needs a machine that is silent meanwhile.
const MEASUREMENTS: &str =
    "lost,exits,latency,stall,watchers,query,sandbox,history,growth,tls,options,attacks";

/// A short run measures everything that it has a goal for.
#[tokio::test]
async fn a_short_run_measures_everything() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut command = Command::new(binaries::bench()?);
    command.arg("--agent").arg(binaries::taskstatsd()?);
    command.args(["--quick", "--seconds", "1", "--lost-seconds", "1", "--only", MEASUREMENTS]);
    let output = GuardedChild::run(&mut command).await?;
    let (report, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {errors}", output.status);
    let missing = report.lines().filter(|line| line.contains("not measured")).count();
    assert_eq!(missing, 1, "only the row of `idle` has no figure in {report}");
    Ok(())
}
