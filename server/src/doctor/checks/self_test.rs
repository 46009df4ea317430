//! Checks whether exits arrive from each CPU.

use crate::doctor::{Context, Finding};
use crate::taskstats::{Kernel, KernelError, SelfTest};

const NAME: &str = "self-test";

pub(super) fn check(context: &Context) -> Finding {
    let kernel = match &context.kernel {
        Ok(kernel) => kernel,
        Err(error) => return Finding::refused(NAME, error),
    };
    match kernel.online_cpus().and_then(|online| kernel.self_test(&online)) {
        Ok(tested) => found(tested),
        Err(KernelError::KnownBadKernel { .. }) => {
            Finding::skipped(NAME, "not made: this kernel must not be queried")
        }
        Err(error @ KernelError::NotTested { .. }) => Finding::skipped(NAME, error.to_string()),
        Err(error) => Finding::refused(NAME, &error),
    }
}

fn found(tested: SelfTest) -> Finding {
    let SelfTest { delivered, missing, untested } = tested;
    let rest = match untested.is_empty() {
        true => String::new(),
        false => format!("; not tested: CPUs {untested}, which did not run the agent's threads"),
    };
    if !missing.is_empty() {
        let error = KernelError::NoExitsArrive { cpus: missing };
        let mut finding = Finding::refused(NAME, &error);
        finding.finding.push_str(&rest);
        return finding;
    }
    if delivered.is_empty() {
        return Finding::skipped(NAME, format!("no CPU ran a thread of the agent{rest}"));
    }
    Finding::good(
        NAME,
        format!("a task ended on each of CPUs {delivered}, and the kernel reported each{rest}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::taskstats::Cpumask;

    fn verdict(delivered: &[u32], missing: &[u32], untested: &[u32]) -> (Verdict, String) {
        let set = |cpus: &[u32]| cpus.iter().copied().collect::<Cpumask>();
        let (delivered, missing, untested) = (set(delivered), set(missing), set(untested));
        let finding = found(SelfTest { delivered, missing, untested });
        (finding.verdict, finding.finding)
    }

    #[test]
    fn a_cpu_without_exits_is_bad_and_named() {
        let (verdict, finding) = verdict(&[0, 1], &[7], &[]);
        assert_eq!(verdict, Verdict::Bad);
        assert!(finding.contains("on CPUs 7"), "{finding}");
    }

    #[test]
    fn an_untested_cpu_is_named_and_not_bad() {
        let (of_some, finding) = verdict(&[0, 1], &[], &[2, 3]);
        assert_eq!(of_some, Verdict::Good);
        assert!(finding.contains("not tested: CPUs 2-3"), "{finding}");
        assert_eq!(verdict(&[], &[], &[0]).0, Verdict::Warning);
    }
}
