//! What is stripped from answers before they leave the agent.

use bytes::Bytes;
use prost::{DecodeError, Message};
use taskstats_proto::v1;

use crate::security::{Field, Redaction};

/// Strips an account: the fields become absent, not zero. What the kernel sent beyond the known struct
/// goes with them, because it could be anything.
pub(super) fn strip(stats: &mut v1::TaskStats, redaction: Redaction) {
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

/// Makes stripped copies of encoded entries of `ExitEvents.events`, whose bytes other watchers share.
///
/// # Errors
/// When the bytes are no such entries: a defect of the encoder.
pub(super) fn strip_events(
    slices: &[Bytes],
    redaction: Redaction,
) -> Result<Vec<Bytes>, DecodeError> {
    slices.iter().map(|slice| strip_slice(slice, redaction)).collect()
}

fn strip_slice(slice: &Bytes, redaction: Redaction) -> Result<Bytes, DecodeError> {
    let mut events = v1::ExitEvents::decode(slice.clone())?;
    for event in &mut events.events {
        let accounts = event.task.iter_mut().chain(event.process.as_deref_mut());
        accounts.for_each(|stats| strip(stats, redaction));
    }
    Ok(events.encode_to_vec().into())
}

#[cfg(test)]
mod tests;
