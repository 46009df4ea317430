//! Kernels that panic on taskstats queries.

/// A kernel that must not be queried.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownBad {
    /// The start of its release.
    prefix: &'static str,
    /// Another part of its release, which identifies the distribution.
    distribution: &'static str,
    /// The distribution.
    pub(crate) name: &'static str,
    /// The report.
    pub(crate) source: &'static str,
}

/// Kernels that were reported to panic when they copy a task's name into `struct taskstats`
/// (`bacct_add_tsk` in `kernel/tsacct.c`): a fortified `strnlen` reads past the name. Every query
/// does so, and with a registered listener every exit. The table lists reported releases only.
pub(crate) const KNOWN_BAD_KERNELS: &[KnownBad] = &[
    KnownBad {
        prefix: "6.12.79-",
        distribution: ".amzn2023.",
        name: "Amazon Linux 2023",
        source: "https://github.com/coroot/coroot-node-agent/issues/376",
    },
    KnownBad {
        prefix: "6.12.0-55.9.1.",
        distribution: ".el10",
        name: "Red Hat Enterprise Linux 10",
        source: "https://github.com/coroot/coroot-node-agent/issues/259",
    },
];

impl KnownBad {
    /// Returns the known bug of a kernel, by its release as `uname -r` prints it.
    #[must_use]
    pub(crate) fn of(release: &str) -> Option<&'static Self> {
        KNOWN_BAD_KERNELS.iter().find(|bad| bad.is(release))
    }

    fn is(&self, release: &str) -> bool {
        let rest = release.strip_prefix(self.prefix).map(|rest| format!(".{rest}"));
        rest.is_some_and(|rest| rest.contains(self.distribution))
    }
}

#[cfg(test)]
mod tests {
    use super::KnownBad;

    #[test]
    fn the_kernels_of_the_reports_are_known() {
        for (release, name) in [
            ("6.12.79-101.147.amzn2023.x86_64", "Amazon Linux 2023"),
            ("6.12.79-101.147.amzn2023.aarch64", "Amazon Linux 2023"),
            ("6.12.0-55.9.1.el10_0.x86_64", "Red Hat Enterprise Linux 10"),
        ] {
            assert_eq!(KnownBad::of(release).map(|bad| bad.name), Some(name), "{release}");
        }
    }

    #[test]
    fn their_neighbours_are_not() {
        for release in [
            "6.12.80-101.147.amzn2023.x86_64",
            "6.12.79-1-lts",
            "6.12.0-55.9.1.fc40.x86_64",
            "6.12.0-55.91.1.el10_0.x86_64",
            "6.12.0-55.11.1.el10_0.x86_64",
            "16.12.79-1.amzn2023.x86_64",
            "6.18.44",
            "",
        ] {
            assert_eq!(KnownBad::of(release), None, "{release}");
        }
    }
}
