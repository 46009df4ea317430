//! Tasks that began before and after delay accounting was turned on, distinguished whatever the
//! clock is set to.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use prost_types::Timestamp;
use taskstats_proto::v1::{DelayAccounting, GetPidRequest, TaskStats};
use taskstats_tests::client::Client;
use taskstats_tests::deadline::within;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::transport::Channel;

use crate::clock::{Happened, STEPS};

/// The switch, since 5.14.
const SWITCH: &str = "/proc/sys/kernel/task_delayacct";
/// The kernel reports the begin of a task in seconds, so this much time must pass until a task is
/// certainly older than a timestamp.
const SURELY_OLDER_US: u64 = 2_100_000;

/// The tasks, some of which end at each step.
pub(crate) struct Covered {
    /// True if the kernel has the sysctl.
    is_switched: bool,
    on_at: Option<Happened>,
    before: Vec<Workload>,
    after: Vec<Workload>,
}

impl Covered {
    /// Turns accounting off, if it can be.
    pub(crate) fn prepare() -> Result<Self> {
        let is_switched = Path::new(SWITCH).exists();
        if is_switched {
            fs::write(SWITCH, "0\n")?;
        } else {
            tell_how_it_was_configured()?;
        }
        Ok(Self { is_switched, on_at: None, before: Vec::new(), after: Vec::new() })
    }

    /// Starts tasks, then delay accounting, and then other tasks.
    pub(crate) async fn begin(&mut self, channel: &Channel) -> Result<()> {
        self.before = tasks().await?;
        grow_old(channel, &self.before).await?;
        if self.is_switched {
            fs::write(SWITCH, "1\n")?;
        }
        // The agent notices it with the next response.
        of_task(channel, &self.before).await?;
        self.on_at = self.is_switched.then(Happened::now);
        grow_old(channel, &self.before).await?;
        self.after = tasks().await?;
        grow_old(channel, &self.after).await
    }

    /// Checks both kinds just after a step: running tasks and exits. The first exit may have
    /// happened by either clock, as far as the agent knows.
    pub(crate) async fn ensure_right(
        &mut self,
        channel: &Channel,
        watch: &mut Watch,
    ) -> Result<()> {
        use DelayAccounting::{On, Partial, Unknown};
        let before = if self.is_switched { Partial } else { On };
        let first = end_one(&mut self.before, watch).await?;
        ensure!([before, Unknown].contains(&first), "an exit's delays are {first:?}");
        for (tasks, expected) in [(&mut self.before, before), (&mut self.after, On)] {
            let live = of_task(channel, tasks).await?.delay_accounting();
            ensure!(live == expected, "a live task's delays are {live:?}, not {expected:?}");
            let reported = end_one(tasks, watch).await?;
            ensure!(reported == expected, "an exit's delays are {reported:?}, not {expected:?}");
        }
        Ok(())
    }

    /// Returns the time since which accounting is reported to be on.
    pub(crate) fn ensure_since(&self, reported: Option<&Timestamp>) -> Result<()> {
        match self.on_at {
            Some(on_at) => on_at.ensure_reported(reported),
            // Since the boot, which was some seconds ago.
            None => Happened::at_boot()?.ensure_reported(reported),
        }
    }
}

/// Writes the part of the kernel's configuration that matters to the path of distributions:
/// Debian's kernels have delay accounting.
fn tell_how_it_was_configured() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    fs::create_dir_all("/boot")?;
    let path = format!("/boot/config-{}", release.trim_end());
    Ok(fs::write(path, "CONFIG_TASK_DELAY_ACCT=y\n")?)
}

/// Tasks that wait, two for each step and one that is left.
async fn tasks() -> Result<Vec<Workload>> {
    let mut tasks = Vec::new();
    for _ in 0..=2 * STEPS.len() {
        tasks.push(Workload::waiting(&["idle"]).await?);
    }
    Ok(tasks)
}

/// Ends one of the tasks, and returns the statistics in its exit.
async fn end_one(tasks: &mut Vec<Workload>, watch: &mut Watch) -> Result<DelayAccounting> {
    let ended = tasks.pop().context("no task is left")?.end().await?;
    let event = watch.exit_of(ended.pid).await?;
    Ok(event.task.context("no statistics")?.delay_accounting())
}

/// Returns the statistics of the last one.
async fn of_task(channel: &Channel, tasks: &[Workload]) -> Result<TaskStats> {
    let pid = tasks.last().context("no task is left")?.pid();
    let response =
        Client::new(channel.clone()).get_pid(GetPidRequest { pid, ..Default::default() }).await?;
    response.into_inner().stats.context("no statistics")
}

/// Waits until tasks are certainly older than the current time.
async fn grow_old(channel: &Channel, tasks: &[Workload]) -> Result<()> {
    let age = async || of_task(channel, tasks).await?.elapsed_us.context("no age");
    within("a task to grow old", async {
        let young = age().await?;
        while age().await? <= young + SURELY_OLDER_US {}
        Ok(())
    })
    .await?
}
