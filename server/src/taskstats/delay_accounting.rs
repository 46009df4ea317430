//! Whether delays were accounted: on the node, and for the task that one record is about.
//!
//! The kernel makes a task's delay account when it forks the task, and only while the sysctl is on
//! (`__delayacct_tsk_init` in `kernel/delayacct.c`). Turning it on later does not reach tasks that
//! already run, so what a zero means depends on when the task began.

use std::time::Duration;

use super::stats::{DelayClass, Stats};

/// Whether the kernel keeps delay accounts now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DelayAccounting {
    /// It does, for tasks that began since then.
    On(Since),
    /// It does not: zero delays mean nothing.
    Off,
    /// It does not say.
    #[default]
    Unknown,
}

/// Since when delay accounts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From the boot on: every task has one.
    Boot,
    /// From a moment that lies between two others, both since 1970.
    Between {
        /// They were not kept at this moment; `None` when nobody looked.
        off_at: Option<Duration>,
        /// They were kept at this one.
        on_at: Duration,
    },
}

/// Whether the delays of one record are all that the task had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DelayCoverage {
    /// They are.
    On,
    /// Delays were not accounted.
    Off,
    /// Accounting was on during a part of the task's life at most.
    Partial,
    /// It cannot be known.
    #[default]
    Unknown,
}

/// When a task began, as exactly as a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    /// µs since 1970.
    at_us: i64,
}

/// The kernel subtracts whole seconds of an age from whole seconds of the clock (`bacct_add_tsk` in
/// `kernel/tsacct.c`), so a task began less than this before or after the second that it tells.
const UNCERTAINTY_US: i64 = 1_000_000;
const US_PER_SECOND: i64 = 1_000_000;

impl Began {
    /// When the task of a record began; `None` in a group's record, which does not say.
    #[must_use]
    pub fn of_task(task: &Stats) -> Option<Self> {
        let identity = task.identity.task.as_ref()?;
        Some(Self { at_us: identity.begin_time_s.saturating_mul(US_PER_SECOND) })
    }

    /// When the group of a task began: since v12, a task's record has the age of both.
    #[must_use]
    pub fn of_group(task: &Stats) -> Option<Self> {
        let older = task.group_elapsed_us?.saturating_sub(task.elapsed_us?);
        let older = i64::try_from(older).ok()?;
        Some(Self { at_us: Self::of_task(task)?.at_us.saturating_sub(older) })
    }

    fn is_before(self, moment: Duration) -> bool {
        self.at_us.saturating_add(UNCERTAINTY_US) <= micros(moment)
    }

    fn is_after(self, moment: Duration) -> bool {
        self.at_us.saturating_sub(UNCERTAINTY_US) >= micros(moment)
    }
}

impl DelayAccounting {
    /// Tells what a task's record covers.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskstatsd::taskstats::{DelayAccounting, DelayCoverage, Since, Stats, TaskIdentity};
    ///
    /// let (off_at, on_at) = (Some(Duration::from_secs(99)), Duration::from_secs(100));
    /// let on = DelayAccounting::On(Since::Between { off_at, on_at });
    /// let began = |begin_time_s| {
    ///     let mut stats = Stats::default();
    ///     stats.identity.task = Some(TaskIdentity { begin_time_s, ..TaskIdentity::default() });
    ///     on.of_task(&stats)
    /// };
    /// assert_eq!(began(50), DelayCoverage::Partial);
    /// assert_eq!(began(150), DelayCoverage::On);
    /// assert_eq!(began(100), DelayCoverage::Unknown, "the kernel tells it to the second only");
    /// ```
    #[inline]
    #[must_use]
    pub fn of_task(self, task: &Stats) -> DelayCoverage {
        match self {
            Self::On(Since::Boot) => DelayCoverage::On,
            Self::On(Since::Between { off_at, on_at }) => {
                let known = covered(Began::of_task(task), off_at, on_at);
                // Who waited for anything but a CPU has an account, so it was on when it began.
                known.unwrap_or_else(|| {
                    if waited(task) { DelayCoverage::On } else { DelayCoverage::Unknown }
                })
            }
            Self::Off => switched_off(task),
            // The same, but it may have been turned off since: then zeros are too small.
            Self::Unknown if waited(task) => DelayCoverage::On,
            Self::Unknown => DelayCoverage::Unknown,
        }
    }

    /// Tells what a group's record covers; the group `began` when its first task did. That some of
    /// its tasks have accounts does not say that all have.
    #[must_use]
    pub fn of_group(self, group: &Stats, began: Option<Began>) -> DelayCoverage {
        match self {
            Self::On(Since::Boot) => DelayCoverage::On,
            Self::On(Since::Between { off_at, on_at }) => {
                covered(began, off_at, on_at).unwrap_or_default()
            }
            Self::Off => switched_off(group),
            Self::Unknown => DelayCoverage::Unknown,
        }
    }

    /// What is left of it where it is not known when a task began.
    #[must_use]
    pub fn without_begins(self) -> Self {
        if self.depends_on_begin() { Self::Unknown } else { self }
    }

    /// Whether it matters to [`DelayAccounting::of_group`] when a group began.
    #[must_use]
    pub fn depends_on_begin(self) -> bool {
        matches!(self, Self::On(Since::Between { .. }))
    }
}

/// What the begin alone tells.
fn covered(
    began: Option<Began>,
    off_at: Option<Duration>,
    on_at: Duration,
) -> Option<DelayCoverage> {
    let began = began?;
    if began.is_after(on_at) {
        return Some(DelayCoverage::On);
    }
    off_at.filter(|off_at| began.is_before(*off_at)).map(|_| DelayCoverage::Partial)
}

/// What was counted before accounting was turned off is still there.
#[inline]
fn switched_off(stats: &Stats) -> DelayCoverage {
    if waited(stats) { DelayCoverage::Partial } else { DelayCoverage::Off }
}

/// Whether anything but a CPU was waited for: that is counted in the delay account alone. The waits
/// for a CPU come from the scheduler and prove nothing.
#[inline]
fn waited(stats: &Stats) -> bool {
    let but_cpu = stats.delays.iter().skip(DelayClass::Cpu as usize + 1);
    but_cpu.fold(0, |counts, delay| counts | delay.as_ref().map_or(0, |delay| delay.count)) != 0
}

fn micros(moment: Duration) -> i64 {
    i64::try_from(moment.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taskstats::{Delay, TaskIdentity};

    const OFF_AT: Duration = Duration::from_millis(999_500);
    const ON_AT: Duration = Duration::from_millis(1_000_500);
    const ON: DelayAccounting =
        DelayAccounting::On(Since::Between { off_at: Some(OFF_AT), on_at: ON_AT });
    /// It was on when somebody looked first.
    const FOUND_ON: DelayAccounting =
        DelayAccounting::On(Since::Between { off_at: None, on_at: ON_AT });

    fn task(begin_time_s: i64) -> Stats {
        let mut stats = Stats::default();
        stats.identity.task = Some(TaskIdentity { begin_time_s, ..TaskIdentity::default() });
        stats
    }

    fn having_waited(mut stats: Stats, class: DelayClass) -> Stats {
        stats.delays[class as usize] = Some(Delay { count: 1, ..Delay::default() });
        stats
    }

    #[test]
    fn a_task_that_surely_began_before_is_partial_and_one_that_surely_began_after_is_on() {
        let covered: Vec<_> = (997..=1003).map(|second| ON.of_task(&task(second))).collect();
        use DelayCoverage::{On, Partial, Unknown};
        assert_eq!(covered, [Partial, Partial, Unknown, Unknown, Unknown, On, On]);
    }

    #[test]
    fn where_the_second_does_not_decide_a_wait_does() {
        for class in DelayClass::ALL {
            let expected =
                if class == DelayClass::Cpu { DelayCoverage::Unknown } else { DelayCoverage::On };
            assert_eq!(ON.of_task(&having_waited(task(1000), class)), expected, "{class:?}");
            assert_eq!(FOUND_ON.of_task(&having_waited(task(3), class)), expected, "{class:?}");
        }
    }

    /// An account of an earlier time in which accounting was on does not have what came later.
    #[test]
    fn who_lived_while_it_was_off_is_partial_whatever_it_waited_for() {
        let stats = having_waited(task(900), DelayClass::BlockIo);
        assert_eq!(ON.of_task(&stats), DelayCoverage::Partial);
    }

    #[test]
    fn who_began_before_anybody_looked_is_unknown() {
        assert_eq!(FOUND_ON.of_task(&task(3)), DelayCoverage::Unknown);
        assert_eq!(FOUND_ON.of_task(&task(1002)), DelayCoverage::On);
        assert_eq!(ON.of_task(&Stats::default()), DelayCoverage::Unknown);
    }

    #[test]
    fn while_it_is_off_only_what_was_counted_before_is_left() {
        assert_eq!(DelayAccounting::Off.of_task(&task(3)), DelayCoverage::Off);
        let stats = having_waited(task(3), DelayClass::WriteProtectCopy);
        assert_eq!(DelayAccounting::Off.of_task(&stats), DelayCoverage::Partial);
        let stats = having_waited(task(3), DelayClass::Cpu);
        assert_eq!(DelayAccounting::Off.of_task(&stats), DelayCoverage::Off);
    }

    #[test]
    fn since_the_boot_all_tasks_are_accounted() {
        let on = DelayAccounting::On(Since::Boot);
        assert_eq!(on.of_task(&Stats::default()), DelayCoverage::On);
        assert_eq!(on.of_group(&Stats::default(), None), DelayCoverage::On);
        assert!(!on.depends_on_begin() && ON.depends_on_begin());
        assert_eq!((on.without_begins(), ON.without_begins()), (on, DelayAccounting::Unknown));
    }

    /// One task with an account does not speak for the others.
    #[test]
    fn a_group_is_judged_by_its_begin_alone() {
        let group = having_waited(Stats::default(), DelayClass::BlockIo);
        let covered = |second| ON.of_group(&group, Began::of_task(&task(second)));
        assert_eq!(covered(997), DelayCoverage::Partial);
        assert_eq!(covered(1000), DelayCoverage::Unknown);
        assert_eq!(covered(1002), DelayCoverage::On);
        assert_eq!(ON.of_group(&group, None), DelayCoverage::Unknown);
        assert_eq!(DelayAccounting::Off.of_group(&group, None), DelayCoverage::Partial);
    }

    #[test]
    fn a_member_tells_when_its_group_began() {
        let member = Stats { elapsed_us: Some(5), group_elapsed_us: Some(7_000_005), ..task(1002) };
        assert_eq!(Began::of_group(&member), Began::of_task(&task(995)));
        assert_eq!(Began::of_group(&task(1002)), None, "before v12 it does not");
    }
}
