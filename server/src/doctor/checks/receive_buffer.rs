//! Checks whether the kernel grants the configured receive buffers.

use bytesize::ByteSize;

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::netlink::Socket;
use crate::taskstats::KernelError;

const NAME: &str = "receive buffers";

pub(super) fn check(context: &Context) -> Finding {
    let wanted = context.args.receive_buffer;
    let bytes = usize::try_from(wanted.as_u64()).unwrap_or(usize::MAX);
    let granted = Socket::open().and_then(|socket| socket.set_receive_buffer(bytes));
    match granted.map(|granted| ByteSize::b(granted as u64)) {
        Ok(granted) if granted >= wanted => {
            Finding::good(NAME, format!("{granted} for each watched CPU, as configured"))
        }
        Ok(granted) => {
            let finding =
                format!("{granted} instead of {wanted}: the kernel drops exits earlier under load");
            Finding::warning(NAME, finding, Some(Cause::ReceiveBuffer))
        }
        Err(source) => {
            let error = KernelError::System { operation: "socket(AF_NETLINK)", source };
            Finding::refused(NAME, &error)
        }
    }
}
