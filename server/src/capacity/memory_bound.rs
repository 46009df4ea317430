//! The most memory that the agent can take, whatever callers do; told at the start, so that an operator can
//! give it a limit.
//!
//! The numbers were measured with callers that take no answers, and rounded up. `tests/system/bound.rs`
//! has such callers hold all that they can get, under this limit.

use std::fmt;

use bytesize::ByteSize;

use crate::config::{Config, KernelChoice};
use crate::listen::{ListenAddress, MAX_HANDSHAKES, TCP_BUFFERS, UNIX_BUFFERS};
use crate::rpc::SMALL_REQUEST;
use crate::security::{Limits, MAX_OVERFLOW};
use crate::serve::{ConnectionLimits, RECEIVE_WINDOW, max_header_list};

/// The program itself, what it reads at the start, stacks, and callers that are remembered: 8 MiB, and 17 in
/// a build with debug information, whose pages count as long as they are in memory.
const PROGRAM: u64 = 20 << 20;
/// The history takes one part in so many more than it is allowed: headers and rounding of the allocator.
const HISTORY_OVERHEAD: u64 = 16;
/// Exits on their way to the history: what one drain takes, and the chunk that is being made.
const INTAKE: u64 = 2 << 20;
/// An open connection: 24 KiB, with TLS 31.
const CONNECTION: u64 = 48 << 10;
/// A TLS handshake: 31 KiB, what a peer may send of it, and the kernel's structures.
const HANDSHAKE: u64 = 128 << 10;
/// A connection beyond `--max-connections` that is told so: its buffers, and few streams.
const OVERFLOW_CONNECTION: u64 = 640 << 10;
/// A stream of a connection, until the peer has taken its answer: 5 KiB, in a build without optimization.
const STREAM: u64 = 8 << 10;
/// The copies of a request between its bytes and its call: the bytes in a buffer that grew by doubling, and
/// the message after decompression.
const REQUEST_COPIES: u64 = 3;
/// The largest answer of a call that is not slow: reflection's, of one file with what it imports, and the
/// request, which it repeats.
const SMALL_ANSWER: u64 = 64 << 10;
/// An answer of 1,024 tasks, of which each counts as one slow call: 700 KiB as messages, and 400 as the
/// bytes that they become.
const LARGE_ANSWER: u64 = 1280 << 10;
/// A watcher that takes nothing: 540 KiB. hyper takes 400 KiB from it before it asks for no more, and
/// the message that went beyond that has up to 256 exits.
const WATCHER: u64 = 640 << 10;
/// The kernel's own structures for a connection: two sockets, their files, and the buffers' heads.
const SOCKET: u64 = 8 << 10;
/// The history while it is handed over, in addition to itself: the file, whose folder may be in memory (as
/// all of /run is, and counted with the agent); one part in so many more for lists beside its bytes.
const HANDOVER_OVERHEAD: u64 = 4;
/// The kernel doubles a receive buffer, for what messages cost it beside their bytes.
const RECEIVE_BUFFER_FACTOR: u64 = 2;

/// The most memory that an agent can take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// The program, and exits on their way.
    pub program: u64,
    /// Remembered exits.
    pub history: u64,
    /// Connections and their streams, in the agent and in the kernel.
    pub connections: u64,
    /// Requests that come and answers that nobody takes.
    pub answers: u64,
    /// What the end takes, or the start after it.
    pub handover: u64,
    /// Receive buffers of a simulated kernel, which lie in the agent.
    pub simulated: u64,
}

impl MemoryBound {
    /// That of an agent which listens on `listeners`.
    #[must_use]
    pub fn of<'a>(
        config: &Config,
        cpus: usize,
        listeners: impl IntoIterator<Item = &'a ListenAddress>,
    ) -> Self {
        let (limits, connection) = (&config.limits, &config.connection);
        let history = number(config.history_bytes);
        let (buffers, handshakes) = match listeners.into_iter().any(ListenAddress::is_tcp) {
            true => (TCP_BUFFERS.max(UNIX_BUFFERS), number(MAX_HANDSHAKES) * HANDSHAKE),
            false => (UNIX_BUFFERS, 0),
        };
        // Of headers that are not whole.
        let header_list = u64::from(max_header_list(connection.size.headers));
        let streams = u64::from(connection.streams).saturating_mul(STREAM);
        let each = streams.saturating_add(
            CONNECTION + SOCKET + u64::from(RECEIVE_WINDOW) + number(buffers) + header_list,
        );
        let overflow = number(MAX_OVERFLOW) * (OVERFLOW_CONNECTION + header_list);
        let answers = [
            small_answers(limits, connection),
            number(limits.slow_calls).saturating_mul(LARGE_ANSWER),
            number(limits.watchers).saturating_mul(WATCHER),
        ];
        Self {
            program: PROGRAM + INTAKE,
            history: history.saturating_add(history / HISTORY_OVERHEAD),
            connections: number(limits.connections)
                .saturating_mul(each)
                .saturating_add(overflow + handshakes),
            answers: answers.into_iter().fold(0, u64::saturating_add),
            handover: match config.state_dir {
                Some(_) => history.saturating_add(history / HANDOVER_OVERHEAD),
                None => 0,
            },
            simulated: if config.kernel == KernelChoice::Linux {
                0
            } else {
                receive_buffers(config, cpus)
            },
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { program, history, connections, answers, handover, simulated } = *self;
        let parts = [program, history, connections, answers, handover, simulated];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = ByteSize::b;
        let Self { program, history, connections, answers, handover, simulated } = *self;
        write!(formatter, "{}", size(self.total()))?;
        write!(formatter, " (program {}, history {}", size(program), size(history))?;
        write!(formatter, ", connections {}, answers {}", size(connections), size(answers))?;
        for (what, bytes) in [("hand-over", handover), ("simulated sockets", simulated)] {
            if bytes > 0 {
                write!(formatter, ", {what} {}", size(bytes))?;
            }
        }
        formatter.write_str(")")
    }
}

/// Calls, streams of health and reflection, and health checks, with their requests and headers.
fn small_answers(limits: &Limits, connection: &ConnectionLimits) -> u64 {
    let headers = number(connection.size.headers);
    let with_request =
        |longest: usize| number(longest).saturating_mul(REQUEST_COPIES).saturating_add(headers);
    let small = with_request(SMALL_REQUEST);
    let call = with_request(connection.size.request) + SMALL_ANSWER;
    // Each principal has as many for itself, and could have but one connection. The answer is in STREAM.
    let streams = u64::from(connection.streams).min(number(limits.calls));
    let checks = number(limits.connections).saturating_mul(streams).saturating_mul(small);
    number(limits.calls).saturating_mul(call + small + SMALL_ANSWER).saturating_add(checks)
}

/// All receive buffers together, as the kernel counts.
pub(crate) fn receive_buffers(config: &Config, cpus: usize) -> u64 {
    let each = number(config.reader.receive_buffer).saturating_mul(RECEIVE_BUFFER_FACTOR);
    each.saturating_mul(number(cpus))
}

/// No address is longer on any machine that Linux runs on.
pub(crate) const fn number(size: usize) -> u64 {
    size as u64
}

#[cfg(test)]
mod tests;
