//! The agent's log on standard error. No line contains a task's statistics.

mod log;
mod stderr;
mod throttle;

pub(crate) use log::{LogFormat, report_fatal, start_log};
pub(crate) use throttle::Throttle;
