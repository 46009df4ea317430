use super::*;

const LIMITS: Limits = Limits {
    connections: 4,
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
fn nobody_gets_more_than_a_share_and_all_together_no_more_than_there_is() {
    let callers = callers(LIMITS);
    let first = callers.connect(uid(1)).unwrap();
    let second = callers.connect(uid(1)).unwrap();
    let third = callers.connect(uid(1)).unwrap_err();
    assert_eq!((third.limit, third.share), (4, Some(2)));
    let others = [uid(2), uid(2)].map(|principal| callers.connect(principal).unwrap());
    assert_eq!(callers.connect(uid(3)).unwrap_err().share, None);
    assert_eq!(callers.refused().count(Limit::Connections), 2);
    drop(others);
    callers.connect(uid(3)).unwrap();
    // The share is the principal's, whichever connection it comes by.
    let stream = first.take(Resource::Watcher).unwrap();
    assert_eq!(second.take(Resource::Watcher).unwrap_err().share, Some(1));
    drop(stream);
    second.take(Resource::Watcher).unwrap();
    drop((first, second));
    for resource in [Resource::Connection, Resource::Watcher] {
        assert_eq!(callers.held(resource), 0, "{resource:?}");
    }
}

#[test]
fn connecting_again_does_not_make_a_caller_a_new_one() {
    let callers = callers(LIMITS);
    callers.connect(uid(1)).unwrap().take_call().unwrap();
    callers.connect(uid(1)).unwrap().take_call().unwrap_err();
    callers.connect(uid(2)).unwrap().take_call().unwrap();
}

#[test]
fn those_who_are_gone_are_forgotten_before_there_are_too_many() {
    let callers = callers(Limits { call_rate: 0, ..LIMITS });
    let kept = callers.connect(uid(0)).unwrap();
    let held = kept.take(Resource::Watcher).unwrap();
    for number in 1..10_000 {
        callers.connect(uid(number)).unwrap();
    }
    let known = callers.shares.lock().unwrap().len();
    assert!(known <= REMEMBERED + LIMITS.connections, "{known}");
    assert!(callers.connect(uid(0)).unwrap().take(Resource::Watcher).is_err());
    drop(held);
}

/// Even if each of them has called a moment ago.
#[test]
fn the_number_of_those_remembered_is_bounded_while_all_are_busy() {
    let callers = callers(LIMITS);
    for number in 1..5000 {
        callers.connect(uid(number)).unwrap().take_call().unwrap();
    }
    let known = callers.shares.lock().unwrap().len();
    assert!(known <= REMEMBERED + LIMITS.connections, "{known}");
}

#[test]
fn ports_groups_and_interface_ids_do_not_make_other_principals() {
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
fn certificates_without_names_are_those_of_their_subjects() {
    let of = |subject: &str| {
        let subject = Some(subject.to_owned());
        Principal::Certificate(CertificateNames { subject, ..CertificateNames::default() })
    };
    assert!(Key::from(&of("CN=a")) == Key::from(&of("CN=a")));
    assert!(Key::from(&of("CN=a")) != Key::from(&of("CN=b")));
    assert!(of("CN=a\n").to_string().contains("`CN=a\\n`"));
}

/// Only those without the role, and only if there is something to strip.
#[test]
fn details_are_stripped_for_those_who_may_not_see_them() {
    let rules = ["uid:1=query,details", "uid:2=query"].map(|rule| rule.parse().unwrap());
    let redaction: Redaction = [super::super::Field::Comm].into_iter().collect();
    for (redaction, uids) in
        [(redaction, [(1, false), (2, true)]), (Redaction::default(), [(1, false), (2, false)])]
    {
        let callers = Arc::new(Callers::new(Policy::new(rules.to_vec()), redaction, LIMITS));
        for (number, stripped) in uids {
            let caller = callers.connect(uid(number)).unwrap();
            assert_eq!(caller.redaction().is_some(), stripped, "uid {number}");
        }
    }
}
