//! The flags of limits.

use std::time::Duration;

use bytesize::ByteSize;

use super::range::check_range;
use super::{ConfigError, bytes};
use crate::security::{Limits, MAX_OVERFLOW};
use crate::serve::{CallSize, ConnectionLimits};

/// The smallest limit of a request and of its headers with which every client can work.
const MIN_SIZE: ByteSize = ByteSize::kib(1);
/// The largest: the limit of a message in other gRPC implementations.
const MAX_SIZE: ByteSize = ByteSize::mib(4);
/// The default of `fs.nr_open`, the most file descriptors of a process. A higher limit has no effect.
const MAX_COUNT: usize = 1 << 20;
/// One call per nanosecond, the resolution of the clock.
const MAX_RATE: u32 = 1_000_000_000;
const MAX_PERCENT: usize = 100;
/// The shortest idle timeout: a client that polls once a second keeps its connection.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// Excess connections that receive an error before they are closed, as a part of `--max-connections`: each
/// needs as much memory as half a connection.
const OVERFLOW_PART: usize = 8;
/// The fewest of them, so that a small limit is reported to clients as well.
const MIN_OVERFLOW: usize = 8;

/// The flags of limits. Rejected calls and connections are counted in GetNode.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text, which is not Markdown")]
pub(crate) struct LimitArgs {
    /// Maximum concurrent connections; excess connections are rejected
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_CONNECTIONS", default_value_t = 64)]
    pub(crate) max_connections: usize,

    /// Maximum concurrent calls and streams of a connection; the client queues more
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_STREAMS", default_value_t = 32)]
    pub(crate) max_streams: u32,

    /// Maximum concurrent exit streams
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_WATCHERS", default_value_t = 32)]
    pub(crate) max_watchers: usize,

    /// Maximum in-flight calls
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_CALLS", default_value_t = 64)]
    pub(crate) max_calls: usize,

    /// Maximum in-flight GetTgid, BatchGet and GetNode calls, whose time in the kernel is longer
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_SLOW_CALLS", default_value_t = 16)]
    pub(crate) max_slow_calls: usize,

    /// Maximum calls per second of a principal, and of a burst; 0 is no limit
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_CALL_RATE", default_value_t = 10_000)]
    pub(crate) max_call_rate: u32,

    /// Percentage of connections, exit streams and calls that a single principal can hold: a user of
    /// this node, the holder of a certificate, or a network address. The share shrinks as other
    /// principals hold more; with 100, only the limits apply
    #[arg(long, value_name = "PERCENT", env = "TASKSTATSD_PRINCIPAL_SHARE", default_value_t = 50)]
    pub(crate) principal_share: usize,

    /// Maximum size of a request message
    #[arg(long, value_name = "SIZE", env = "TASKSTATSD_MAX_REQUEST_SIZE", default_value = "64KiB")]
    pub(crate) max_request_size: ByteSize,

    /// Maximum size of a request's headers
    #[arg(long, value_name = "SIZE", env = "TASKSTATSD_MAX_HEADER_SIZE", default_value = "16KiB")]
    pub(crate) max_header_size: ByteSize,

    /// Time without calls after which a connection is closed, at twice that time at the latest; 0s
    /// never closes idle connections
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_IDLE_TIMEOUT",
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    pub(crate) idle_timeout: Duration,
}

impl LimitArgs {
    /// Returns the limits of all clients together.
    pub(crate) fn limits(&self) -> Limits {
        let overflow = (self.max_connections / OVERFLOW_PART).clamp(MIN_OVERFLOW, MAX_OVERFLOW);
        Limits {
            connections: self.max_connections,
            overflow,
            watchers: self.max_watchers,
            calls: self.max_calls,
            slow_calls: self.max_slow_calls,
            share_percent: self.principal_share,
            call_rate: self.max_call_rate,
        }
    }

    /// Returns the limits of a connection.
    pub(super) fn connection(&self) -> ConnectionLimits {
        ConnectionLimits {
            streams: self.max_streams,
            size: CallSize {
                request: bytes(self.max_request_size),
                headers: bytes(self.max_header_size),
            },
            idle: Some(self.idle_timeout).filter(|timeout| !timeout.is_zero()),
        }
    }

    /// Rejects limits that would reject every client, and limits without an effect.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_range("--max-connections", self.max_connections, 1..=MAX_COUNT)?;
        check_range(
            "--max-streams",
            usize::try_from(self.max_streams).unwrap_or(usize::MAX),
            1..=MAX_COUNT,
        )?;
        check_range("--max-watchers", self.max_watchers, 1..=MAX_COUNT)?;
        check_range("--max-calls", self.max_calls, 1..=MAX_COUNT)?;
        check_range("--max-slow-calls", self.max_slow_calls, 1..=MAX_COUNT)?;
        check_range("--max-request-size", self.max_request_size, MIN_SIZE..=MAX_SIZE)?;
        check_range("--max-header-size", self.max_header_size, MIN_SIZE..=MAX_SIZE)?;
        check_range("--max-call-rate", self.max_call_rate, 0..=MAX_RATE)?;
        check_range("--principal-share", self.principal_share, 1..=MAX_PERCENT)?;
        if !self.idle_timeout.is_zero() {
            check_range("--idle-timeout", self.idle_timeout, MIN_IDLE..)?;
        }
        Ok(())
    }
}
