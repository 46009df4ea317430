//! What the agent tells its operator: log lines, none of them with a task's account.

mod log;
mod throttle;

pub use log::{LogFormat, start_log, tell_end};
pub use throttle::Throttle;
