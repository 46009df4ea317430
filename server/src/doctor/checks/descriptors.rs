//! Whether as many files may be open as the agent can need.

use std::io;

use crate::capacity::{self, FdDemand, max_handshakes};
use crate::doctor::{Context, Finding, Fix};
use crate::taskstats::Kernel;

const NAME: &str = "descriptors";

pub(super) fn check(context: &Context) -> Finding {
    let Ok(kernel) = &context.kernel else {
        return Finding::skipped(NAME, "not known, since the number of CPUs is not");
    };
    // The agent raises its own limit.
    let limit = capacity::hard_limit();
    match needs(context, kernel.possible_cpus().len()).and_then(|needs| Ok((needs, limit?))) {
        Ok((needs, limit)) => judge(needs, limit),
        Err(error) => Finding::warning(NAME, format!("not known: {error}"), Some(Fix::FILES)),
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
        Err(shortage) => Finding::warning(NAME, shortage.to_string(), Some(Fix::DESCRIPTORS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn too_few_are_a_warning_with_what_to_do() {
        let (connections, overflow, handshakes) = (1024, 64, 256);
        let needs = FdDemand { open: 20, cpus: 8, connections, overflow, handshakes };
        let good = judge(needs, needs.all());
        assert_eq!((good.verdict, good.fix), (Verdict::Good, None), "{good:?}");
        let short = judge(needs, needs.all() - 1);
        assert_eq!((short.verdict, short.fix), (Verdict::Warning, Some(Fix::DESCRIPTORS)));
        assert!(short.finding.contains("1024 for connections"), "{short:?}");
    }
}
