use super::*;
use crate::taskstats::{Delay, TaskIdentity};

const OFF_AT: Duration = Duration::from_millis(999_500);
const ON_AT: Duration = Duration::from_millis(1_000_500);
/// Accounting was turned on between [`OFF_AT`] and [`ON_AT`].
const TURNED_ON: DelayAccounting =
    DelayAccounting::On(Since::Between { off_at: Some(OFF_AT), on_at: ON_AT });
/// Accounting was on at the first reading.
const FOUND_ON: DelayAccounting =
    DelayAccounting::On(Since::Between { off_at: None, on_at: ON_AT });

fn task(begin_time_s: i64) -> Stats {
    let mut stats = Stats::default();
    stats.identity.task = Some(TaskIdentity { begin_time_s, ..TaskIdentity::default() });
    stats
}

fn with_wait(mut stats: Stats, class: DelayClass) -> Stats {
    stats.delays[class as usize] = Some(Delay { count: 1, ..Delay::default() });
    stats
}

#[test]
fn a_start_time_decides_outside_its_uncertainty() {
    let coverage = (997..=1003).map(|second| TURNED_ON.task_coverage(&task(second)));
    use DelayCoverage::{On, Partial, Unknown};
    let expected = [Partial, Partial, Unknown, Unknown, Unknown, On, On];
    assert_eq!(coverage.collect::<Vec<_>>(), expected);
}

#[test]
fn a_wait_decides_where_the_start_time_does_not() {
    for class in DelayClass::ALL {
        let expected =
            if class == DelayClass::Cpu { DelayCoverage::Unknown } else { DelayCoverage::On };
        assert_eq!(TURNED_ON.task_coverage(&with_wait(task(1000), class)), expected, "{class:?}");
        assert_eq!(FOUND_ON.task_coverage(&with_wait(task(3), class)), expected, "{class:?}");
        let unknown = DelayAccounting::Unknown;
        assert_eq!(unknown.task_coverage(&with_wait(task(3), class)), expected, "{class:?}");
    }
}

/// Delays from an earlier period of accounting do not include those of the time it was off.
#[test]
fn a_task_that_lived_while_accounting_was_off_is_partial_whatever_it_waited_for() {
    let stats = with_wait(task(900), DelayClass::BlockIo);
    assert_eq!(TURNED_ON.task_coverage(&stats), DelayCoverage::Partial);
}

#[test]
fn a_start_before_the_first_reading_is_unknown() {
    assert_eq!(FOUND_ON.task_coverage(&task(3)), DelayCoverage::Unknown);
    assert_eq!(FOUND_ON.task_coverage(&task(1002)), DelayCoverage::On);
    assert_eq!(TURNED_ON.task_coverage(&Stats::default()), DelayCoverage::Unknown);
}

#[test]
fn while_accounting_is_off_only_earlier_delays_are_covered() {
    assert_eq!(DelayAccounting::Off.task_coverage(&task(3)), DelayCoverage::Off);
    let stats = with_wait(task(3), DelayClass::WriteProtectCopy);
    assert_eq!(DelayAccounting::Off.task_coverage(&stats), DelayCoverage::Partial);
    let stats = with_wait(task(3), DelayClass::Cpu);
    assert_eq!(DelayAccounting::Off.task_coverage(&stats), DelayCoverage::Off);
}

#[test]
fn accounting_since_the_boot_covers_every_task() {
    let on = DelayAccounting::On(Since::Boot);
    assert_eq!(on.task_coverage(&Stats::default()), DelayCoverage::On);
    assert_eq!(on.live_group_coverage(&Stats::default(), None), DelayCoverage::On);
    assert!(!on.needs_leader() && TURNED_ON.needs_leader());
}

#[test]
fn without_start_times_only_a_constant_setting_is_known() {
    for constant in [DelayAccounting::On(Since::Boot), DelayAccounting::Off] {
        assert_eq!(constant.without_start_times(), constant);
    }
    assert_eq!(TURNED_ON.without_start_times(), DelayAccounting::Unknown);
}

/// A task with delay counters does not prove that the other tasks of its group have some.
#[test]
fn a_group_is_judged_by_its_start_alone() {
    let group = with_wait(Stats::default(), DelayClass::BlockIo);
    let coverage = |second| TURNED_ON.live_group_coverage(&group, Some(&task(second)));
    assert_eq!(coverage(997), DelayCoverage::Partial);
    assert_eq!(coverage(1000), DelayCoverage::Unknown);
    assert_eq!(coverage(1002), DelayCoverage::On);
    assert_eq!(TURNED_ON.live_group_coverage(&group, None), DelayCoverage::Unknown);
    assert_eq!(DelayAccounting::Off.live_group_coverage(&group, None), DelayCoverage::Partial);
    assert_eq!(DelayAccounting::Unknown.live_group_coverage(&group, None), DelayCoverage::Unknown);
}

#[test]
fn the_start_of_an_exited_group_follows_from_the_ages_in_the_tasks_record() {
    let aged = |elapsed_us, group_elapsed_us| Stats {
        elapsed_us: Some(elapsed_us),
        group_elapsed_us: Some(group_elapsed_us),
        ..task(1002)
    };
    let coverage = |task| TURNED_ON.exited_group_coverage(&Stats::default(), &task);
    assert_eq!(coverage(aged(5, 5)), DelayCoverage::On);
    assert_eq!(coverage(aged(5, 2_000_005)), DelayCoverage::Unknown);
    assert_eq!(coverage(aged(5, 7_000_005)), DelayCoverage::Partial);
    assert_eq!(coverage(task(1002)), DelayCoverage::Unknown, "the ages are absent before v12");
}
