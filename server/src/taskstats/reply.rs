//! Interpretation of replies and errors of the taskstats family.

use std::io;

use super::wire::decode_reply;
use super::{KernelError, Stats, TaskId};
use crate::netlink::{MessageKind, Messages};

/// The name of a query in errors.
pub(crate) const QUERY: &str = "TASKSTATS_CMD_GET";
/// The name of a registration in errors.
pub(crate) const REGISTER: &str = "TASKSTATS_CMD_ATTR_REGISTER_CPUMASK";

/// The name of the lookup of the family in errors.
pub(crate) const FIND_FAMILY: &str = "CTRL_CMD_GETFAMILY";
/// The name of opening a socket in errors.
pub(crate) const OPEN_SOCKET: &str = "socket(AF_NETLINK)";
/// The name of setting the size of a receive buffer in errors.
pub(crate) const RECEIVE_BUFFER: &str = "SO_RCVBUF";

/// Decodes the statistics of `id` from the reply to a query for it.
pub(crate) fn stats_in_reply(datagram: &[u8], id: TaskId) -> Result<Stats, KernelError> {
    let bad_reply = KernelError::BadReply { operation: QUERY };
    let Some(message) = Messages::new(datagram).next() else {
        return Err(bad_reply);
    };
    match message.kind() {
        MessageKind::Error(libc::ESRCH) => Err(KernelError::NoSuchTask(id)),
        MessageKind::Error(errno) => Err(refused(QUERY, errno)),
        MessageKind::Generic { attributes, .. } => decode_reply(attributes, id).ok_or(bad_reply),
        MessageKind::Acknowledgement | MessageKind::Malformed => Err(bad_reply),
    }
}

/// Returns the error of a failed request.
pub(crate) fn refused(operation: &'static str, errno: i32) -> KernelError {
    match errno {
        libc::EPERM => KernelError::NotPermitted { operation },
        _ => failed(operation, io::Error::from_raw_os_error(errno)),
    }
}

/// Returns the error of a failed system call.
pub(crate) fn failed(operation: &'static str, source: io::Error) -> KernelError {
    KernelError::System { operation, source }
}
