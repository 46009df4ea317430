//! What zero delays mean.

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::taskstats::{DelayAccounting, Kernel, Since};

const NAME: &str = "delay accounting";

pub(super) fn check(context: &Context) -> Finding {
    let Ok(kernel) = &context.kernel else {
        return Finding::skipped(NAME, "not looked at: the kernel cannot be asked");
    };
    found(kernel.delay_accounting())
}

fn found(accounting: DelayAccounting) -> Finding {
    match accounting {
        DelayAccounting::On(Since::Boot) => {
            Finding::good(NAME, "on since the boot: every task has its delays")
        }
        DelayAccounting::On(Since::Between { .. }) => Finding::warning(
            NAME,
            "on; a process that just began cannot know since when, and tasks that began before have no delays. A running agent knows more: see delay accounting in `taskstatsctl node` (delay_accounting_since)",
            None,
        ),
        DelayAccounting::Off => Finding::warning(
            NAME,
            "off: delays of all tasks read as zero, but those for a CPU",
            Some(Cause::DelayAccounting),
        ),
        DelayAccounting::Unknown => Finding::warning(
            NAME,
            "the kernel does not say: zero delays may mean nothing",
            Some(Cause::DelayAccounting),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Verdict;

    /// A process that just began does not know what the node's agent knows, and says whom to ask.
    #[test]
    fn who_cannot_know_since_when_points_to_who_can() {
        let since = Since::Between { off_at: None, on_at: Duration::ZERO };
        let Finding { verdict, finding, .. } = found(DelayAccounting::On(since));
        assert_eq!(verdict, Verdict::Warning);
        assert!(finding.contains("taskstatsctl node"), "{finding}");
        assert_eq!(found(DelayAccounting::On(Since::Boot)).verdict, Verdict::Good);
    }
}
