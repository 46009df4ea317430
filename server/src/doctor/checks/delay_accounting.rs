//! What zero delays mean.

use crate::doctor::{Finding, Fix, Patient};
use crate::taskstats::{DelayAccounting, Kernel, Since};

const NAME: &str = "delay accounting";

pub(super) fn check(patient: &Patient) -> Finding {
    let Ok(kernel) = &patient.kernel else {
        return Finding::skipped(NAME, "not looked at: the kernel cannot be asked");
    };
    match kernel.delay_accounting() {
        DelayAccounting::On(Since::Boot) => {
            Finding::good(NAME, "on since the boot: every task has its delays")
        }
        DelayAccounting::On(Since::Between { .. }) => Finding::good(
            NAME,
            "on; since when is not known, and tasks that began before have no delays. The agent knows it of tasks that begin while it runs",
        ),
        DelayAccounting::Off => Finding::warning(
            NAME,
            "off: delays of all tasks read as zero, but those for a CPU",
            Some(Fix::DELAY_ACCOUNTING),
        ),
        DelayAccounting::Unknown => Finding::warning(
            NAME,
            "the kernel does not say: zero delays may mean nothing",
            Some(Fix::DELAY_ACCOUNTING),
        ),
    }
}
