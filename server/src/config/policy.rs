//! The flags of access control.

use super::ConfigError;
use crate::security::{Field, Policy, Redaction, Role, Rule};

/// The flags of access control.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text, which is not Markdown")]
pub(crate) struct PolicyArgs {
    /// Grant roles to a principal; can be repeated (in the variable, separated by semicolons). Without
    /// it, every client that can connect has query, watch and node
    ///
    /// PRINCIPAL is one of: uid:N or gid:N, the user or primary group of a process on this node; a DNS name or URI
    /// of a client certificate, where *.example.org matches one more label and spiffe://example.org/ns/*
    /// all paths below; anonymous, any client on TCP without a certificate.
    ///
    /// ROLE is one of: query (GetPid, GetTgid, BatchGet), watch (WatchExits), node (GetNode, health,
    /// reflection), details (see the fields that --redact strips).
    #[arg(
        long,
        value_name = "PRINCIPAL=ROLE,...",
        env = "TASKSTATSD_ALLOW",
        value_delimiter = ';'
    )]
    pub(crate) allow: Vec<Rule>,

    /// Strip fields for clients without the role details: comm, uid (with gid), executable, io
    #[arg(long, value_name = "FIELD,...", env = "TASKSTATSD_REDACT", value_delimiter = ',')]
    pub(crate) redact: Vec<Field>,
}

impl PolicyArgs {
    /// Returns the rules.
    pub(super) fn policy(&self) -> Policy {
        Policy::new(self.allow.clone())
    }

    /// Returns the fields to strip.
    pub(super) fn redaction(&self) -> Redaction {
        self.redact.iter().copied().collect()
    }

    /// Rejects the role details where no field is stripped.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let gives_details = self.allow.iter().any(|rule| rule.gives(Role::Details));
        if gives_details && self.redact.is_empty() {
            return Err(ConfigError::NothingRedacted);
        }
        Ok(())
    }
}
