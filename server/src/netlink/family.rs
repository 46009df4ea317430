//! Resolution of generic netlink families.

use std::io;

use neli::consts::genl::{CtrlAttr, CtrlCmd};
use neli::consts::nl::GenlId;

use super::{MessageKind, Messages, Request, RequestAttribute, Socket, attributes};

/// The version of the controller's family (`genl_ctrl` in `net/netlink/genetlink.c`).
const CONTROLLER_VERSION: u8 = 2;
/// The size of the reply buffer. The controller's reply lists all operations of a family; the
/// kernel limits it to one page.
const REPLY_BYTES: usize = 16 * 1024;

/// Returns the id of the family `name`, as the kernel's controller `nlctrl` reports it.
///
/// # Errors
/// `ENOENT` if the kernel has no such family or does not expose it to this network namespace;
/// otherwise the error of the socket.
pub(crate) fn resolve_family(name: &str) -> io::Result<u16> {
    let socket = Socket::open()?;
    let request = Request {
        family: GenlId::Ctrl.into(),
        command: CtrlCmd::Getfamily.into(),
        version: CONTROLLER_VERSION,
        sequence: 1,
        acknowledge: false,
        attribute: RequestAttribute::Text(CtrlAttr::FamilyName.into(), name),
    };
    socket.send(&request.encode()?)?;
    let mut reply = vec![0; REPLY_BYTES];
    let length = socket.receive(&mut reply)?;
    family_id(&reply[..length])
}

fn family_id(reply: &[u8]) -> io::Result<u16> {
    let wanted = u16::from(CtrlAttr::FamilyId);
    for message in Messages::new(reply) {
        match message.kind() {
            MessageKind::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
            MessageKind::Generic { attributes: bytes, .. } => {
                let id = attributes(bytes).find(|attribute| attribute.kind == wanted);
                if let Some(id) = id.and_then(|attribute| attribute.payload.first_chunk()) {
                    return Ok(u16::from_ne_bytes(*id));
                }
            }
            MessageKind::Acknowledgement | MessageKind::Malformed => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the reply of the controller has no family id"))
}
