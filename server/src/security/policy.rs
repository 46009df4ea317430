//! Rules that give roles to principals.

use std::str::FromStr;

use super::{Pattern, PatternError, PolicyWarning, Principal, Role, RoleError, Roles, Transport};

/// Separates a principal from its roles. URIs may have others before.
const SEPARATOR: char = '=';

/// The warning about rules that match no client that can connect.
pub(crate) const NO_MATCHING_CLIENT: &str = "no rule of --allow matches a client that can connect, so every call is refused: uid: and gid: match clients of unix:// listeners, names of certificates those of tcp:// with --client-ca, anonymous those of tcp:// without; add a rule or a listener";

/// A pattern of principals and their roles: `PRINCIPAL=role,role`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    principal: Pattern,
    roles: Roles,
}

/// An error in the text of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// A part is missing.
    #[error("`{0}` is no rule; write PRINCIPAL=role,role, such as uid:1000=query,watch")]
    Form(String),
    /// The principal is malformed.
    #[error(transparent)]
    Principal(#[from] PatternError),
    /// A role is unknown.
    #[error(transparent)]
    Role(#[from] RoleError),
}

/// The rules of `--allow`. Without any, every caller has all roles but `details`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Creates a policy that allows what the rules allow, or everything if there are none.
    #[must_use]
    pub(crate) const fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Returns whether there are no rules, so that every caller may do everything.
    #[must_use]
    pub(crate) const fn allows_everything(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns warnings about rules, given the transports of the listeners.
    #[must_use]
    pub(crate) fn warnings(&self, transports: &[Transport]) -> Vec<PolicyWarning> {
        if self.allows_everything() {
            return Vec::new();
        }
        let rules = self.rules.iter().map(|rule| (&rule.principal, rule.gives(Role::Node)));
        PolicyWarning::of(&rules.collect::<Vec<_>>(), transports)
    }

    /// Returns the roles of a principal: those of all rules that match it.
    #[must_use]
    pub(crate) fn roles(&self, principal: &Principal) -> Roles {
        if self.rules.is_empty() {
            return Roles::DEFAULT;
        }
        let matching = self.rules.iter().filter(|rule| rule.principal.matches(principal));
        matching.fold(Roles::default(), |roles, rule| roles.union(rule.roles))
    }
}

impl Rule {
    /// Returns whether the rule gives this role.
    #[must_use]
    pub(crate) const fn gives(&self, role: Role) -> bool {
        self.roles.has(role)
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let form = || RuleError::Form(text.to_owned());
        let (principal, roles) = text.rsplit_once(SEPARATOR).ok_or_else(form)?;
        if principal.is_empty() || roles.is_empty() {
            return Err(form());
        }
        let roles = roles.split(',').map(str::parse::<Role>);
        Ok(Self { principal: principal.parse()?, roles: roles.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Query, Role::Watch, Role::Node, Role::Details];

    fn allowed(policy: &Policy, uid: u32) -> Vec<Role> {
        let roles = policy.roles(&Principal::Local { uid, gid: 100 });
        ROLES.into_iter().filter(|role| roles.has(*role)).collect()
    }

    #[test]
    fn without_rules_each_caller_has_all_roles_but_details() {
        assert_eq!(allowed(&Policy::default(), 7), [Role::Query, Role::Watch, Role::Node]);
    }

    #[test]
    fn with_rules_other_callers_have_no_role() {
        let rules = ["uid:7=query,details", "uid:7=node", "gid:9=watch"];
        let rules = rules.map(|rule| rule.parse().unwrap());
        let policy = Policy::new(rules.to_vec());
        assert_eq!(allowed(&policy, 7), [Role::Query, Role::Node, Role::Details]);
        assert_eq!(allowed(&policy, 8), []);
    }

    #[test]
    fn the_last_separator_ends_the_principal() {
        assert!("spiffe://td/a=b=watch".parse::<Rule>().unwrap().gives(Role::Watch));
    }

    #[test]
    fn a_malformed_rule_is_refused_with_what_is_missing() {
        for (text, hint) in [
            ("", "PRINCIPAL=role"),
            ("uid:7", "PRINCIPAL=role"),
            ("uid:7=", "PRINCIPAL=role"),
            ("=query", "PRINCIPAL=role"),
            ("uid:7=admin", "query, watch, node or details"),
            ("uid:7=query,", "query, watch, node or details"),
            ("uid:x=query", "uid:1000"),
            ("*=query", "ambiguous"),
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
