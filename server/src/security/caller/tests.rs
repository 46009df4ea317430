use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    connections: 4,
    overflow: MAX_OVERFLOW,
    watchers: 2,
    calls: 4,
    slow_calls: 4,
    share_percent: 50,
    call_rate: 1,
};

fn callers(limits: Limits) -> Arc<Callers> {
    Arc::new(Callers::new(Policy::default(), Redaction::default(), limits))
}

fn uid(uid: u32) -> Arc<Principal> {
    Arc::new(Principal::Local { uid, gid: uid })
}

fn at(address: &str) -> Principal {
    Principal::Anonymous(address.parse().unwrap())
}

#[test]
fn a_principal_gets_no_more_than_a_share_and_all_no_more_than_the_limit() {
    let callers = callers(LIMITS);
    let first = callers.connect(&uid(1)).unwrap();
    let second = callers.connect(&uid(1)).unwrap();
    let third = callers.connect(&uid(1)).unwrap_err();
    assert_eq!((third.limit, third.own, third.free), (4, 2, 2));
    let others = [uid(2), uid(3)].map(|principal| callers.connect(&principal).unwrap());
    assert_eq!(callers.connect(&uid(4)).unwrap_err().free, 0);
    assert_eq!(callers.rejections().count(Limit::Connections), 2);
    drop(others);
    callers.connect(&uid(4)).unwrap();
    // The share belongs to the principal, and not to a connection.
    let stream = first.acquire(Resource::Watcher).unwrap();
    assert_eq!(second.acquire(Resource::Watcher).unwrap_err().own, 1);
    drop(stream);
    second.acquire(Resource::Watcher).unwrap();
    drop((first, second));
    for resource in [Resource::Connection, Resource::Watcher] {
        assert_eq!(callers.held(resource), 0, "{resource:?}");
    }
}

/// Overflowing connections count separately, have shares, and are bounded.
#[test]
fn overflowing_connections_are_bounded_and_count_separately() {
    let callers = callers(LIMITS);
    let overflow = |number| -> Vec<_> {
        std::iter::from_fn(|| callers.connect_overflow(&uid(number))).collect()
    };
    let first = overflow(1);
    assert_eq!(first.len(), MAX_OVERFLOW / 2);
    let crowd: Vec<_> = (2..1000).map(overflow).collect();
    assert_eq!(callers.held(Resource::Overflow), MAX_OVERFLOW);
    assert_eq!(callers.held(Resource::Connection), 0);
    assert_eq!(callers.rejections().count(Limit::Connections), 0);
    drop((first, crowd));
    assert_eq!(callers.held(Resource::Overflow), 0);
}

/// Permits are released on threads of slow calls while others are acquired: none is lost or invented, and
/// there are never more than allowed.
#[test]
fn permits_released_on_other_threads_are_counted() {
    let (threads, calls) = (4, 8);
    let callers = callers(Limits { calls, connections: 64, ..LIMITS });
    let (begin, held) = (Barrier::new(threads), AtomicUsize::new(0));
    let acquire_and_release = |number| {
        let caller = callers.connect(&uid(number)).unwrap();
        begin.wait();
        for _ in 0..20_000 {
            let taken: Vec<_> =
                std::iter::from_fn(|| caller.acquire(Resource::Call).ok()).collect();
            let all = taken.len() + held.fetch_add(taken.len(), Ordering::SeqCst);
            assert!(taken.len() <= calls / 2 && all <= calls, "{} of {all}", taken.len());
            held.fetch_sub(taken.len(), Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        for number in 0..u32::try_from(threads).unwrap() {
            let acquire_and_release = &acquire_and_release;
            scope.spawn(move || acquire_and_release(number));
        }
    });
    assert_eq!(callers.held(Resource::Call), 0);
}

/// A step of one principal: it acquires a permit, or releases the last one.
#[derive(Clone, Copy, Debug)]
struct Step {
    who: usize,
    acquire: bool,
}

fn steps(greedy: usize) -> impl Strategy<Value = Vec<Step>> {
    // Greedy principals mostly acquire.
    let step =
        (0..greedy, prop::bool::weighted(0.8)).prop_map(|(who, acquire)| Step { who, acquire });
    prop::collection::vec(step, 0..1500)
}

proptest! {
    /// A principal without a permit gets one, however many others are greedy and in whatever order, as long
    /// as there are fewer such newcomers than an eighth of the limit.
    #[test]
    fn a_newcomer_always_gets_one(
        (watchers, steps) in (1..6_usize).prop_flat_map(|eighth| {
            let greedy = 4 * eighth;
            (Just(8 * (greedy + 1)), steps(greedy))
        }),
        share_percent in 1..=80_usize,
    ) {
        let limits = Limits { watchers, share_percent, connections: 1000, ..LIMITS };
        let callers = callers(limits);
        let connect = |number| callers.connect(&uid(number)).unwrap();
        let greedy: Vec<_> = (1..100).map(connect).collect();
        let mut held: Vec<Vec<Permit>> = greedy.iter().map(|_| Vec::new()).collect();
        for Step { who, acquire } in steps {
            if acquire {
                held[who].extend(greedy[who].acquire(Resource::Watcher));
            } else {
                held[who].pop();
            }
            let all = held.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(callers.held(Resource::Watcher), all);
            prop_assert!(all <= watchers);
            prop_assert!(connect(0).acquire(Resource::Watcher).is_ok(), "{} of {}", all, watchers);
        }
    }
}

#[test]
fn a_rate_limit_survives_a_reconnect() {
    let callers = callers(LIMITS);
    callers.connect(&uid(1)).unwrap().acquire_call().unwrap();
    callers.connect(&uid(1)).unwrap().acquire_call().unwrap_err();
    callers.connect(&uid(2)).unwrap().acquire_call().unwrap();
}

#[test]
fn disconnected_principals_are_forgotten_before_there_are_too_many() {
    let callers = callers(Limits { call_rate: 0, ..LIMITS });
    let kept = callers.connect(&uid(0)).unwrap();
    let held = kept.acquire(Resource::Watcher).unwrap();
    for number in 1..10_000 {
        callers.connect(&uid(number)).unwrap();
    }
    let known = callers.states.lock().unwrap().len();
    assert!(known <= REMEMBERED + LIMITS.connections, "{known}");
    assert!(callers.connect(&uid(0)).unwrap().acquire(Resource::Watcher).is_err());
    drop(held);
}

/// The bound also holds if each of them has just called.
#[test]
fn the_number_of_remembered_principals_is_bounded_while_all_are_busy() {
    let callers = callers(LIMITS);
    for number in 1..5000 {
        callers.connect(&uid(number)).unwrap().acquire_call().unwrap();
    }
    let known = callers.states.lock().unwrap().len();
    assert!(known <= REMEMBERED + LIMITS.connections, "{known}");
}

#[test]
fn ports_groups_and_interface_ids_do_not_distinguish_principals() {
    let same = |one: &Principal, other: &Principal| Key::from(one) == Key::from(other);
    assert!(same(&at("10.0.0.1:1"), &at("10.0.0.1:2")));
    assert!(!same(&at("10.0.0.1:1"), &at("10.0.0.2:1")));
    assert!(same(&at("[2001:db8::1]:1"), &at("[2001:db8::2]:1")));
    assert!(!same(&at("[2001:db8:0:1::1]:1"), &at("[2001:db8:0:2::1]:1")));
    assert!(same(&at("[::ffff:10.0.0.1]:1"), &at("10.0.0.1:1")));
    assert!(!same(&at("[::ffff:10.0.0.1]:1"), &at("[::ffff:10.0.0.2]:1")));
    assert!(same(&Principal::Local { uid: 1, gid: 1 }, &Principal::Local { uid: 1, gid: 2 }));
}

#[test]
fn certificates_without_names_are_distinguished_by_their_subjects() {
    let of = |subject: &str| {
        let subject = Some(subject.to_owned());
        Principal::Certificate(CertificateNames { subject, ..CertificateNames::default() })
    };
    assert!(Key::from(&of("CN=a")) == Key::from(&of("CN=a")));
    assert!(Key::from(&of("CN=a")) != Key::from(&of("CN=b")));
    assert!(of("CN=a\n").to_string().contains("`CN=a\\n`"));
}

/// Fields are removed only for callers without the role, and only if any are redacted.
#[test]
fn details_are_removed_for_callers_without_the_role() {
    let rules = ["uid:1=query,details", "uid:2=query"].map(|rule| rule.parse().unwrap());
    let redaction: Redaction = [super::super::Field::Comm].into_iter().collect();
    for (redaction, uids) in
        [(redaction, [(1, false), (2, true)]), (Redaction::default(), [(1, false), (2, false)])]
    {
        let callers = Arc::new(Callers::new(Policy::new(rules.to_vec()), redaction, LIMITS));
        for (number, stripped) in uids {
            let caller = callers.connect(&uid(number)).unwrap();
            assert_eq!(caller.redaction().is_some(), stripped, "uid {number}");
        }
    }
}

/// A principal without a role can be probed, and has no use for more connections.
#[test]
fn a_principal_without_a_role_has_few_connections() {
    let rules = vec!["uid:1=query".parse().unwrap()];
    let limits = Limits { connections: 100, ..LIMITS };
    let callers = Arc::new(Callers::new(Policy::new(rules), Redaction::default(), limits));
    let held = [(); MAX_WITHOUT_ROLE].map(|()| callers.connect(&uid(2)).unwrap());
    let error = callers.connect(&uid(2)).unwrap_err();
    assert_eq!(error.resource, Resource::ConnectionWithoutRole);
    assert!(error.to_string().contains("connection without a role"), "{error}");
    assert_eq!(callers.rejections().count(Limit::Connections), 1);
    drop(held);
    assert!(callers.connect(&uid(2)).is_ok());
    let held = [(); 2 * MAX_WITHOUT_ROLE].map(|()| callers.connect(&uid(1)).unwrap());
    assert_eq!(callers.held(Resource::Connection), held.len());
}
