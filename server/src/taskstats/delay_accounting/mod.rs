//! The meaning of zero delays: the state of delay accounting, and the part of a task's life that a
//! record covers.
//!
//! The kernel allocates a task's delay counters at its fork, and only while the sysctl
//! `kernel.task_delayacct` is 1 (`__delayacct_tsk_init` in `kernel/delayacct.c`). Setting it later does
//! not reach running tasks, so the meaning of a zero depends on when the task started.

mod clock_steps;
mod switch;

use std::time::Duration;

pub(crate) use self::clock_steps::ClockSteps;
pub(super) use self::switch::DelaySwitch;
use super::stats::{DelayClass, Stats};

/// The state of the kernel's delay accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DelayAccounting {
    /// On, for tasks that started since then.
    On(Since),
    /// Off: zero delays mean nothing.
    Off,
    /// The setting cannot be read.
    #[default]
    Unknown,
}

/// The time since when the kernel accounts delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The boot: every task has delay counters.
    Boot,
    /// A time between two others, both since the Unix epoch.
    Between {
        /// The last time at which accounting was seen off; `None` if it never was.
        off_at: Option<Duration>,
        /// The first time at which accounting was seen on.
        on_at: Duration,
    },
}

/// The part of a task's life that the delays of a record cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DelayCoverage {
    /// All of it.
    On,
    /// None of it.
    Off,
    /// A part of it at most: accounting was off for some of the time.
    Partial,
    /// The part cannot be determined.
    #[default]
    Unknown,
}

/// The kernel subtracts whole seconds of age from whole seconds of wall-clock time (`bacct_add_tsk` in
/// `kernel/tsacct.c`), so a task started less than this before or after the second in its record.
const UNCERTAINTY_US: i64 = 1_000_000;
const US_PER_SECOND: i64 = 1_000_000;

impl DelayAccounting {
    /// Returns the coverage of a task's record.
    #[inline]
    #[must_use]
    pub(crate) fn task_coverage(self, task: &Stats) -> DelayCoverage {
        let by_start = match self {
            Self::On(since) => since.coverage(|| task_started_us(task)),
            Self::Off => return coverage_while_off(task),
            Self::Unknown => None,
        };
        // A task that waited for anything but a CPU has delay counters, so accounting was on when it
        // started. If the setting is unknown, it may have been off later; then the delays are too small.
        by_start.unwrap_or_else(|| {
            if has_waited(task) { DelayCoverage::On } else { DelayCoverage::Unknown }
        })
    }

    /// Returns the coverage of a group's record in an exit message, from the record of the task that
    /// exited.
    #[must_use]
    pub(crate) fn exited_group_coverage(self, group: &Stats, task: &Stats) -> DelayCoverage {
        self.group_coverage(group, || group_started_us(task))
    }

    /// Returns the coverage of a live group's record, from the record of its leader.
    #[must_use]
    pub(crate) fn live_group_coverage(
        self,
        group: &Stats,
        leader: Option<&Stats>,
    ) -> DelayCoverage {
        self.group_coverage(group, || leader.and_then(task_started_us))
    }

    /// A group is judged by its start, that of its first task. That some of its tasks have delay counters
    /// does not mean that all have.
    fn group_coverage(
        self,
        group: &Stats,
        started_us: impl FnOnce() -> Option<i64>,
    ) -> DelayCoverage {
        match self {
            Self::On(since) => since.coverage(started_us).unwrap_or_default(),
            Self::Off => coverage_while_off(group),
            Self::Unknown => DelayCoverage::Unknown,
        }
    }

    /// Returns whether [`DelayAccounting::live_group_coverage`] needs the leader's record.
    #[must_use]
    pub(crate) fn needs_leader(self) -> bool {
        matches!(self, Self::On(Since::Between { .. }))
    }

    /// Returns what is known about records whose start times cannot be used.
    fn without_start_times(self) -> Self {
        if self == Self::On(Since::Boot) || self == Self::Off { self } else { Self::Unknown }
    }
}

impl Since {
    /// Returns the coverage of a task that started at a time in µs since the Unix epoch; `None` if the
    /// time is absent or does not decide.
    #[inline]
    fn coverage(self, started_us: impl FnOnce() -> Option<i64>) -> Option<DelayCoverage> {
        let Self::Between { off_at, on_at } = self else { return Some(DelayCoverage::On) };
        let started_us = started_us()?;
        if started_us.saturating_sub(UNCERTAINTY_US) >= micros(on_at) {
            return Some(DelayCoverage::On);
        }
        let started_before = started_us.saturating_add(UNCERTAINTY_US) <= micros(off_at?);
        started_before.then_some(DelayCoverage::Partial)
    }
}

/// Returns when a task started; `None` for a group's record, which does not say.
fn task_started_us(task: &Stats) -> Option<i64> {
    let identity = task.identity.task.as_ref()?;
    Some(identity.begin_time_s.saturating_mul(US_PER_SECOND))
}

/// Returns when a task's group started. Since v12 the record of a task has the age of both.
fn group_started_us(task: &Stats) -> Option<i64> {
    let age_difference = task.group_elapsed_us?.saturating_sub(task.elapsed_us?);
    Some(task_started_us(task)?.saturating_sub(i64::try_from(age_difference).ok()?))
}

/// Delays that were counted before accounting was turned off stay in the record.
#[inline]
fn coverage_while_off(stats: &Stats) -> DelayCoverage {
    if has_waited(stats) { DelayCoverage::Partial } else { DelayCoverage::Off }
}

/// Returns whether a wait for anything but a CPU was counted. Waits for a CPU are counted by the
/// scheduler (`sched_info`), with delay accounting or without.
#[inline]
fn has_waited(stats: &Stats) -> bool {
    let but_cpu = stats.delays.iter().skip(DelayClass::Cpu as usize + 1);
    but_cpu.fold(0, |counts, delay| counts | delay.as_ref().map_or(0, |delay| delay.count)) != 0
}

fn micros(unix_time: Duration) -> i64 {
    i64::try_from(unix_time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
