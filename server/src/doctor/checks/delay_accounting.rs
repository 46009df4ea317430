//! Checks whether delays are accounted.

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::taskstats::{DelayAccounting, Kernel, Since};

const NAME: &str = "delay accounting";

pub(super) fn check(context: &Context) -> Finding {
    let Ok(kernel) = &context.kernel else {
        return Finding::skipped(NAME, "not examined: the kernel cannot be queried");
    };
    found(kernel.delay_accounting())
}

fn found(accounting: DelayAccounting) -> Finding {
    match accounting {
        DelayAccounting::On(Since::Boot) => {
            Finding::good(NAME, "on since boot: the delays of every task are complete")
        }
        DelayAccounting::On(Since::Between { .. }) => Finding::warning(
            NAME,
            "on, and a new process cannot know since when; tasks that began before have no delays. A running agent reports more: see delay_accounting_since in `taskstatsctl node`",
            None,
        ),
        DelayAccounting::Off => Finding::warning(
            NAME,
            "off: all delays but those for a CPU are zero",
            Some(Cause::DelayAccounting),
        ),
        DelayAccounting::Unknown => Finding::warning(
            NAME,
            "not reported by the kernel: delays of zero may mean nothing",
            Some(Cause::DelayAccounting),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Verdict;

    /// A new process does not know since when delays are accounted, and refers to the running agent.
    #[test]
    fn an_unknown_start_refers_to_the_running_agent() {
        let since = Since::Between { off_at: None, on_at: Duration::ZERO };
        let Finding { verdict, finding, .. } = found(DelayAccounting::On(since));
        assert_eq!(verdict, Verdict::Warning);
        assert!(finding.contains("taskstatsctl node"), "{finding}");
        assert_eq!(found(DelayAccounting::On(Since::Boot)).verdict, Verdict::Good);
    }
}
