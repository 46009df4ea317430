//! How much callers may have.

use std::time::Duration;

use bytesize::ByteSize;

use super::{ConfigError, bytes};
use crate::security::{Limits, MAX_OVERFLOW};
use crate::serve::{CallSize, ConnectionLimits};

/// The smallest request and the smallest list of headers that every caller can do with.
const MIN_SIZE: ByteSize = ByteSize::kib(1);
/// The largest: the size of a message that others accept by default.
const MAX_SIZE: ByteSize = ByteSize::mib(4);
/// More than a process can have descriptors (`fs.nr_open` is 1,048,576 where nobody raised it): what is
/// more limits nothing.
const MOST: usize = 1 << 20;
/// One in each nanosecond. More could not be told from any number, which is 0.
const MAX_RATE: u32 = 1_000_000_000;
/// Of a hundred.
const MAX_PERCENT: usize = 100;
/// The shortest idle time: callers that ask once a minute need not connect each time.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// How much callers may have. What is refused is counted in GetNode.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text, which is no Markdown")]
pub struct LimitArgs {
    /// Connections at once; of more, some are told so for a second, and others closed at once.
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_CONNECTIONS", default_value_t = 1024)]
    pub max_connections: usize,

    /// Calls and streams at once on one connection; more wait in the caller.
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_STREAMS", default_value_t = 256)]
    pub max_streams: u32,

    /// Exit streams at once.
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_WATCHERS", default_value_t = 256)]
    pub max_watchers: usize,

    /// Calls at once that are not answered yet.
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_CALLS", default_value_t = 256)]
    pub max_calls: usize,

    /// Those of them at once that take the kernel longer: GetTgid, BatchGet and GetNode.
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_SLOW_CALLS", default_value_t = 64)]
    pub max_slow_calls: usize,

    /// Calls a second of one caller, and as many at once; 0 for any number.
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_CALL_RATE", default_value_t = 10_000)]
    pub max_call_rate: u32,

    /// How much of all connections, exit streams and calls at once a caller may hold that is alone, in
    /// percent: a user of this node, the holder of a certificate, or a network address. The more others
    /// hold the less, so that something is left for the next; with 100, only the limits count.
    #[arg(long, value_name = "PERCENT", env = "TASKSTATSD_PRINCIPAL_SHARE", default_value_t = 50)]
    pub principal_share: usize,

    /// The longest request.
    #[arg(long, value_name = "SIZE", env = "TASKSTATSD_MAX_REQUEST_SIZE", default_value = "64KiB")]
    pub max_request_size: ByteSize,

    /// The longest list of a request's headers.
    #[arg(long, value_name = "SIZE", env = "TASKSTATSD_MAX_HEADER_SIZE", default_value = "16KiB")]
    pub max_header_size: ByteSize,

    /// How long a connection may be without a call, and up to twice that; 0s for ever.
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_IDLE_TIMEOUT",
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    pub idle_timeout: Duration,
}

impl LimitArgs {
    /// What callers may hold.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            overflow: MAX_OVERFLOW,
            watchers: self.max_watchers,
            calls: self.max_calls,
            slow_calls: self.max_slow_calls,
            share_percent: self.principal_share,
            call_rate: self.max_call_rate,
        }
    }

    /// What a connection may do.
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

    /// Refuses limits that would refuse everybody, and some that no limits are.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |flag, value: String, range: String| {
            Err(ConfigError::OutOfRange { flag, value, range })
        };
        for (flag, number) in [
            ("--max-connections", self.max_connections),
            ("--max-streams", usize::try_from(self.max_streams).unwrap_or(usize::MAX)),
            ("--max-watchers", self.max_watchers),
            ("--max-calls", self.max_calls),
            ("--max-slow-calls", self.max_slow_calls),
        ] {
            if !(1..=MOST).contains(&number) {
                return refuse(flag, number.to_string(), format!("1 to {MOST}"));
            }
        }
        for (flag, size) in [
            ("--max-request-size", self.max_request_size),
            ("--max-header-size", self.max_header_size),
        ] {
            if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
                return refuse(flag, size.to_string(), format!("{MIN_SIZE} to {MAX_SIZE}"));
            }
        }
        if self.max_call_rate > MAX_RATE {
            let range = format!("0 to {MAX_RATE}");
            return refuse("--max-call-rate", self.max_call_rate.to_string(), range);
        }
        if !(1..=MAX_PERCENT).contains(&self.principal_share) {
            let value = self.principal_share.to_string();
            return refuse("--principal-share", value, format!("1 to {MAX_PERCENT}"));
        }
        if !self.idle_timeout.is_zero() && self.idle_timeout < MIN_IDLE {
            let value = humantime::format_duration(self.idle_timeout).to_string();
            let range = format!("0s or {} and more", humantime::format_duration(MIN_IDLE));
            return refuse("--idle-timeout", value, range);
        }
        Ok(())
    }
}
