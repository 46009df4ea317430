//! Whether as many files may be open as the agent can need.

use std::io;

use crate::descriptors::{self, Needs};
use crate::doctor::{Finding, Fix, Patient};
use crate::listen::HANDSHAKES;
use crate::security::MAX_OVERFLOW;
use crate::taskstats::Kernel;

const NAME: &str = "descriptors";

pub(super) fn check(patient: &Patient) -> Finding {
    let Ok(kernel) = &patient.kernel else {
        return Finding::skipped(NAME, "not known, since the number of CPUs is not");
    };
    // The agent raises its own limit.
    let limit = descriptors::highest_limit();
    match needs(patient, kernel.possible_cpus().len()).and_then(|needs| Ok((needs, limit?))) {
        Ok((needs, limit)) => judge(needs, limit),
        Err(error) => Finding::warning(NAME, format!("not known: {error}"), Some(Fix::FILES)),
    }
}

fn needs(patient: &Patient, cpus: usize) -> io::Result<Needs> {
    let args = &patient.args;
    Ok(Needs {
        open: Needs::at_start(args.listen.len())?,
        cpus,
        connections: args.limits.max_connections,
        overflow: MAX_OVERFLOW,
        handshakes: if args.tls.tls_cert.is_some() { HANDSHAKES } else { 0 },
    })
}

fn judge(needs: Needs, limit: usize) -> Finding {
    match needs.within(limit) {
        Ok(_) => {
            let all = needs.all();
            Finding::good(NAME, format!("{limit} files may be open, and up to {all} are needed"))
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
        let (connections, overflow, handshakes) = (1024, MAX_OVERFLOW, HANDSHAKES);
        let needs = Needs { open: 20, cpus: 8, connections, overflow, handshakes };
        let good = judge(needs, needs.all());
        assert_eq!((good.verdict, good.fix), (Verdict::Good, None), "{good:?}");
        let short = judge(needs, needs.all() - 1);
        assert_eq!((short.verdict, short.fix), (Verdict::Warning, Some(Fix::DESCRIPTORS)));
        assert!(short.finding.contains("1024 for connections"), "{short:?}");
    }
}
