//! The broker's side: makes the requests of the agent.

use std::os::fd::{AsFd, OwnedFd};

use super::super::privileged::Privileged;
use super::protocol::{Channel, Datagram, Request, put_error, put_reply, put_socket, put_success};
use crate::netlink::Socket;

/// Makes requests until the agent has ended, or sends one that is malformed.
pub(super) fn serve(channel: &mut Channel, privileged: &impl Privileged) {
    let mut response = Vec::new();
    while let Ok(Datagram { bytes, descriptor }) = channel.receive() {
        let request = Request::decode(bytes);
        let responded =
            request.and_then(|request| respond(privileged, request, descriptor, &mut response));
        let Some(socket) = responded else { return };
        if channel.send(&response, socket.as_ref().map(AsFd::as_fd)).is_err() {
            return;
        }
    }
}

/// Makes one request, and returns the socket that belongs to the response, if one does; `None` if the
/// request came without its socket.
fn respond(
    privileged: &impl Privileged,
    request: Request,
    descriptor: Option<OwnedFd>,
    response: &mut Vec<u8>,
) -> Option<Option<OwnedFd>> {
    response.clear();
    put_success(response);
    let outcome = match request {
        Request::Query(ids) => {
            let put = &mut |_, reply: &[u8]| {
                put_reply(response, reply);
                Ok(())
            };
            privileged.query(&ids, put).map(|()| None)
        }
        Request::Open(cpu) => privileged.open(cpu).map(|opened| {
            put_socket(response, opened.receive_buffer, opened.filter);
            Some(opened.socket.release())
        }),
        Request::Adopt(cpu, filter) => {
            let socket = Socket::adopt(descriptor?).ok()?;
            privileged.adopt(cpu, socket, filter).map(|adopted| {
                put_socket(response, adopted.receive_buffer, adopted.filter);
                None
            })
        }
        Request::Deregister(cpu) => {
            let socket = Socket::adopt(descriptor?).ok()?;
            privileged.deregister(cpu, &socket).map(|()| None)
        }
    };
    Some(outcome.unwrap_or_else(|error| {
        response.clear();
        put_error(response, &error);
        None
    }))
}
