//! Who may do what, and see what.

use super::ConfigError;
use crate::security::{Field, Policy, Redaction, Role, Rule};

/// Who may do what, and see what.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text, which is no Markdown")]
pub struct PolicyArgs {
    /// Allow a caller something, and everybody else nothing that is not allowed too; may be given more
    /// than once, in the variable separated by semicolons. PRINCIPAL is uid:N or gid:N (its
    /// primary group) of a process on this node, a DNS name or URI of a client certificate (*.example.org for one label more,
    /// spiffe://example.org/ns/* for all paths below), or anonymous. ROLE is query (live tasks), watch
    /// (exits), node (GetNode, health, reflection) or details (what --redact strips). Without it,
    /// whoever can connect has query, watch and node.
    #[arg(
        long,
        value_name = "PRINCIPAL=ROLE,...",
        env = "TASKSTATSD_ALLOW",
        value_delimiter = ';'
    )]
    pub allow: Vec<Rule>,

    /// Strip fields for callers without role details: comm, uid (and gid with it), executable, io.
    #[arg(long, value_name = "FIELD,...", env = "TASKSTATSD_REDACT", value_delimiter = ',')]
    pub redact: Vec<Field>,
}

impl PolicyArgs {
    /// Who may do what.
    pub(super) fn policy(&self) -> Policy {
        Policy::new(self.allow.clone())
    }

    /// What is stripped.
    pub(super) fn redaction(&self) -> Redaction {
        self.redact.iter().copied().collect()
    }

    /// Refuses details where there are none to see.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let gives_details = self.allow.iter().any(|rule| rule.gives(Role::Details));
        if gives_details && self.redact.is_empty() {
            return Err(ConfigError::NothingRedacted);
        }
        Ok(())
    }
}
