//! Who may do what.

use std::str::FromStr;

use super::{Pattern, PatternError, PolicyWarning, Principal, Role, RoleError, Roles, Transport};

/// Separates a principal from its roles. The last one counts: URIs may have others.
const SEPARATOR: char = '=';

/// What is wrong with rules that let in nobody who can connect, and what to do.
pub const NO_MATCHING_CLIENT: &str = "no rule of --allow is about anybody who can connect, so every call is refused: uid: and gid: come by unix:// listeners, names of certificates by tcp:// with --client-ca, anonymous by tcp:// without; add a rule or a listener";

/// One principal, or several that are named alike, and what they may do: `PRINCIPAL=role,role`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    principal: Pattern,
    roles: Roles,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A part is missing.
    #[error("`{0}` is no rule; write PRINCIPAL=role,role, such as uid:1000=query,watch")]
    Form(String),
    /// It names no principal.
    #[error(transparent)]
    Principal(#[from] PatternError),
    /// It names no role.
    #[error(transparent)]
    Role(#[from] RoleError),
}

/// Rules that together say who may do what; without any, everybody may do all but see the details.
///
/// ```
/// use taskstatsd::security::{Policy, Principal, Role};
///
/// let policy = Policy::new(vec!["uid:7=query".parse()?, "gid:8=watch".parse()?]);
/// let roles = policy.roles(&Principal::Local { uid: 7, gid: 8 });
/// assert!(roles.has(Role::Query) && roles.has(Role::Watch) && !roles.has(Role::Node));
/// # Ok::<(), taskstatsd::security::RuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Allows what the rules say, and nothing else; everything, if there are none.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Whether there are no rules, so that everybody may do everything.
    #[must_use]
    pub const fn allows_everything(&self) -> bool {
        self.rules.is_empty()
    }

    /// What may not be meant so, where callers come by these transports.
    #[must_use]
    pub fn warnings(&self, transports: &[Transport]) -> Vec<PolicyWarning> {
        if self.allows_everything() {
            return Vec::new();
        }
        let rules = self.rules.iter().map(|rule| (&rule.principal, rule.gives(Role::Node)));
        PolicyWarning::of(&rules.collect::<Vec<_>>(), transports)
    }

    /// What a principal may do: the roles of all rules that are about it.
    #[must_use]
    pub fn roles(&self, principal: &Principal) -> Roles {
        if self.rules.is_empty() {
            return Roles::DEFAULT;
        }
        let about = self.rules.iter().filter(|rule| rule.principal.matches(principal));
        about.fold(Roles::default(), |roles, rule| roles.union(rule.roles))
    }
}

impl Rule {
    /// Whether principals get this role by it.
    #[must_use]
    pub const fn gives(&self, role: Role) -> bool {
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
    fn without_a_rule_everybody_may_do_all_but_see_the_details() {
        assert_eq!(allowed(&Policy::default(), 7), [Role::Query, Role::Watch, Role::Node]);
    }

    #[test]
    fn with_a_rule_nobody_else_may_do_anything() {
        let rules = ["uid:7=query,details", "uid:7=node", "gid:9=watch"];
        let rules = rules.map(|rule| rule.parse().unwrap());
        let policy = Policy::new(rules.to_vec());
        assert_eq!(allowed(&policy, 7), [Role::Query, Role::Node, Role::Details]);
        assert_eq!(allowed(&policy, 8), []);
    }

    #[test]
    fn the_last_separator_counts() {
        assert!("spiffe://td/a=b=watch".parse::<Rule>().unwrap().gives(Role::Watch));
    }

    #[test]
    fn what_is_no_rule_says_what_it_lacks() {
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
