//! A broker on a thread, with the running kernel.

use std::thread;

use super::super::privileged::{AdoptedFilter, FilterState, Privileged};
use super::protocol::{
    MAX_IDS, Request, get_outcome, get_reply, get_socket, put_error, put_reply, put_socket,
};
use super::*;
use crate::netlink::Inbox;
use crate::taskstats::reply::{REGISTER, failed, stats_in_reply};
use crate::taskstats::{Cpumask, KernelError, Namespace, TaskId};

const RECEIVE_BUFFER: usize = 64 << 10;

fn pair() -> (Channel, Channel) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    (Channel::new(ours), Channel::new(theirs))
}

/// Runs `test` with a client, while its broker serves on another thread.
fn with_broker(test: impl FnOnce(Client)) {
    let (ours, mut theirs) = pair();
    let direct = Direct::new(&Cpumask::from_iter([0]), RECEIVE_BUFFER, None);
    let broker = thread::spawn(move || server::serve(&mut theirs, &direct));
    test(Client::new(ours));
    // The client is dropped, so the broker has ended or is about to.
    broker.join().unwrap();
}

#[test]
fn each_task_of_a_long_query_has_its_reply_in_order() {
    let own = std::process::id();
    let ids: Vec<_> = (0..3 * MAX_IDS)
        .map(|number| if number % 3 == 0 { TaskId::Pid(u32::MAX) } else { TaskId::Pid(own) })
        .collect();
    with_broker(|client| {
        let mut found = Vec::new();
        client
            .query(&ids, &mut |id, reply| {
                found.push((id, stats_in_reply(reply, id).ok().map(|stats| stats.version > 0)));
                Ok(())
            })
            .unwrap();
        let expected = |id: &TaskId| (*id, (*id == TaskId::Pid(own)).then_some(true));
        assert_eq!(found, ids.iter().map(expected).collect::<Vec<_>>());
    });
}

/// What is left of a query that was ended early must not answer the next one.
#[test]
fn a_query_that_was_ended_leaves_no_reply_behind() {
    let own = TaskId::Pid(std::process::id());
    with_broker(|client| {
        let end = |_, _: &[u8]| Err(KernelError::NoFamily);
        assert!(client.query(&[own; 3], &mut { end }).is_err());
        let mut replies = 0;
        let count = &mut |id, reply: &[u8]| {
            replies += 1;
            stats_in_reply(reply, id).map(drop)
        };
        client.query(&[own], count).unwrap();
        assert_eq!(replies, 1);
    });
}

#[test]
fn a_socket_is_passed_registered_adopted_and_deregistered() {
    with_broker(|client| {
        let opened = client.open(0).unwrap();
        assert_eq!(opened.receive_buffer, RECEIVE_BUFFER);
        assert_eq!(opened.filter, FilterState::Absent);
        let adopted = client.adopt(0, opened.socket, AdoptedFilter::Replaced).unwrap();
        client.deregister(0, &adopted.socket).unwrap();
        // A listener of the tests beside this one can end tasks here, so the queue is emptied first.
        let mut inbox = Inbox::new(64, 2048);
        while adopted.socket.receive_many(&mut inbox).is_ok() {}
        let unrelated = thread::spawn(|| {});
        unrelated.join().unwrap();
        assert!(adopted.socket.receive_many(&mut inbox).is_err());
    });
}

#[test]
fn the_kernel_s_refusal_reaches_the_client() {
    with_broker(|client| {
        let error = client.open(u32::MAX).unwrap_err();
        assert!(matches!(error, KernelError::WrongNamespace { .. }), "{error}");
    });
}

#[test]
fn a_client_whose_broker_has_ended_says_so() {
    let (ours, theirs) = pair();
    drop(theirs);
    let error = Client::new(ours).open(0).unwrap_err().to_string();
    assert!(error.starts_with("a request to the broker failed: "), "{error}");
}

#[test]
fn a_broker_ends_at_a_malformed_request() {
    let without_socket = Request::Adopt(0, AdoptedFilter::Replaced).encode();
    for request in
        [&b"\x09"[..], b"\x01\x07aaaa", b"\x02\0\0\0", b"\x02\0\0\0\0\0", &without_socket]
    {
        let (mut ours, mut theirs) = pair();
        ours.send(request, None).unwrap();
        let direct = Direct::new(&Cpumask::from_iter([0]), RECEIVE_BUFFER, None);
        server::serve(&mut theirs, &direct);
    }
}

/// This process has several threads: that of the test, and the main one.
#[test]
fn a_process_with_threads_is_not_forked() {
    let direct = Direct::new(&Cpumask::from_iter([0]), RECEIVE_BUFFER, None);
    let refused = start(&direct, || Ok(())).unwrap_err().to_string();
    assert!(refused.contains("threads run already"), "{refused}");
}

#[test]
fn every_message_is_read_as_it_was_written() {
    let requests = [
        Request::Query(vec![TaskId::Pid(1), TaskId::Tgid(u32::MAX)]),
        Request::Open(3),
        Request::Adopt(4, AdoptedFilter::Replaced),
        Request::Adopt(5, AdoptedFilter::Stays),
        Request::Deregister(5),
    ];
    for request in requests {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
    for report in [StartReport::Started, StartReport::Refused("no such user".to_owned())] {
        assert_eq!(StartReport::decode(&report.encode()), Some(report));
    }
    for filter in [FilterState::Absent, FilterState::Attached, FilterState::Refused(libc::EPERM)] {
        let mut bytes = Vec::new();
        put_socket(&mut bytes, 1 << 40, filter);
        assert_eq!(get_socket(&mut &bytes[..]), Some((1 << 40, filter)));
    }
    let mut bytes = Vec::new();
    put_reply(&mut bytes, b"abc");
    let mut left = &bytes[..];
    assert_eq!(get_reply(&mut left), Some(&b"abc"[..]));
    assert_eq!(get_reply(&mut left), None);
    let enobufs = || io::Error::from_raw_os_error(libc::ENOBUFS);
    for error in [
        KernelError::NoFamily,
        KernelError::WrongNamespace { namespace: Namespace::Pid },
        KernelError::NotPermitted { operation: REGISTER },
        failed(REGISTER, enobufs()),
    ] {
        let mut bytes = Vec::new();
        put_error(&mut bytes, &error);
        let read = get_outcome(&mut &bytes[..]).unwrap().unwrap_err();
        assert_eq!(read.to_string(), error.to_string());
    }
}
