//! What one check found.

use serde::Serialize;

use crate::advice::{Advice, Cause, HasCause};
use crate::taskstats::KernelError;

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, in a few words that stay the same.
    pub name: &'static str,
    /// Whether it is right.
    pub verdict: Verdict,
    /// What was seen: one sentence.
    pub finding: String,
    /// What to do about it, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Advice>,
}

/// Whether something is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Good,
    /// The agent works, but not as well as it could; or it cannot be told whether it does.
    Warning,
    /// The agent cannot do its work so.
    Bad,
}

impl Verdict {
    /// The sign that stands for it in a table.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Warning => '!',
            Self::Bad => '✗',
        }
    }
}

impl Finding {
    /// Something is right.
    pub(super) fn good(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, finding: finding.into(), fix: None }
    }

    /// Something could be better.
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

    /// Something is wrong.
    pub(super) fn bad(name: &'static str, finding: impl Into<String>, cause: Cause) -> Self {
        Self { name, verdict: Verdict::Bad, finding: finding.into(), fix: Some(cause.advice()) }
    }

    /// The kernel was asked and refused.
    pub(super) fn refused(name: &'static str, error: &KernelError) -> Self {
        Self::bad(name, error.to_string(), error.cause().unwrap_or(Cause::Unknown))
    }

    /// Another check says why this one could not be made.
    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self::warning(name, why, None)
    }
}
