//! `taskstatsd doctor`: checks the machine, the agent's environment and its settings, and says what to
//! change.
//!
//! A new check is a file in `checks/` and a line in its list.

mod checks;
mod finding;
mod report;

pub(crate) use self::finding::{Finding, Verdict};
pub(crate) use self::report::Report;

use crate::config::Args;
use crate::taskstats::{KernelError, LinuxKernel};

/// The subject of the checks: the settings and the kernel of an agent that would be started here.
#[derive(Debug)]
struct Context {
    args: Args,
    /// The running kernel, or the reason why it cannot be queried.
    kernel: Result<LinuxKernel, KernelError>,
}

/// Runs all checks, with the settings of `args`.
#[must_use]
pub(crate) fn examine(args: Args) -> Report {
    let receive_buffer = usize::try_from(args.receive_buffer.as_u64()).unwrap_or(usize::MAX);
    let kernel = LinuxKernel::new(receive_buffer).map(|kernel| {
        if args.ignore_known_bad_kernel { kernel.ignoring_known_bugs() } else { kernel }
    });
    examine_on(args, kernel)
}

/// Runs all checks on a kernel, such as one with a pretended release.
#[must_use]
pub(crate) fn examine_on(args: Args, kernel: Result<LinuxKernel, KernelError>) -> Report {
    let context = Context { args, kernel };
    Report::new(checks::ALL.iter().map(|check| check(&context)).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::DoctorArgs;

    const BAD: &str = "6.12.0-55.9.1.el10_0.x86_64";

    fn report(arguments: &[&str]) -> Report {
        let args = Args::parse_from(["taskstatsd"].iter().chain(arguments));
        let kernel = LinuxKernel::of_release(BAD.to_owned(), 64 << 10);
        let kernel = kernel.map(|kernel| match args.ignore_known_bad_kernel {
            true => kernel.ignoring_known_bugs(),
            false => kernel,
        });
        examine_on(args, kernel)
    }

    fn verdicts(arguments: &[&str]) -> (bool, Vec<(&'static str, Verdict)>) {
        let report = report(arguments);
        let checks = report.findings().iter().map(|check| (check.name, check.verdict));
        (report.is_healthy(), checks.collect())
    }

    /// Checks that would use taskstats are skipped, because they could panic the machine.
    #[test]
    fn a_known_bad_kernel_is_named_and_not_queried() {
        let (healthy, verdicts) = verdicts(&[]);
        assert!(!healthy);
        for expected in [
            ("known-bad kernels", Verdict::Bad),
            ("kernel", Verdict::Warning),
            ("taskstats", Verdict::Warning),
            ("self-test", Verdict::Warning),
        ] {
            assert!(verdicts.contains(&expected), "{expected:?} not in {verdicts:?}");
        }
    }

    #[test]
    fn a_known_bad_kernel_is_examined_on_request() {
        let (healthy, verdicts) = verdicts(&["--ignore-known-bad-kernel"]);
        assert!(healthy, "{verdicts:?}");
        for expected in [
            ("known-bad kernels", Verdict::Warning),
            ("taskstats", Verdict::Good),
            ("self-test", Verdict::Good),
        ] {
            assert!(verdicts.contains(&expected), "{expected:?} not in {verdicts:?}");
        }
    }

    /// The flags and variables of the agent are examined.
    #[test]
    fn settings_that_the_agent_cannot_start_with_are_bad() {
        // Without --client-ca and --allow, every client would be accepted.
        const TLS: [&str; 4] = ["--tls-cert", "/x", "--tls-key", "/x"];
        for arguments in [
            &["--listen", "tcp://127.0.0.1:0"][..],
            &["--always-watch", "bogus"],
            &["--always-watch", "9999"],
            &["--log", "loud"],
            &["--log", "taskstatsd=loud"],
            &TLS,
        ] {
            let (_, verdicts) = verdicts(arguments);
            assert!(verdicts.contains(&("settings", Verdict::Bad)), "{arguments:?}: {verdicts:?}");
        }
        let settings = ["--always-watch", "0", "--log", "taskstatsd=debug,warn"];
        let (_, verdicts) = verdicts(&settings);
        assert!(!verdicts.contains(&("settings", Verdict::Bad)), "{verdicts:?}");
    }

    /// A service manager may create the directory or the socket, so it is only a warning.
    #[test]
    fn a_missing_socket_directory_is_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let there = format!("unix://{}/socket", directory.path().display());
        let missing = format!("unix://{}/missing/socket", directory.path().display());
        for (address, verdict) in [(there, Verdict::Good), (missing, Verdict::Warning)] {
            let (_, verdicts) = verdicts(&["--listen", &address]);
            assert!(verdicts.contains(&("settings", verdict)), "{address}: {verdicts:?}");
        }
    }

    /// The flags do not show which sockets a service manager passes, so it is only a warning.
    #[test]
    fn listeners_of_a_service_manager_are_possible() {
        const MUTUAL: [&str; 6] = ["--tls-cert", "/x", "--tls-key", "/x", "--client-ca", "/x"];
        const NAMES: [&str; 2] = ["--allow", "collector.example=query"];
        for arguments in [&MUTUAL[..], &NAMES, &[&MUTUAL[..], &NAMES].concat()] {
            let report = report(arguments);
            let settings = report.findings().iter().find(|check| check.name == "settings").unwrap();
            assert_eq!(settings.verdict, Verdict::Warning, "{settings:?}");
            assert!(settings.finding.starts_with("unless a service manager"), "{settings:?}");
        }
    }

    #[cfg(feature = "sim")]
    #[test]
    fn the_doctor_examines_no_simulated_machine() {
        let check = |arguments: &[&str]| DoctorArgs::check(&Args::parse_from(arguments));
        assert!(check(&["taskstatsd"]).is_ok());
        let refused = check(&["taskstatsd", "--kernel", "sim:cpus=2"]).unwrap_err().to_string();
        assert!(refused.contains("--kernel sim"), "{refused}");
    }
}
