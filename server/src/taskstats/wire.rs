//! The generic netlink protocol of taskstats: its constants, requests and messages.
//!
//! Source of the constants: `include/uapi/linux/taskstats.h`.

use super::{Exit, Provenance, Stats, TaskId, decode};
use crate::netlink::{MessageKind, Messages, Request, RequestAttribute, attributes};

/// `TASKSTATS_GENL_NAME`.
pub(crate) const FAMILY: &str = "TASKSTATS";
/// `TASKSTATS_GENL_VERSION`.
pub(crate) const VERSION: u8 = 1;

/// `TASKSTATS_CMD_GET`.
const COMMAND_GET: u8 = 1;
/// `TASKSTATS_CMD_NEW`: replies and exit messages.
pub(crate) const COMMAND_NEW: u8 = 2;

/// `TASKSTATS_CMD_ATTR_PID`.
const REQUEST_PID: u16 = 1;
/// `TASKSTATS_CMD_ATTR_TGID`.
const REQUEST_TGID: u16 = 2;
/// `TASKSTATS_CMD_ATTR_REGISTER_CPUMASK`.
const REQUEST_REGISTER: u16 = 3;
/// `TASKSTATS_CMD_ATTR_DEREGISTER_CPUMASK`.
const REQUEST_DEREGISTER: u16 = 4;

/// `TASKSTATS_TYPE_TGID`.
pub(crate) const TYPE_TGID: u16 = 2;
/// `TASKSTATS_TYPE_STATS`.
pub(crate) const TYPE_STATS: u16 = 3;
/// `TASKSTATS_TYPE_AGGR_PID`: a nested attribute with PID and STATS.
pub(crate) const TYPE_AGGREGATE_PID: u16 = 4;
/// `TASKSTATS_TYPE_AGGR_TGID`: a nested attribute with TGID and STATS.
pub(crate) const TYPE_AGGREGATE_TGID: u16 = 5;

/// A request to the taskstats family.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TaskstatsCommand<'a> {
    Query(TaskId),
    /// Registers on a list of CPUs.
    Register(&'a str),
    /// Ends the registration on a list of CPUs.
    Deregister(&'a str),
}

impl<'a> TaskstatsCommand<'a> {
    /// Creates the request. `acknowledge` requests an acknowledgement of a registration; a query
    /// has a reply anyway.
    pub(crate) fn request(self, family: u16, sequence: u32, acknowledge: bool) -> Request<'a> {
        let attribute = match self {
            Self::Query(TaskId::Pid(pid)) => RequestAttribute::U32(REQUEST_PID, pid),
            Self::Query(TaskId::Tgid(tgid)) => RequestAttribute::U32(REQUEST_TGID, tgid),
            Self::Register(list) => RequestAttribute::Text(REQUEST_REGISTER, list),
            Self::Deregister(list) => RequestAttribute::Text(REQUEST_DEREGISTER, list),
        };
        Request { family, command: COMMAND_GET, version: VERSION, sequence, acknowledge, attribute }
    }
}

/// The first record of a task and the first one of a group in a message. Unknown attributes are
/// ignored.
#[derive(Clone, Copy, Debug, Default)]
struct Records<'a> {
    task: Option<&'a [u8]>,
    group: Option<(u32, &'a [u8])>,
}

impl<'a> Records<'a> {
    fn find(message: &'a [u8]) -> Self {
        let mut records = Self::default();
        for nest in attributes(message) {
            match nest.kind {
                TYPE_AGGREGATE_PID if records.task.is_none() => {
                    records.task = stats_in(nest.payload);
                }
                TYPE_AGGREGATE_TGID if records.group.is_none() => {
                    records.group = tgid_in(nest.payload).zip(stats_in(nest.payload));
                }
                _ => {}
            }
        }
        records
    }
}

/// Decodes the reply to a query for `id`; `None` if it has no such record.
pub(crate) fn decode_reply(message: &[u8], id: TaskId) -> Option<Stats> {
    let records = Records::find(message);
    match id {
        TaskId::Pid(_) => records.task.map(|bytes| decode(bytes, Provenance::LiveTask)),
        TaskId::Tgid(tgid) => {
            records.group.map(|(_, bytes)| decode(bytes, Provenance::LiveGroup { tgid }))
        }
    }
}

/// Decodes the first exit in a datagram of the kernel, headers included.
///
/// Returns `None` if the datagram is not an exit message or has no record of a task.
#[must_use]
pub fn decode_exit_message(datagram: &[u8], cpu: u32) -> Option<Exit> {
    let (sequence, attributes) = stats_messages(datagram).next()?;
    decode_exit(attributes, cpu, sequence)
}

/// Decodes the kernel's reply to a query for `id`, headers included.
///
/// Returns `None` if the datagram is not such a reply, for example an error, or has no such record.
#[must_use]
pub fn decode_reply_message(datagram: &[u8], id: TaskId) -> Option<Stats> {
    stats_messages(datagram).next().and_then(|(_, attributes)| decode_reply(attributes, id))
}

/// Returns the sequence number and the attributes of each message that contains statistics.
pub(crate) fn stats_messages(datagram: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    Messages::new(datagram).filter_map(|message| match message.kind() {
        MessageKind::Generic { command: COMMAND_NEW, attributes } => {
            Some((message.header.sequence, attributes))
        }
        _ => None,
    })
}

/// Decodes an exit message; `None` if it has no record of a task. Inlined into the receive loop,
/// because the result is several hundred bytes long and would be copied.
#[inline(always)]
pub(crate) fn decode_exit(message: &[u8], cpu: u32, kernel_sequence: u32) -> Option<Exit> {
    let records = Records::find(message);
    let task = decode(records.task?, Provenance::ExitedTask);
    let process = records.group.map(|(tgid, bytes)| {
        let provenance = Provenance::ExitedGroup { tgid, version_if_unset: task.version };
        Box::new(decode(bytes, provenance))
    });
    Some(Exit { cpu, kernel_sequence, task, process, ..Exit::default() })
}

fn stats_in(nest: &[u8]) -> Option<&[u8]> {
    attributes(nest).find(|attribute| attribute.kind == TYPE_STATS).map(|found| found.payload)
}

fn tgid_in(nest: &[u8]) -> Option<u32> {
    let found = attributes(nest).find(|attribute| attribute.kind == TYPE_TGID)?;
    found.payload.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}
