//! What an agent that is started here and now would give up.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::config::{Sandbox, TlsArgs};
use crate::doctor::{Finding, Fix, Patient};
use crate::sandbox::{self, Closed, Prospect, User, names};

const NAME: &str = "sandbox";

pub(super) fn check(patient: &Patient) -> Finding {
    // Contradictions are what the check of the settings finds.
    let Ok(Sandbox::On(wanted)) = Sandbox::try_from(patient.args.sandbox.clone()) else {
        return Finding::warning(NAME, "--no-sandbox: no rights are given up", Some(Fix::SANDBOX));
    };
    match sandbox::prospect(wanted.as_ref()) {
        Err(error) => Finding::bad(NAME, error.to_string(), Fix::SETTINGS),
        Ok(prospect) => {
            let files = files(&patient.args.tls);
            match sandbox::unreadable_for(prospect.user, files) {
                Some(closed) => to_open(&prospect, &closed),
                None => judge(&prospect),
            }
        }
    }
}

/// What is read again when it changes.
fn files(tls: &TlsArgs) -> impl Iterator<Item = &Path> {
    let files = [&tls.tls_cert, &tls.tls_key, &tls.client_ca];
    files.into_iter().flatten().map(PathBuf::as_path)
}

/// What the agent reads and watches at its start alone; or not even then, without root's rights.
fn to_open(prospect: &Prospect, closed: &Closed) -> Finding {
    let User { uid, gid } = prospect.user;
    let finding = format!("{prospect}; user {uid}:{gid} cannot read {closed}");
    let wanted = match closed {
        Closed::File(_) => AccessFlags::R_OK,
        Closed::Folder(_) => AccessFlags::R_OK | AccessFlags::X_OK,
    };
    if access(closed.path(), wanted).is_err() {
        let finding = format!("{finding}: an agent with the rights of this doctor does not start");
        return Finding::bad(NAME, finding, Fix::KEYS);
    }
    let finding = format!(
        "{finding}: started as root, the agent uses what is there, and never takes up a new one"
    );
    Finding::warning(NAME, finding, Some(Fix::KEYS))
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
