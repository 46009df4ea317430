//! Checks whether the limit of open files is high enough.

use std::io;

use crate::advice::Cause;
use crate::capacity::{self, FdDemand, max_handshakes};
use crate::doctor::{Context, Finding};
use crate::taskstats::Kernel;

const NAME: &str = "descriptors";

pub(super) fn check(context: &Context) -> Finding {
    let Ok(kernel) = &context.kernel else {
        return Finding::skipped(NAME, "not examined: the number of CPUs is unknown");
    };
    // The agent raises its limit to this one.
    let limit = capacity::hard_limit();
    match needs(context, kernel.possible_cpus().len()).and_then(|needs| Ok((needs, limit?))) {
        Ok((needs, limit)) => judge(needs, limit),
        Err(error) => {
            Finding::warning(NAME, format!("not examined: {error}"), Some(Cause::PseudoFilesystems))
        }
    }
}

fn needs(context: &Context, cpus: usize) -> io::Result<FdDemand> {
    let args = &context.args;
    let limits = args.limits.limits();
    Ok(FdDemand {
        open: FdDemand::at_start(args.listen.len())?,
        cpus,
        connections: limits.connections,
        overflow: limits.overflow,
        handshakes: if args.tls.tls_cert.is_some() { max_handshakes(&limits) } else { 0 },
    })
}

fn judge(needs: FdDemand, limit: usize) -> Finding {
    match needs.within(limit) {
        Ok(_) => {
            let all = needs.all();
            Finding::good(
                NAME,
                format!("the limit of open files is {limit}, and up to {all} are needed"),
            )
        }
        Err(shortage) => Finding::warning(NAME, shortage.to_string(), Some(Cause::Descriptors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn too_few_descriptors_are_a_warning_with_advice() {
        let (connections, overflow, handshakes) = (1024, 64, 256);
        let needs = FdDemand { open: 20, cpus: 8, connections, overflow, handshakes };
        let good = judge(needs, needs.all());
        assert_eq!((good.verdict, good.fix), (Verdict::Good, None), "{good:?}");
        let short = judge(needs, needs.all() - 1);
        assert_eq!(
            (short.verdict, short.fix),
            (Verdict::Warning, Some(Cause::Descriptors.advice()))
        );
        assert!(short.finding.contains("1024 for connections"), "{short:?}");
    }
}
