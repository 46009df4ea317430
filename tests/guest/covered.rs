//! Tasks that began before delays were accounted, and after, told apart whatever the clock is set to.

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
/// The kernel tells when a task began to the second, so it takes so long until a task is surely older
/// than a moment.
const SURELY_OLDER_US: u64 = 2_100_000;

/// The tasks, some of which end at each step.
pub(crate) struct Covered {
    /// Whether there is a switch.
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

    /// Has tasks begin, and then accounting, and then others.
    pub(crate) async fn begin(&mut self, channel: &Channel) -> Result<()> {
        self.before = tasks().await?;
        grow_old(channel, &self.before).await?;
        if self.is_switched {
            fs::write(SWITCH, "1\n")?;
        }
        // It is seen to be on with the next answer.
        of_task(channel, &self.before).await?;
        self.on_at = self.is_switched.then(Happened::now);
        grow_old(channel, &self.before).await?;
        self.after = tasks().await?;
        grow_old(channel, &self.after).await
    }

    /// Both kinds are told right just after a step: of those that live, and of those that end. The first
    /// one that ends may have done so by either clock, as far as the agent knows.
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
            let told = end_one(tasks, watch).await?;
            ensure!(told == expected, "an exit's delays are {told:?}, not {expected:?}");
        }
        Ok(())
    }

    /// Since when accounting is said to be on.
    pub(crate) fn ensure_since(&self, told: Option<&Timestamp>) -> Result<()> {
        match self.on_at {
            Some(on_at) => on_at.ensure_told(told),
            // Since the boot, which was some seconds ago.
            None => Happened::at_boot()?.ensure_told(told),
        }
    }
}

/// Puts the kernel's configuration where distributions do, as far as it matters: Debian's kernels keep
/// delay accounts.
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

/// Ends one of them, and returns what its exit says.
async fn end_one(tasks: &mut Vec<Workload>, watch: &mut Watch) -> Result<DelayAccounting> {
    let ended = tasks.pop().context("no task is left")?.end().await?;
    let event = watch.exit_of(ended.pid).await?;
    Ok(event.task.context("no account")?.delay_accounting())
}

/// The account of the last one.
async fn of_task(channel: &Channel, tasks: &[Workload]) -> Result<TaskStats> {
    let pid = tasks.last().context("no task is left")?.pid();
    let answer =
        Client::new(channel.clone()).get_pid(GetPidRequest { pid, ..Default::default() }).await?;
    answer.into_inner().stats.context("no account")
}

/// Waits until tasks are surely older than this moment.
async fn grow_old(channel: &Channel, tasks: &[Workload]) -> Result<()> {
    let age = async || of_task(channel, tasks).await?.elapsed_us.context("no age");
    within("a task to grow old", async {
        let young = age().await?;
        while age().await? <= young + SURELY_OLDER_US {}
        Ok(())
    })
    .await?
}
