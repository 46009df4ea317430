//! How resources are shared among greedy principals, without time or threads.

use proptest::prelude::*;

use super::*;

/// The most that a flag allows.
const MOST: usize = 1 << 20;

fn limits(watchers: usize, share_percent: usize) -> Limits {
    let (connections, calls, slow_calls, call_rate) = (1, watchers, 1, 0);
    Limits {
        connections,
        overflow: MAX_OVERFLOW,
        watchers,
        calls,
        slow_calls,
        share_percent,
        call_rate,
    }
}

fn may(limits: &Limits, own: usize, all: usize) -> bool {
    limits.allow(Resource::Watcher, own, all).is_ok()
}

/// Returns what each of so many principals gets, if they acquire in turn until none gets more.
fn take_turns(limits: &Limits, greedy: usize) -> Vec<usize> {
    let (mut held, mut all) = (vec![0; greedy], 0);
    loop {
        let before = all;
        for own in &mut held {
            if may(limits, *own, all) {
                *own += 1;
                all += 1;
            }
        }
        if all == before {
            return held;
        }
    }
}

#[test]
fn a_lone_caller_gets_the_share_and_one_at_least() {
    for (watchers, share_percent, share) in [
        (1, 50, 1),
        (2, 50, 1),
        (3, 50, 2),
        (100, 50, 50),
        (256, 50, 128),
        (7, 100, 7),
        (5, 1, 1),
        (8, 99, 8),
        (256, 90, 231),
    ] {
        let limits = limits(watchers, share_percent);
        assert_eq!(take_turns(&limits, 1), [share], "{limits:?}");
    }
}

#[test]
fn several_get_the_same_and_leave_something() {
    for (share_percent, greedy, each) in
        [(50, 2, 85), (50, 3, 64), (50, 7, 32), (25, 3, 43), (75, 2, 110), (100, 2, 128)]
    {
        let limits = limits(256, share_percent);
        let held = take_turns(&limits, greedy);
        let near = |own: &usize| own.abs_diff(each) <= 1;
        assert!(held.iter().all(near), "{held:?} instead of {each} of {share_percent} %");
        let left = 256 - held.iter().sum::<usize>();
        assert_eq!(left > 0, share_percent < 100, "{held:?}");
    }
}

#[test]
fn the_smallest_limits_are_shared_too() {
    assert_eq!(take_turns(&limits(1, 50), 3), [1, 0, 0]);
    assert_eq!(take_turns(&limits(2, 50), 3), [1, 1, 0]);
    assert_eq!(take_turns(&limits(2, 100), 1), [2]);
    assert_eq!(take_turns(&limits(4, 50), 3), [1, 1, 1]);
}

/// Earlier principals have more, and each of the later ones still gets one.
#[test]
fn those_who_come_one_after_the_other_leave_one_for_each_that_follows() {
    let limits = limits(256, 50);
    let (mut all, mut held) = (0, Vec::new());
    for _ in 0..30 {
        let mut own = 0;
        while may(&limits, own, all) {
            own += 1;
            all += 1;
        }
        held.push(own);
    }
    assert_eq!(held[..4], [128, 64, 32, 1], "{held:?}");
    assert!(held[4..].iter().all(|own| *own == 1), "{held:?}");
}

/// Else some could have the agent restarted for being busy.
#[test]
fn questions_for_the_health_are_shared_by_nobody() {
    let limits = limits(4, 50);
    for all in [0, 4, 1000] {
        assert!(
            limits.allow(Resource::HealthCheck, MAX_HEALTH_CHECKS / 2 - 1, all).is_ok(),
            "{all}"
        );
        assert!(limits.allow(Resource::HealthCheck, MAX_HEALTH_CHECKS / 2, all).is_err(), "{all}");
    }
}

#[test]
fn a_refusal_tells_the_numbers_and_the_flags() {
    let said = |own, all| limits(8, 50).allow(Resource::Watcher, own, all).unwrap_err().to_string();
    assert_eq!(
        said(2, 6),
        "this caller holds 2 of 8 watchers (--max-watchers), and 2 are kept free for others (--principal-share)"
    );
    assert!(said(1, 7).contains("and 1 is kept free"), "{}", said(1, 7));
    assert_eq!(
        said(3, 8),
        "no watcher is left of 8 (--max-watchers), of which this caller holds 3"
    );
    let said = limits(8, 50).allow(Resource::Connection, 0, 8).unwrap_err().to_string();
    assert!(said.contains("(--max-connections, or fewer where descriptors are few)"), "{said}");
}

proptest! {
    /// No numbers exceed the limit, and none overflow.
    #[test]
    fn there_is_never_more_than_the_limit(
        limit in 1..=MOST,
        share in 1..=100_usize,
        own in any::<usize>(),
        all in any::<usize>(),
    ) {
        let limits = limits(limit, share);
        prop_assert!(all < limit || !may(&limits, own, all));
        prop_assert_eq!(may(&limits, 0, all), all < limit);
    }

    /// The more others hold, or oneself does, the less one may take.
    #[test]
    fn more_is_never_allowed_to_those_who_have_more(
        limit in 1..=MOST,
        share in 1..=100_usize,
        own in 1..MOST,
        all in 0..MOST,
    ) {
        let limits = limits(limit, share);
        if may(&limits, own, all + 1) || may(&limits, own + 1, all) {
            prop_assert!(may(&limits, own, all));
        }
    }
}
