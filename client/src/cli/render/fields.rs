//! Values that more than one form of output derives from a record.

use super::signals;
use crate::proto::{Delay, Delays, ExitStatus};
use crate::{DelayAccounting, TaskStats};

const NS_PER_US: u64 = 1000;

/// A class of waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DelayClass {
    Cpu,
    BlockIo,
    SwapIn,
    Reclaim,
    Thrashing,
    Compaction,
    WriteProtectCopy,
    Irq,
}

/// The class that a task waited longest for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LongestDelay {
    /// The kernel keeps no delays, and the record lacks even the wait for a CPU.
    Off,
    /// The task did not wait, or the record has no delays.
    None,
    /// A class, and the nanoseconds that the task waited for it in all.
    Of(DelayClass, u64),
}

impl DelayClass {
    /// Returns the name for the middle of a line: `cpu`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Irq => "irq",
            other => other.title(),
        }
    }

    /// Returns the name for the beginning of a line: `block I/O`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::BlockIo => "block I/O",
            Self::SwapIn => "swap-in",
            Self::Reclaim => "reclaim",
            Self::Thrashing => "thrashing",
            Self::Compaction => "compaction",
            Self::WriteProtectCopy => "write-protect copy",
            Self::Irq => "IRQ",
        }
    }

    /// Returns the name of the contract's field: `block_io`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::BlockIo => "block_io",
            Self::SwapIn => "swap_in",
            Self::Reclaim => "reclaim",
            Self::Thrashing => "thrashing",
            Self::Compaction => "compaction",
            Self::WriteProtectCopy => "write_protect_copy",
            Self::Irq => "irq",
        }
    }
}

/// Returns the classes that the kernel reported, in the contract's order.
pub(crate) fn delay_classes(delays: &Delays) -> impl Iterator<Item = (DelayClass, &Delay)> {
    [
        (DelayClass::Cpu, &delays.cpu),
        (DelayClass::BlockIo, &delays.block_io),
        (DelayClass::SwapIn, &delays.swap_in),
        (DelayClass::Reclaim, &delays.reclaim),
        (DelayClass::Thrashing, &delays.thrashing),
        (DelayClass::Compaction, &delays.compaction),
        (DelayClass::WriteProtectCopy, &delays.write_protect_copy),
        (DelayClass::Irq, &delays.irq),
    ]
    .into_iter()
    .filter_map(|(class, delay)| Some((class, delay.as_ref()?)))
}

/// Returns the class with the largest total.
///
/// Where delay accounting is off, or was turned on too late for the record to have counted anything,
/// the wait for a CPU is the only delay known: the scheduler keeps it in any case. It is then the
/// result even when it is 0.
pub(crate) fn longest_delay(stats: &TaskStats) -> LongestDelay {
    let unaccounted = match stats.delay_accounting() {
        DelayAccounting::Off => true,
        DelayAccounting::Partial => !has_waited(stats),
        DelayAccounting::On | DelayAccounting::Unknown | DelayAccounting::Unspecified => false,
    };
    if unaccounted {
        let cpu = stats.delays.as_ref().and_then(|delays| delays.cpu.as_ref());
        return cpu
            .map_or(LongestDelay::Off, |cpu| LongestDelay::Of(DelayClass::Cpu, cpu.total_ns));
    }
    let Some(delays) = &stats.delays else { return LongestDelay::None };
    let waited = delay_classes(delays).filter(|(_, delay)| delay.total_ns > 0);
    match waited.max_by_key(|(_, delay)| delay.total_ns) {
        Some((class, delay)) => LongestDelay::Of(class, delay.total_ns),
        None => LongestDelay::None,
    }
}

/// Returns true when the task waited for anything but a CPU.
fn has_waited(stats: &TaskStats) -> bool {
    let mut classes = stats.delays.iter().flat_map(delay_classes);
    classes.any(|(class, delay)| class != DelayClass::Cpu && delay.count > 0)
}

/// Returns the sum of user and system time, in microseconds.
///
/// Kernels that do not add up user and system time over a thread group still add up their sum in
/// `cpu_run_real_total` (`delayacct_add_tsk` in kernel/delayacct.c).
pub(crate) fn cpu_us(stats: &TaskStats) -> Option<u64> {
    let cpu = stats.cpu.as_ref()?;
    match (cpu.user_us, cpu.system_us) {
        (Some(user), Some(system)) => Some(user.saturating_add(system)),
        _ => cpu.run_real_ns.map(|ns| ns / NS_PER_US),
    }
}

/// Returns the bytes that storage was made to read and write.
pub(crate) fn storage_bytes(stats: &TaskStats) -> Option<u64> {
    let io = stats.io.as_ref()?;
    Some(io.read_bytes.saturating_add(io.write_bytes))
}

/// Returns how a task ended: `exit 7`, `SIGKILL`, `SIGSEGV (core)`.
pub(crate) fn exit_status(exit: &ExitStatus) -> String {
    let core = if exit.core_dumped { " (core)" } else { "" };
    match (exit.signal, exit.code) {
        (Some(signal), _) => format!("{}{core}", signals::name(signal)),
        (None, Some(code)) => format!("exit {code}{core}"),
        (None, None) => format!("status {:#x}", exit.raw_status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::CpuTime;

    fn waiting(accounting: DelayAccounting, cpu: u64, block_io: u64) -> TaskStats {
        let delay = |total_ns| Some(Delay { count: 1, total_ns, ..Default::default() });
        let delays = Delays { cpu: delay(cpu), block_io: delay(block_io), ..Default::default() };
        TaskStats {
            delays: Some(delays),
            delay_accounting: accounting.into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_longest_delay_is_that_of_the_largest_total() {
        let longest = longest_delay(&waiting(DelayAccounting::On, 5, 9));
        assert_eq!(longest, LongestDelay::Of(DelayClass::BlockIo, 9));
        assert_eq!(longest_delay(&waiting(DelayAccounting::On, 0, 0)), LongestDelay::None);
        assert_eq!(longest_delay(&TaskStats::default()), LongestDelay::None);
    }

    #[test]
    fn without_delay_accounting_the_wait_for_a_cpu_is_still_known() {
        let cpu = |total| LongestDelay::Of(DelayClass::Cpu, total);
        assert_eq!(longest_delay(&waiting(DelayAccounting::Off, 5, 9)), cpu(5));
        assert_eq!(longest_delay(&waiting(DelayAccounting::Off, 0, 9)), cpu(0));
        let delay_accounting = DelayAccounting::Off.into();
        let unreported = TaskStats { delay_accounting, ..Default::default() };
        assert_eq!(longest_delay(&unreported), LongestDelay::Off);
    }

    #[test]
    fn the_wait_for_a_cpu_is_known_of_a_task_that_began_before_accounting() {
        let mut early = waiting(DelayAccounting::Partial, 0, 0);
        early.delays.as_mut().unwrap().block_io = Some(Delay::default());
        assert_eq!(longest_delay(&early), LongestDelay::Of(DelayClass::Cpu, 0));
        let counted = waiting(DelayAccounting::Partial, 5, 9);
        assert_eq!(longest_delay(&counted), LongestDelay::Of(DelayClass::BlockIo, 9));
    }

    #[test]
    fn an_exit_status_is_named_as_a_shell_names_it() {
        let ended = |code, signal, core_dumped| {
            exit_status(&ExitStatus { raw_status: 0x7f, code, signal, core_dumped })
        };
        assert_eq!(ended(Some(7), None, false), "exit 7");
        assert_eq!(ended(None, Some(9), false), "SIGKILL");
        assert_eq!(ended(None, Some(11), true), "SIGSEGV (core)");
        assert_eq!(ended(None, None, false), "status 0x7f");
    }

    #[test]
    fn user_and_system_time_are_added_up() {
        let of = |user_us, system_us, run_real_ns| {
            let cpu = CpuTime { user_us, system_us, run_real_ns, ..Default::default() };
            cpu_us(&TaskStats { cpu: Some(cpu), ..Default::default() })
        };
        assert_eq!(of(Some(1), Some(2), Some(9000)), Some(3));
        assert_eq!(of(None, None, Some(9000)), Some(9));
        assert_eq!(of(Some(1), None, None), None);
        assert_eq!(storage_bytes(&TaskStats::default()), None);
    }
}
