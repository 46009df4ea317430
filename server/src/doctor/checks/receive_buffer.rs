//! Whether the kernel grants the receive buffers that are asked for.

use bytesize::ByteSize;

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::netlink::Socket;
use crate::taskstats::KernelError;

const NAME: &str = "receive buffers";

pub(super) fn check(context: &Context) -> Finding {
    let asked = context.args.receive_buffer;
    let bytes = usize::try_from(asked.as_u64()).unwrap_or(usize::MAX);
    let granted = Socket::open().and_then(|socket| socket.set_receive_buffer(bytes));
    match granted.map(|granted| ByteSize::b(granted as u64)) {
        Ok(granted) if granted >= asked => {
            Finding::good(NAME, format!("{granted} for each watched CPU, as asked for"))
        }
        Ok(granted) => {
            let finding = format!(
                "{granted} of the {asked} asked for: the kernel drops exits earlier under load"
            );
            Finding::warning(NAME, finding, Some(Cause::ReceiveBuffer))
        }
        Err(source) => {
            let error = KernelError::System { operation: "socket(AF_NETLINK)", source };
            Finding::refused(NAME, &error)
        }
    }
}
