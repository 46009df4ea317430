//! Removes redacted fields from responses.

use bytes::Bytes;
use prost::Message;
use taskstats_proto::v1;
use taskstats_proto::v1::batch_get_result::Result as Outcome;

use super::RpcError;
use super::convert::task_stats;
use crate::encode::{HiddenFields, remove_fields};
use crate::security::{Field, Redaction};
use crate::taskstats::{DelayAccounting, Stats};

/// Encodes a `GetPidResponse` without the redacted fields.
pub(super) fn encode_pid_response(
    stats: &Stats,
    accounting: DelayAccounting,
    redaction: Redaction,
) -> Vec<u8> {
    let mut stats = task_stats(stats, accounting.task_coverage(stats));
    strip(&mut stats, redaction);
    v1::GetPidResponse { stats: Some(stats), ..v1::GetPidResponse::default() }.encode_to_vec()
}

/// Removes the redacted fields of a group and its threads.
pub(super) fn strip_process(response: &mut v1::GetTgidResponse, redaction: Redaction) {
    let all = response.stats.iter_mut().chain(&mut response.threads);
    all.for_each(|stats| strip(stats, redaction));
}

/// Removes the redacted fields of a batch.
pub(super) fn strip_batch(results: &mut [v1::BatchGetResult], redaction: Redaction) {
    for result in results {
        if let Some(Outcome::Stats(stats)) = &mut result.result {
            strip(stats, redaction);
        }
    }
}

/// Removes the redacted fields of one task: they become absent, not zero. Bytes beyond the known
/// struct are removed too, because their meaning is unknown.
fn strip(stats: &mut v1::TaskStats, redaction: Redaction) {
    stats.unknown_tail.clear();
    if redaction.strips(Field::Executable) {
        stats.executable = None;
    }
    if redaction.strips(Field::Io) {
        stats.io = None;
    }
    let Some(identity) = &mut stats.identity else { return };
    if redaction.strips(Field::Comm) {
        identity.comm = None;
    }
    if redaction.strips(Field::Uid) {
        identity.uid = None;
        identity.gid = None;
    }
}

/// Copies encoded entries of `ExitEvents.events` without the redacted fields. The original bytes are
/// shared with other watchers.
pub(super) fn strip_events(slices: &[Bytes], redaction: Redaction) -> Result<Bytes, RpcError> {
    let hidden = HiddenFields {
        comm: redaction.strips(Field::Comm),
        ids: redaction.strips(Field::Uid),
        executable: redaction.strips(Field::Executable),
        io: redaction.strips(Field::Io),
    };
    let mut stripped = Vec::with_capacity(slices.iter().map(Bytes::len).sum());
    for slice in slices {
        remove_fields(slice, hidden, &mut stripped)
            .map_err(|_| RpcError::Internal("an exit was encoded wrongly"))?;
    }
    Ok(stripped.into())
}

#[cfg(test)]
mod tests;
