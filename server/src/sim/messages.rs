//! The kernel's messages: exits and replies.

use super::encode::encode_record;
use super::writer::{MessageWriter, written_bytes};
use crate::taskstats::layout::size_of_version;
use crate::taskstats::wire::{
    COMMAND_NEW, TYPE_AGGREGATE_PID, TYPE_AGGREGATE_TGID, TYPE_STATS, TYPE_TGID, VERSION,
};
use crate::taskstats::{Exit, Stats, TaskId};

/// `TASKSTATS_TYPE_PID`.
const TYPE_PID: u16 = 1;
/// The size of an id attribute's payload.
const ID_BYTES: usize = size_of::<u32>();

/// Encodes the kernel's message for an exit. The family id is 0, because receivers of exits ignore
/// it.
pub(super) fn exit_message(exit: &Exit) -> Vec<u8> {
    let mut writer = MessageWriter::generic(0, exit.kernel_sequence, COMMAND_NEW, VERSION);
    let tgid = exit.process.as_ref().and_then(|process| process.identity.tgid);
    writer.reserve(exit_message_bytes(exit.task.version, exit.process.is_some()));
    nest(&mut writer, TYPE_AGGREGATE_PID, exit.task.identity.pid.unwrap_or(0), &exit.task);
    if let Some(process) = &exit.process {
        let start = writer.bytes_mut().len();
        nest(&mut writer, TYPE_AGGREGATE_TGID, tgid.unwrap_or(0), process);
        unset_version(&mut writer.bytes_mut()[start..]);
    }
    writer.finish()
}

/// Returns the length of an [`exit_message`] with records of a version, without an unknown tail.
pub(super) fn exit_message_bytes(version: u16, with_group: bool) -> usize {
    let nest = [ID_BYTES, size_of_version(version)];
    if with_group { written_bytes(&[&nest, &nest]) } else { written_bytes(&[&nest]) }
}

/// Encodes the reply to a query for `id`.
pub(super) fn reply_message(id: TaskId, stats: &Stats) -> Vec<u8> {
    let mut writer = MessageWriter::generic(0, 0, COMMAND_NEW, VERSION);
    match id {
        TaskId::Pid(pid) => nest(&mut writer, TYPE_AGGREGATE_PID, pid, stats),
        TaskId::Tgid(tgid) => nest(&mut writer, TYPE_AGGREGATE_TGID, tgid, stats),
    }
    writer.finish()
}

fn nest(writer: &mut MessageWriter, kind: u16, id: u32, stats: &Stats) {
    let id_kind = if kind == TYPE_AGGREGATE_PID { TYPE_PID } else { TYPE_TGID };
    writer.attribute(kind, |nest| {
        nest.attribute(id_kind, |attribute| attribute.push(&id.to_ne_bytes()));
        nest.attribute(TYPE_STATS, |attribute| encode_record(stats, attribute.bytes_mut()));
    });
}

/// Clears the version of the record in a nested attribute. The record of an exited group is a copy
/// of the group's sums (`taskstats_exit` in `kernel/taskstats.c`), in which most kernels set no
/// version.
fn unset_version(nest: &mut [u8]) {
    /// The headers of the nested attribute, of the id and of the record, and the id.
    const BEFORE_RECORD: usize = 3 * 4 + ID_BYTES;
    if let Some(version) = nest.get_mut(BEFORE_RECORD..BEFORE_RECORD + 2) {
        version.fill(0);
    }
}
