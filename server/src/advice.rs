//! One table of advice: for each [`Cause`] of a failure, what to change on plain Linux, in a systemd
//! unit, and in a Kubernetes pod.
//!
//! The log, `Status`, `GetNode` and the doctor all use this table, so the texts of errors contain no
//! advice about the agent's surroundings: see [`Advised`].

mod table;

use std::fmt;
use std::io::ErrorKind;
use std::sync::OnceLock;

use serde::Serialize;

use self::table::TABLE;
use crate::taskstats::{KernelError, Namespace};

/// A cause of failures outside of the agent, which its operator can remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// `CAP_NET_ADMIN` is missing.
    Capability,
    /// The agent runs in a child user namespace.
    UserNamespace,
    /// The agent runs in a child pid namespace.
    PidNamespace,
    /// The agent runs in a child network namespace.
    NetworkNamespace,
    /// The kernel has no taskstats, or does not show it to this network namespace.
    NoTaskstats,
    /// The kernel can panic on taskstats.
    KnownBadKernel,
    /// procfs or sysfs are not mounted as usual.
    PseudoFilesystems,
    /// procfs hides the processes of other users.
    HiddenProcesses,
    /// No thread could be started, or none ran on a CPU.
    NoThread,
    /// File descriptors are used up.
    Descriptors,
    /// The kernel refused a call for a reason that only its error names.
    Unknown,
    /// A flag or a variable cannot be used.
    Settings,
    /// The directory of a socket is missing or not writable.
    SocketDirectory,
    /// The sandbox is turned off.
    NoSandbox,
    /// The agent's user cannot read a key or a certificate.
    UnreadableKeys,
    /// Every user of the node can read the key.
    ExposedKey,
    /// Certificates are given, and no listener uses them.
    TlsWithoutListener,
    /// A directory of certificates has other directories in it.
    WideDirectory,
    /// The agent is to run as root.
    RootWanted,
    /// The agent stays root by number.
    StillRoot,
    /// The kernel has no landlock, or an old one.
    Landlock,
    /// A certificate cannot be used, or not for long.
    Certificates,
    /// inotify instances or watches are used up.
    Inotify,
    /// Delay accounting is off.
    DelayAccounting,
    /// The kernel grants smaller receive buffers than configured.
    ReceiveBuffer,
    /// No hierarchy of cgroups is mounted.
    CgroupMount,
    /// `CAP_BPF` or `CAP_PERFMON` is missing.
    FilterCapability,
    /// The kernel cannot run the filter that attributes exits.
    FilterKernel,
}

/// The advice, in a sentence for each way to run the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// For an agent that a shell, a script or a container runtime started.
    pub(crate) linux: &'static str,
    /// For an agent that systemd started.
    pub(crate) systemd: &'static str,
    /// For an agent in a pod.
    pub(crate) kubernetes: &'static str,
}

/// The program that started the agent, which decides which sentence of an [`Advice`] applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Environment {
    Linux,
    Systemd,
    Kubernetes,
}

/// An error whose cause may be in the table.
pub(crate) trait HasCause: fmt::Display {
    /// Returns what an operator can remove, if anything.
    fn cause(&self) -> Option<Cause>;

    /// Displays the error together with the advice for this environment.
    fn advised(&self) -> Advised<'_, Self> {
        Advised(self)
    }
}

/// Displays an error, and after a semicolon the advice for the environment of this process.
#[derive(Debug)]
pub(crate) struct Advised<'a, E: ?Sized>(&'a E);

impl<E: HasCause + ?Sized> fmt::Display for Advised<'_, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.cause() {
            Some(cause) => write!(formatter, "{}; {}", self.0, cause.advice_here()),
            None => self.0.fmt(formatter),
        }
    }
}

impl Environment {
    /// Returns the environment of this process. The variables are read once, because the agent
    /// removes those of its service manager later.
    fn current() -> Self {
        static CURRENT: OnceLock<Environment> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::of(|name| std::env::var(name).ok(), std::process::id()))
    }

    /// systemd passes `SYSTEMD_EXEC_PID` since version 248. Children inherit the variable, so the
    /// number counts only if it is this process's own.
    fn of(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Self {
        if variable("KUBERNETES_SERVICE_HOST").is_some() {
            return Self::Kubernetes;
        }
        let is_of_unit = match variable("SYSTEMD_EXEC_PID") {
            Some(started) => started == pid.to_string(),
            None => variable("NOTIFY_SOCKET").is_some(),
        };
        if is_of_unit { Self::Systemd } else { Self::Linux }
    }
}

impl HasCause for KernelError {
    fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::NotPermitted { .. } => Cause::Capability,
            Self::NoFamily => Cause::NoTaskstats,
            Self::WrongNamespace { namespace } => (*namespace).into(),
            Self::KnownBadKernel { .. } => Cause::KnownBadKernel,
            Self::NoExitsArrive { .. } => Cause::NetworkNamespace,
            Self::NotTested { .. } => Cause::NoThread,
            Self::HiddenThreads(_) => Cause::HiddenProcesses,
            Self::System { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => Cause::Descriptors,
                _ if source.kind() == ErrorKind::NotFound => Cause::PseudoFilesystems,
                _ => return None,
            },
            Self::NoSuchTask(_) | Self::BadReply { .. } => return None,
        })
    }
}

impl From<Namespace> for Cause {
    /// Returns the cause that the agent is not in the initial namespace of this kind.
    fn from(namespace: Namespace) -> Self {
        match namespace {
            Namespace::User => Self::UserNamespace,
            Namespace::Pid => Self::PidNamespace,
            Namespace::Network => Self::NetworkNamespace,
        }
    }
}

impl Cause {
    /// Returns the sentence for the environment of this process.
    #[must_use]
    pub(crate) fn advice_here(self) -> &'static str {
        self.advice_in(Environment::current())
    }

    fn advice_in(self, environment: Environment) -> &'static str {
        let Advice { linux, systemd, kubernetes } = self.advice();
        match environment {
            Environment::Linux => linux,
            Environment::Systemd => systemd,
            Environment::Kubernetes => kubernetes,
        }
    }

    /// Returns the sentences for all environments.
    #[must_use]
    pub(crate) const fn advice(self) -> Advice {
        TABLE[self as usize].1
    }
}

const CAUSES: usize = Cause::FilterKernel as usize + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_row() {
        for (number, (cause, _)) in TABLE.iter().enumerate() {
            assert_eq!(*cause as usize, number, "{cause:?}");
        }
    }

    /// A sentence follows a semicolon, so it has the form of an error's text.
    #[test]
    fn each_sentence_can_follow_an_error() {
        for (cause, Advice { linux, systemd, kubernetes }) in TABLE {
            for sentence in [linux, systemd, kubernetes] {
                let begins_low = sentence.starts_with(|first: char| first.is_ascii_lowercase());
                assert!(begins_low && !sentence.ends_with('.'), "{cause:?}: {sentence}");
            }
        }
    }

    #[test]
    fn the_environment_is_known_by_its_variables() {
        let of = |variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
            Environment::of(|name| value(name).map(|(_, value)| (*value).to_owned()), 7)
        };
        assert_eq!(of(&[]), Environment::Linux);
        assert_eq!(of(&[("SYSTEMD_EXEC_PID", "7")]), Environment::Systemd);
        // A shell in a unit passes its own variables on.
        let inherited = [("SYSTEMD_EXEC_PID", "6"), ("NOTIFY_SOCKET", "/run/x")];
        assert_eq!(of(&inherited), Environment::Linux);
        assert_eq!(of(&[("NOTIFY_SOCKET", "/run/x")]), Environment::Systemd);
        let pod = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("NOTIFY_SOCKET", "/run/x")];
        assert_eq!(of(&pod), Environment::Kubernetes);
    }

    #[test]
    fn an_error_is_displayed_with_the_advice_for_one_environment() {
        let error = KernelError::NotPermitted { operation: "sendto" };
        let Advice { linux, systemd, kubernetes } = Cause::Capability.advice();
        let text = error.advised().to_string();
        let found = [linux, systemd, kubernetes].iter().filter(|&&it| text.ends_with(it)).count();
        assert_eq!(found, 1, "{text}");
        assert!(!error.to_string().contains("; "), "{error}");
        let without = KernelError::BadReply { operation: "recv" };
        assert_eq!(without.advised().to_string(), without.to_string());
    }
}
