//! Checks whether exits can be attributed to cgroups.

use crate::advice::{Cause, HasCause};
use crate::bpf::Method;
use crate::config::AttributionChoice;
use crate::doctor::{Context, Finding};
use crate::workload::{AttributionError, find_hierarchies, load_filters};

const NAME: &str = "attribution";

/// Any CPU: the filter of each is the same program.
const CPU: u32 = 0;

pub(super) fn check(context: &Context) -> Finding {
    let choice = context.args.attribution;
    if choice == AttributionChoice::Off {
        return Finding::good(NAME, "off (--attribution off)");
    }
    let receive_buffer = context.args.receive_buffer.as_u64();
    let receive_buffer = usize::try_from(receive_buffer).unwrap_or(usize::MAX);
    match method(receive_buffer) {
        Ok(Method::Helper) => {
            Finding::good(NAME, "exact, by a socket filter that requests the cgroup (v2)")
        }
        Ok(Method::Offsets) => {
            Finding::good(NAME, "exact, by a socket filter with offsets of the kernel's structures")
        }
        Err(error) => refused(choice, &error),
    }
}

/// Loads the filter of one CPU, and removes it.
fn method(receive_buffer: usize) -> Result<Method, AttributionError> {
    let hierarchies = find_hierarchies()?;
    Ok(load_filters(&[CPU].into_iter().collect(), receive_buffer, &hierarchies)?.method())
}

/// Without the filter the agent serves exits without cgroups, unless it may not.
fn refused(choice: AttributionChoice, error: &AttributionError) -> Finding {
    let finding = format!("exits will have no cgroup: {error}");
    match choice {
        AttributionChoice::Kernel => {
            Finding::bad(NAME, error.to_string(), error.cause().unwrap_or(Cause::Unknown))
        }
        AttributionChoice::Auto | AttributionChoice::Off => {
            Finding::warning(NAME, finding, error.cause())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_missing_method_is_bad_only_if_it_is_required() {
        let error = AttributionError::NoHierarchy;
        for (choice, verdict) in
            [(AttributionChoice::Auto, Verdict::Warning), (AttributionChoice::Kernel, Verdict::Bad)]
        {
            let finding = refused(choice, &error);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.fix, Some(Cause::CgroupMount.advice()));
            assert!(finding.finding.contains("no hierarchy of cgroups"), "{finding:?}");
        }
    }
}
