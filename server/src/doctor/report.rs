//! The report of all findings, as a table or as JSON.

use serde::Serialize;

use super::{Finding, Verdict};

/// The width of the longest name, and a gap.
const NAME_WIDTH: usize = 20;
/// The width of `Kubernetes:`, and a gap.
const ENVIRONMENT_WIDTH: usize = 12;

/// The findings of all checks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    agent_version: &'static str,
    healthy: bool,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(checks: Vec<Finding>) -> Self {
        let healthy = checks.iter().all(|check| check.verdict != Verdict::Bad);
        Self { agent_version: env!("CARGO_PKG_VERSION"), healthy, checks }
    }

    /// Returns whether nothing is wrong.
    #[must_use]
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Returns the findings, in the order of the checks.
    #[cfg(test)]
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.checks
    }

    /// Formats a table, with a sign at the beginning of each line.
    #[must_use]
    pub(crate) fn table(&self) -> String {
        self.checks.iter().map(row).collect()
    }

    /// Formats one JSON document.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        // Strings and enums alone, which can always be serialized.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

fn row(check: &Finding) -> String {
    let Finding { name, verdict, finding, fix } = check;
    let mut text = format!("{} {name:<NAME_WIDTH$}{finding}\n", verdict.sign());
    if let Some(fix) = fix {
        for (environment, sentence) in
            [("Linux:", fix.linux), ("systemd:", fix.systemd), ("Kubernetes:", fix.kubernetes)]
        {
            text.push_str(&format!("    {environment:<ENVIRONMENT_WIDTH$}{sentence}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::Cause;

    #[test]
    fn only_a_bad_finding_makes_a_report_unhealthy() {
        let good = Finding::good("a", "b");
        let warning = Finding::warning("c", "d", None);
        assert!(Report::new(vec![good.clone(), warning.clone()]).is_healthy());
        let bad = Finding::bad("e", "f", Cause::Capability);
        assert!(!Report::new(vec![good, bad, warning]).is_healthy());
    }

    #[test]
    fn a_table_has_signs_names_and_advice() {
        let bad = Finding::bad("thing", "it is broken", Cause::PidNamespace);
        let table = Report::new(vec![Finding::good("other", "fine"), bad]).table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "✓ other               fine");
        assert_eq!(lines[1], "✗ thing               it is broken");
        assert!(lines[4].starts_with("    Kubernetes: put hostPID: true"), "{table}");
    }

    #[test]
    fn json_has_stable_names() {
        let checks = vec![Finding::good("a", "b"), Finding::bad("c", "d", Cause::Capability)];
        let json: serde_json::Value = serde_json::from_str(&Report::new(checks).json()).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(json["agent_version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["checks"][0]["verdict"], "good");
        assert_eq!(json["checks"][0].get("fix"), None);
        assert_eq!(json["checks"][1]["name"], "c");
        assert_eq!(json["checks"][1]["fix"]["kubernetes"], Cause::Capability.advice().kubernetes);
    }
}
