//! What the agent tells its operator: log lines, none of them with a task's account.

mod log;
mod throttle;

pub use log::{LogFormat, report_fatal, start_log};
pub use throttle::Throttle;
