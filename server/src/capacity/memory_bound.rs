//! The upper bound of the agent's memory, whatever clients do. It is logged at the start, so that an
//! operator can set a memory limit.
//!
//! The constants were measured with clients that do not read their responses, and rounded up.
//! `tests/system/memory_bound.rs` has such clients use every limit, in a control group with this bound.

use bytesize::ByteSize;

use super::fd_budget::max_handshakes;
use crate::bpf::filter_bytes;
use crate::config::{AttributionChoice, Config, KernelChoice, Sandbox};
use crate::exits::PROCESS_ENDS_BYTES;
use crate::listen::{ListenAddress, TCP_BUFFERS, UNIX_BUFFERS};
use crate::rpc::SMALL_REQUEST;
use crate::security::{Limits, MAX_HEALTH_CHECKS};
use crate::serve::{ConnectionLimits, RECEIVE_WINDOW, max_header_list};
use crate::workload::MAX_TABLE_BYTES;

/// The program, its configuration, stacks, and remembered principals: 8 MiB, and 17 MiB in a build with debug
/// information, whose pages count while they are in memory.
const PROGRAM: u64 = 20 << 20;
/// The broker: 0.5 MiB of its own, and 2 MiB in a build with debug information. The rest it shares with the agent.
const BROKER: u64 = 3 << 20;
/// The overhead of the history is a 16th of its size: headers, and rounding of the allocator.
const HISTORY_OVERHEAD: u64 = 16;
/// Exits on their way to the history: those of one drain, and an incomplete chunk.
const INGEST: u64 = 2 << 20;
/// An open connection: 24 KiB, with TLS 31 KiB.
const CONNECTION: u64 = 48 << 10;
/// A TLS handshake: 31 KiB, the messages of the peer, and the kernel's structures.
const HANDSHAKE: u64 = 128 << 10;
/// A connection beyond `--max-connections` that receives an error: its buffers, and few streams.
const OVERFLOW_CONNECTION: u64 = 640 << 10;
/// A stream until the peer has received its response: 5 KiB, in a build without optimization.
const STREAM: u64 = 8 << 10;
/// The copies of a request: its bytes, in a buffer that has grown by doubling, and the message after
/// decompression.
const REQUEST_COPIES: u64 = 3;
/// The largest response of a call that is not slow: that of reflection, with one file, the files that it
/// imports, and the request.
const SMALL_RESPONSE: u64 = 64 << 10;
/// A response with 1,024 tasks, which counts as one slow call: 700 KiB as messages, and 400 KiB encoded.
const LARGE_RESPONSE: u64 = 1280 << 10;
/// A watcher that does not read: 540 KiB. hyper buffers 400 KiB before it stops polling the stream, and
/// the message beyond that has up to 256 exits.
const WATCHER: u64 = 640 << 10;
/// The kernel's structures for a connection: two sockets, their files, and the headers of buffers.
const SOCKET: u64 = 8 << 10;
/// The hand-over holds the history a second time, and a quarter of it for lists beside its bytes: the file
/// may be in a file system in memory, as /run is, which is charged to the agent.
const HANDOVER_OVERHEAD: u64 = 4;
/// Copies of what the table of cgroups holds: itself, and the two maps of the thread that follows them.
const CGROUP_COPIES: u64 = 3;
const PERCENT: usize = 100;
/// The kernel doubles the size of a receive buffer for the overhead of messages (`SO_RCVBUF` in `socket(7)`).
const RECEIVE_BUFFER_FACTOR: u64 = 2;

/// The upper bound of an agent's memory by its parts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// The program, its broker, and exits on their way to the history.
    pub(crate) program: u64,
    /// The history.
    pub(crate) history: u64,
    /// Connections and their streams, in the agent and in the kernel.
    pub(crate) connections: u64,
    /// Requests in flight, and responses that clients do not read.
    pub(crate) responses: u64,
    /// The hand-over at the end, or the resumption at the start.
    pub(crate) handover: u64,
    /// The receive buffers of a simulated kernel, which are in the agent's memory.
    pub(crate) simulated: u64,
    /// The memory that socket filters share with the agent, and the table of cgroups.
    pub(crate) attribution: u64,
}

impl MemoryBound {
    /// Computes the bound of an agent that listens on `listeners`.
    #[must_use]
    pub fn of<'a>(
        config: &Config,
        cpus: usize,
        listeners: impl IntoIterator<Item = &'a ListenAddress>,
    ) -> Self {
        let history = number(config.history_bytes);
        let has_tcp = listeners.into_iter().any(ListenAddress::is_tcp);
        Self {
            program: PROGRAM + INGEST + number(PROCESS_ENDS_BYTES) + broker(config),
            history: history.saturating_add(history / HISTORY_OVERHEAD),
            connections: connections(&config.limits, &config.connection, has_tcp),
            responses: responses(&config.limits, &config.connection),
            handover: match config.state_dir {
                Some(_) => history.saturating_add(history / HANDOVER_OVERHEAD),
                None => 0,
            },
            simulated: if config.kernel == KernelChoice::Linux {
                0
            } else {
                receive_buffers(config, cpus)
            },
            attribution: attribution(config, cpus),
        }
    }

    /// Returns the sum of the parts.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { program, history, connections, responses, handover, simulated, attribution } =
            *self;
        let parts = [program, history, connections, responses, handover, simulated, attribution];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// Returns the parts with their names, as sizes for people.
    pub(crate) fn parts(&self) -> String {
        let Self { program, history, connections, responses, handover, simulated, attribution } =
            *self;
        let parts = [
            ("program", program),
            ("history", history),
            ("connections", connections),
            ("responses", responses),
            ("handover", handover),
            ("simulated", simulated),
            ("attribution", attribution),
        ];
        let shown = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
        let shown = shown.map(|(name, bytes)| format!("{name} {}", ByteSize::b(bytes)));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Computes the memory of filters and of the table of cgroups, whose paths are kept for it, for their
/// directories, and for inotify.
fn attribution(config: &Config, cpus: usize) -> u64 {
    if config.attribution == AttributionChoice::Off || config.kernel != KernelChoice::Linux {
        return 0;
    }
    let filters = number(filter_bytes(config.reader.receive_buffer)).saturating_mul(number(cpus));
    filters.saturating_add(CGROUP_COPIES * number(MAX_TABLE_BYTES))
}

/// Computes the memory of the broker, if there is one.
fn broker(config: &Config) -> u64 {
    let has_one = config.kernel == KernelChoice::Linux && config.sandbox != Sandbox::Off;
    if has_one { BROKER } else { 0 }
}

/// Computes the memory of connections, of those beyond the limit, and of TLS handshakes.
fn connections(limits: &Limits, connection: &ConnectionLimits, has_tcp: bool) -> u64 {
    let (buffers, handshakes) = match has_tcp {
        true => (TCP_BUFFERS.max(UNIX_BUFFERS), number(max_handshakes(limits)) * HANDSHAKE),
        false => (UNIX_BUFFERS, 0),
    };
    // An incomplete header block is kept until its end.
    let header_list = u64::from(max_header_list(connection.size.headers));
    let streams = u64::from(connection.streams).saturating_mul(STREAM);
    let each = streams.saturating_add(
        CONNECTION + SOCKET + u64::from(RECEIVE_WINDOW) + number(buffers) + header_list,
    );
    let overflow = number(limits.overflow) * (OVERFLOW_CONNECTION + header_list);
    number(limits.connections).saturating_mul(each).saturating_add(overflow + handshakes)
}

/// Computes the memory of requests, headers and responses: of calls, watchers, and health checks.
fn responses(limits: &Limits, connection: &ConnectionLimits) -> u64 {
    let headers = number(connection.size.headers);
    let with_request =
        |size: usize| number(size).saturating_mul(REQUEST_COPIES).saturating_add(headers);
    let small = with_request(SMALL_REQUEST);
    let call = with_request(connection.size.request) + SMALL_RESPONSE;
    // Streams of health and reflection have a limit of the same size as calls.
    let calls = number(limits.calls).saturating_mul(call + small + SMALL_RESPONSE);
    // Each principal has health checks of its own, and needs a connection for them.
    let checks = (MAX_HEALTH_CHECKS * limits.share_percent).div_ceil(PERCENT);
    let checks = number(limits.connections).saturating_mul(number(checks) * small);
    let slow_calls = number(limits.slow_calls).saturating_mul(LARGE_RESPONSE);
    let watchers = number(limits.watchers).saturating_mul(WATCHER);
    [calls, checks, slow_calls, watchers].into_iter().fold(0, u64::saturating_add)
}

/// Computes the size of all receive buffers together, as the kernel counts it.
pub(crate) fn receive_buffers(config: &Config, cpus: usize) -> u64 {
    let each = number(config.reader.receive_buffer).saturating_mul(RECEIVE_BUFFER_FACTOR);
    each.saturating_mul(number(cpus))
}

/// Converts a size. `usize` has 64 bits at most on every architecture of Linux.
pub(crate) const fn number(size: usize) -> u64 {
    size as u64
}

#[cfg(test)]
mod tests;
