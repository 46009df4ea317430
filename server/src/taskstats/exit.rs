//! Exits of tasks.

use std::time::Duration;

use super::process_totals::ProcessTotals;
use super::stats::Stats;
use crate::bpf::CgroupId;

/// `AGROUP` of the kernel's `include/uapi/linux/acct.h`: the last task of its group.
const LAST_OF_GROUP: u8 = 0x20;

/// The version of `struct taskstats` since which the kernel sets `AGROUP`.
const LAST_OF_GROUP_SINCE: u16 = 12;

/// One exit message: the final statistics of a task, and those of its group with the last of
/// several tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The CPU on which the task exited.
    pub cpu: u32,
    /// The kernel's sequence number of the message, which each CPU counts separately.
    pub kernel_sequence: u32,
    /// The task's statistics.
    pub task: Stats,
    /// The kernel's record of the group, present with the last task of a group that ever had more
    /// than one. Boxed, because few exits have it.
    pub process: Option<Box<Stats>>,
    /// The sums over all threads of the process, with the last of several.
    pub process_totals: Option<Box<ProcessTotals>>,
    /// The task's cgroup, if it is known.
    pub owner: Option<Owner>,
    /// The time at which the kernel sent the message, since 1970, if the kernel stored it.
    pub ended_at: Option<Duration>,
}

/// A task's cgroup, and the certainty of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cgroup.
    pub(crate) cgroup: CgroupId,
    /// The certainty.
    pub(crate) attribution: Attribution,
}

/// The certainty of a task's cgroup.
#[allow(dead_code, reason = "the socket filter gives only the first; a stream may have each")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attribution {
    /// The kernel stored it from inside the exiting task.
    Exact,
    /// It was read of this very process, which did not move since.
    Observed,
    /// It is that of the parent, whose fork was observed, and no move was observed since.
    Inferred,
    /// The process may have moved, or its parent is known by its id only.
    Guess,
}

/// A status word of `wait(2)`.
///
/// ```
/// use taskstatsd::taskstats::WaitStatus;
///
/// assert_eq!(WaitStatus(0x0100).code(), Some(1));
/// assert_eq!(WaitStatus(0x0089).signal(), Some(9));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatus(pub u32);

impl Exit {
    /// Returns whether the task's process ended with it; `None` if the kernel does not say.
    ///
    /// Before v12 only a group's record says so, which a process without a second thread does not
    /// have.
    #[must_use]
    pub fn last_in_process(&self) -> Option<bool> {
        match &self.task.identity.task {
            Some(task) if self.task.version >= LAST_OF_GROUP_SINCE => {
                Some(task.flags & LAST_OF_GROUP != 0)
            }
            _ => self.process.as_ref().map(|_| true),
        }
    }
}

impl WaitStatus {
    /// The low bits hold the signal, 0 for none.
    const SIGNAL_MASK: u32 = 0x7f;
    /// Set when a core was dumped.
    const CORE_BIT: u32 = 0x80;
    /// The exit code follows the signal and the core bit.
    const CODE_SHIFT: u32 = 8;
    /// The exit code has one byte.
    const CODE_MASK: u32 = 0xff;

    /// Returns the exit code, 0 to 255; `None` if a signal ended the task.
    #[must_use]
    pub const fn code(self) -> Option<u32> {
        match self.signal() {
            None => Some(self.0 >> Self::CODE_SHIFT & Self::CODE_MASK),
            Some(_) => None,
        }
    }

    /// Returns the number of the signal that ended the task; `None` if it exited by itself.
    #[must_use]
    pub const fn signal(self) -> Option<u32> {
        match self.0 & Self::SIGNAL_MASK {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Returns whether a core was dumped.
    #[must_use]
    pub(crate) const fn core_dumped(self) -> bool {
        self.0 & Self::CORE_BIT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Stats, WaitStatus};
    use crate::taskstats::{Identity, TaskIdentity};

    fn exit(version: u16, flags: u8, has_group_record: bool) -> Exit {
        let task = TaskIdentity { flags, ..TaskIdentity::default() };
        let identity = Identity { task: Some(task), ..Identity::default() };
        Exit {
            task: Stats { version, identity, ..Stats::default() },
            process: has_group_record.then(Box::default),
            ..Exit::default()
        }
    }

    #[test]
    fn since_v12_the_flag_says_that_the_process_ended() {
        assert_eq!(exit(12, 0x20, false).last_in_process(), Some(true));
        assert_eq!(exit(16, 0x23, false).last_in_process(), Some(true));
        assert_eq!(exit(12, 0x1f, true).last_in_process(), Some(false));
    }

    #[test]
    fn before_v12_only_a_group_record_says_it() {
        assert_eq!(exit(11, 0x20, false).last_in_process(), None);
        assert_eq!(exit(11, 0, true).last_in_process(), Some(true));
    }

    #[test]
    fn a_status_word_is_a_code_or_a_signal() {
        let parts = |raw| {
            let status = WaitStatus(raw);
            (status.code(), status.signal(), status.core_dumped())
        };
        assert_eq!(parts(0), (Some(0), None, false));
        assert_eq!(parts(0xff00), (Some(255), None, false));
        assert_eq!(parts(9), (None, Some(9), false));
        assert_eq!(parts(0x8b), (None, Some(11), true));
        assert_eq!(parts(u32::MAX), (None, Some(127), true));
    }
}
