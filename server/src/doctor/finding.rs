//! The result of one check.

use serde::Serialize;

use crate::advice::{Advice, Cause, HasCause};
use crate::taskstats::KernelError;

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// The subject, in a few words that do not change.
    pub(crate) name: &'static str,
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The observation, in one sentence.
    pub(crate) finding: String,
    /// The advice, if there is something to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<Advice>,
}

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The subject is right.
    Good,
    /// The agent works, but not as well as it could, or the subject could not be examined.
    Warning,
    /// The agent does not work.
    Bad,
}

impl Verdict {
    /// Returns the sign in a table.
    #[must_use]
    pub(crate) fn sign(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Warning => '!',
            Self::Bad => '✗',
        }
    }
}

impl Finding {
    /// Creates a finding that a subject is right.
    pub(super) fn good(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, finding: finding.into(), fix: None }
    }

    /// Creates a finding that a subject could be better.
    pub(super) fn warning(
        name: &'static str,
        finding: impl Into<String>,
        cause: Option<Cause>,
    ) -> Self {
        Self {
            name,
            verdict: Verdict::Warning,
            finding: finding.into(),
            fix: cause.map(Cause::advice),
        }
    }

    /// Creates a finding that a subject is wrong.
    pub(super) fn bad(name: &'static str, finding: impl Into<String>, cause: Cause) -> Self {
        Self { name, verdict: Verdict::Bad, finding: finding.into(), fix: Some(cause.advice()) }
    }

    /// Creates a finding from an error of the kernel.
    pub(super) fn refused(name: &'static str, error: &KernelError) -> Self {
        Self::bad(name, error.to_string(), error.cause().unwrap_or(Cause::Unknown))
    }

    /// Creates a finding that a check was not possible; another check says why.
    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self::warning(name, why, None)
    }
}
