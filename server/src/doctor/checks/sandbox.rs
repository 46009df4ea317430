//! Predicts the sandbox of an agent that is started here.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::advice::Cause;
use crate::config::{Sandbox, TlsArgs};
use crate::doctor::{Context, Finding};
use crate::sandbox::{self, DryRun, Inaccessible, User, names};

const NAME: &str = "sandbox";

pub(super) fn check(context: &Context) -> Finding {
    // The check of the settings reports contradictions.
    let Ok(Sandbox::On(wanted)) = Sandbox::try_from(context.args.sandbox.clone()) else {
        return Finding::warning(
            NAME,
            "--no-sandbox: no privileges are dropped",
            Some(Cause::NoSandbox),
        );
    };
    match sandbox::dry_run(wanted.as_ref()) {
        Err(error) => Finding::bad(NAME, error.to_string(), Cause::Settings),
        Ok(dry_run) => {
            let files = files(&context.args.tls);
            match sandbox::first_inaccessible(dry_run.user, files) {
                Some(closed) => judge_inaccessible(&dry_run, &closed),
                None => judge(&dry_run),
            }
        }
    }
}

/// Returns the files that are read again when they change.
fn files(tls: &TlsArgs) -> impl Iterator<Item = &Path> {
    let files = [&tls.tls_cert, &tls.tls_key, &tls.client_ca];
    files.into_iter().flatten().map(PathBuf::as_path)
}

/// Reports a file that the agent can read only as root at its start, or not at all.
fn judge_inaccessible(dry_run: &DryRun, closed: &Inaccessible) -> Finding {
    let User { uid, gid } = dry_run.user;
    let finding = format!("{dry_run}; user {uid}:{gid} cannot read {closed}");
    let wanted = match closed {
        Inaccessible::File(_) => AccessFlags::R_OK,
        Inaccessible::Directory(_) => AccessFlags::R_OK | AccessFlags::X_OK,
    };
    if access(closed.path(), wanted).is_err() {
        let finding =
            format!("{finding}: an agent with the privileges of this process does not start");
        return Finding::bad(NAME, finding, Cause::UnreadableKeys);
    }
    let finding = format!(
        "{finding}: an agent that is started as root uses the present one, and none that replaces it"
    );
    Finding::warning(NAME, finding, Some(Cause::UnreadableKeys))
}

/// Reports the first measure that would be missing, after those that would be applied.
fn judge(dry_run: &DryRun) -> Finding {
    if !dry_run.lacking.is_empty() {
        let lacking = names(&dry_run.lacking);
        let finding =
            format!("{dry_run}; it stays root, because {lacking} is missing to change the user");
        return Finding::warning(NAME, finding, Some(Cause::StillRoot));
    }
    if !dry_run.seccomp {
        let finding = format!("{dry_run}; there is no list of system calls for this architecture");
        return Finding::warning(NAME, finding, None);
    }
    if dry_run.landlock == 0 {
        let finding =
            format!("{dry_run}; this kernel has no landlock, so files and ports stay open");
        return Finding::warning(NAME, finding, Some(Cause::Landlock));
    }
    Finding::good(NAME, dry_run.to_string())
}

#[cfg(test)]
mod tests {
    use capctl::Cap;

    use super::*;
    use crate::doctor::Verdict;

    fn best() -> DryRun {
        let user = User { uid: 7, gid: 8 };
        DryRun { user, lacking: Vec::new(), seccomp: true, landlock: 6 }
    }

    #[test]
    fn a_missing_measure_is_a_warning() {
        assert_eq!(judge(&best()).verdict, Verdict::Good);
        for (dry_run, said) in [
            (DryRun { lacking: vec![Cap::SETUID], ..best() }, "CAP_SETUID"),
            (DryRun { seccomp: false, ..best() }, "no list of system calls"),
            (DryRun { landlock: 0, ..best() }, "no landlock"),
        ] {
            let finding = judge(&dry_run);
            assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
            assert!(finding.finding.contains(said), "{finding:?}");
        }
    }
}
