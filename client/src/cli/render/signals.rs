//! Names of signals.

use std::borrow::Cow;

/// Linux's standard signals from 1, as signal(7) numbers them on x86 and ARM.
const STANDARD: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The first real-time signal as the C library counts: it keeps 32 and 33 for itself.
const REAL_TIME_MIN: u32 = 34;
const REAL_TIME_MAX: u32 = 64;

/// Returns the name of a signal: `SIGKILL`, `SIGRTMIN+2`, `signal 99`.
pub(crate) fn name(signal: u32) -> Cow<'static, str> {
    let standard =
        signal.checked_sub(1).and_then(|at| STANDARD.get(usize::try_from(at).ok()?).copied());
    match (standard, signal) {
        (Some(name), _) => Cow::Borrowed(name),
        (None, REAL_TIME_MIN) => Cow::Borrowed("SIGRTMIN"),
        (None, REAL_TIME_MIN..=REAL_TIME_MAX) => {
            Cow::Owned(format!("SIGRTMIN+{}", signal - REAL_TIME_MIN))
        }
        (None, _) => Cow::Owned(format!("signal {signal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_the_name_of_its_number() {
        let table = [
            (1, "SIGHUP"),
            (9, "SIGKILL"),
            (11, "SIGSEGV"),
            (15, "SIGTERM"),
            (31, "SIGSYS"),
            (34, "SIGRTMIN"),
            (64, "SIGRTMIN+30"),
            (0, "signal 0"),
            (32, "signal 32"),
            (u32::MAX, "signal 4294967295"),
        ];
        for (signal, expected) in table {
            assert_eq!(name(signal), expected);
        }
    }
}
