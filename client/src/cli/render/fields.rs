//! What is read out of an account in more than one place.

use super::signals;
use crate::proto::{Delay, Delays, ExitStatus};
use crate::{DelayAccounting, TaskStats};

/// The classes of waiting.
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
    /// Delays are not accounted, and not even that for a CPU was reported.
    Off,
    /// Nothing was waited for, or nothing was reported.
    None,
    /// This one, for so many nanoseconds in all.
    Of(DelayClass, u64),
}

impl DelayClass {
    /// For reading, in the middle of a line: `cpu`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Irq => "irq",
            other => other.title(),
        }
    }

    /// For reading: `block I/O`.
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

    /// The contract's name: `block_io`.
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

/// The classes that were reported, in the contract's order.
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

/// The class with the largest total. Without delay accounting, and where it came too late to have
/// counted anything, only the wait for a CPU is known, which the scheduler keeps in any case, and it
/// is told even when it is 0.
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

/// Whether anything was waited for but a CPU.
fn has_waited(stats: &TaskStats) -> bool {
    let mut classes = stats.delays.iter().flat_map(delay_classes);
    classes.any(|(class, delay)| class != DelayClass::Cpu && delay.count > 0)
}

/// User and system time together, in microseconds.
pub(crate) fn cpu_us(stats: &TaskStats) -> Option<u64> {
    let cpu = stats.cpu.as_ref()?;
    Some(cpu.user_us?.saturating_add(cpu.system_us?))
}

/// Bytes that storage was made to read and write.
pub(crate) fn storage_bytes(stats: &TaskStats) -> Option<u64> {
    let io = stats.io.as_ref()?;
    Some(io.read_bytes.saturating_add(io.write_bytes))
}

/// How a task ended: `exit 7`, `SIGKILL`, `SIGSEGV (core)`.
pub(crate) fn ending(exit: &ExitStatus) -> String {
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
    fn of_a_task_that_began_too_early_the_wait_for_a_cpu_is_known() {
        let mut early = waiting(DelayAccounting::Partial, 0, 0);
        early.delays.as_mut().unwrap().block_io = Some(Delay::default());
        assert_eq!(longest_delay(&early), LongestDelay::Of(DelayClass::Cpu, 0));
        let counted = waiting(DelayAccounting::Partial, 5, 9);
        assert_eq!(longest_delay(&counted), LongestDelay::Of(DelayClass::BlockIo, 9));
    }

    #[test]
    fn endings_read_as_the_shell_would_say() {
        let ended = |code, signal, core_dumped| {
            ending(&ExitStatus { raw_status: 0x7f, code, signal, core_dumped })
        };
        assert_eq!(ended(Some(7), None, false), "exit 7");
        assert_eq!(ended(None, Some(9), false), "SIGKILL");
        assert_eq!(ended(None, Some(11), true), "SIGSEGV (core)");
        assert_eq!(ended(None, None, false), "status 0x7f");
    }

    #[test]
    fn sums_need_both_parts() {
        let cpu = crate::proto::CpuTime { user_us: Some(1), ..Default::default() };
        let stats = TaskStats { cpu: Some(cpu), ..Default::default() };
        assert_eq!(cpu_us(&stats), None);
        assert_eq!(storage_bytes(&stats), None);
    }
}
