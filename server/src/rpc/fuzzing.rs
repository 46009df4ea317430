//! The checks that the fuzz targets in `tests/fuzz` and the tests of their seeds run.

use prost::Message;
use taskstats_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{RpcError, request};
use crate::exits::Start;
use crate::taskstats::{Cpumask, TaskId};

/// The id of the agent's run.
const INSTANCE: &str = "run-1";
/// The number of CPUs of the machine.
const CPUS: u32 = 8;
/// The fields that can be invalid.
const FIELDS: [&str; 10] = [
    "pid",
    "tgid",
    "pids",
    "tgids",
    "cpumask",
    "scope",
    "on_lag",
    "max_batch_delay",
    "replay_last",
    "resume_after.instance_id",
];
/// The longest error message in bytes. It is sent as a header.
const MAX_MESSAGE: usize = 1024;

/// Reads a request of any kind, which the first byte chooses.
///
/// # Panics
/// When a request beyond the bounds is accepted, or one is rejected without the invalid field.
pub fn request(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => decoded(bytes, |request: v1::GetPidRequest| {
            let id = accepted(request::pid(request.pid));
            assert!(id.is_none_or(|id| id == TaskId::Pid(request.pid) && request.pid != 0));
        }),
        1 => decoded(bytes, |request: v1::GetTgidRequest| {
            let id = accepted(request::tgid(request.tgid));
            assert!(id.is_none_or(|id| id == TaskId::Tgid(request.tgid) && request.tgid != 0));
        }),
        2 => decoded(bytes, |request: v1::BatchGetRequest| check_batch(&request)),
        _ => decoded(bytes, |request: v1::WatchExitsRequest| check_watch(&request)),
    }
}

fn decoded<M: Message + Default>(bytes: &[u8], check: impl Fn(M)) {
    if let Ok(request) = M::decode(bytes) {
        check(request);
    }
}

fn check_batch(request: &v1::BatchGetRequest) {
    let asked = request.pids.len() + request.tgids.len();
    let ids = accepted(request::batch(request));
    assert_eq!(ids.is_some(), asked <= request::MAX_BATCH);
    assert!(ids.is_none_or(|ids| ids.len() == asked), "a result for each id");
}

fn check_watch(request: &v1::WatchExitsRequest) {
    let possible: Cpumask = (0..CPUS).collect();
    let Some(watch) = accepted(request::watch(request, INSTANCE, &possible)) else { return };
    let cpus = watch.selection.cpus();
    assert!(!cpus.is_empty() && cpus.is_subset(&possible), "cpus {cpus}");
    assert!(watch.options.max_batch_delay <= request::MAX_BATCH_DELAY);
    let cursor = request.resume_after.as_ref();
    let other_run = cursor.is_some_and(|cursor| cursor.instance_id != INSTANCE);
    assert_eq!(watch.options.other_run, other_run);
    let start = match cursor {
        Some(_) if other_run => Start::After(0),
        Some(cursor) => Start::After(cursor.sequence),
        None if request.replay_last == 0 => Start::Now,
        None => Start::Last(request.replay_last.into()),
    };
    assert_eq!(watch.options.start, start);
}

/// Returns the request, or checks the error if it is rejected.
fn accepted<T>(outcome: Result<T, RpcError>) -> Option<T> {
    outcome.map_err(|error| check_refusal(&error.into())).ok()
}

fn check_refusal(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().len() <= MAX_MESSAGE, "{status:?}");
    let details = status.get_error_details();
    let violations = details.bad_request().map(|request| &request.field_violations[..]);
    let Some([violation]) = violations else {
        unreachable!("not one field is wrong: {status:?}");
    };
    assert!(FIELDS.contains(&violation.field.as_str()), "{violation:?}");
    assert!(!violation.description.is_empty(), "{violation:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_seed_is_dealt_with() {
        seeds("request").iter().for_each(|seed| request(seed));
    }

    proptest! {
        #[test]
        fn any_watch_is_within_bounds_or_names_its_field(
            cpumask in "(0-7|all|8|0-|[0-9,N:/-]{0,12})",
            numbers in (-1..5_i32, -1..4_i32, 0..3_u32),
            delay in prop::option::of((any::<i64>(), any::<i32>())),
            cursor in prop::option::of(("(|run-1|run-2)", any::<u64>())),
        ) {
            let (scope, on_lag, replay_last) = numbers;
            let delay = delay.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
            let resume_after =
                cursor.map(|(instance_id, sequence)| v1::Cursor { instance_id, sequence });
            check_watch(&v1::WatchExitsRequest {
                cpumask,
                scope,
                resume_after,
                replay_last,
                max_batch_delay: delay,
                on_lag,
            });
        }
    }
}
