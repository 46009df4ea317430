//! What an agent that is started here and now would give up.

use crate::config::Sandbox;
use crate::doctor::{Finding, Fix, Patient};
use crate::sandbox::{self, Prospect, names};

const NAME: &str = "sandbox";

pub(super) fn check(patient: &Patient) -> Finding {
    // Contradictions are what the check of the settings finds.
    let Ok(Sandbox::On(wanted)) = Sandbox::try_from(patient.args.sandbox.clone()) else {
        return Finding::warning(NAME, "--no-sandbox: no rights are given up", Some(Fix::SANDBOX));
    };
    match sandbox::prospect(wanted.as_ref()) {
        Err(error) => Finding::bad(NAME, error.to_string(), Fix::SETTINGS),
        Ok(prospect) => judge(&prospect),
    }
}

/// The first gap is named with what to do; the text before tells what would be in force.
fn judge(prospect: &Prospect) -> Finding {
    if !prospect.lacking.is_empty() {
        let lacking = names(&prospect.lacking);
        let finding = format!("{prospect}; root is not left, because that takes {lacking}");
        return Finding::warning(NAME, finding, Some(Fix::ROOT));
    }
    if !prospect.seccomp {
        let finding = format!("{prospect}; there is no list of system calls for this architecture");
        return Finding::warning(NAME, finding, None);
    }
    if prospect.landlock == 0 {
        let finding =
            format!("{prospect}; this kernel has no landlock, so files and ports stay open");
        return Finding::warning(NAME, finding, Some(Fix::LANDLOCK));
    }
    Finding::good(NAME, prospect.to_string())
}

#[cfg(test)]
mod tests {
    use capctl::Cap;

    use super::*;
    use crate::doctor::Verdict;
    use crate::sandbox::User;

    fn best() -> Prospect {
        let user = User { uid: 7, gid: 8 };
        Prospect { user, lacking: Vec::new(), seccomp: true, landlock: 6 }
    }

    #[test]
    fn what_is_not_given_up_is_a_warning() {
        assert_eq!(judge(&best()).verdict, Verdict::Good);
        for (prospect, said) in [
            (Prospect { lacking: vec![Cap::SETUID], ..best() }, "CAP_SETUID"),
            (Prospect { seccomp: false, ..best() }, "no list of system calls"),
            (Prospect { landlock: 0, ..best() }, "no landlock"),
        ] {
            let finding = judge(&prospect);
            assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
            assert!(finding.finding.contains(said), "{finding:?}");
        }
    }
}
