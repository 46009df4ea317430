//! Roles of principals.

use std::fmt;
use std::str::FromStr;

/// A part of the service that rules allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Queries of live tasks: `GetPid`, `GetTgid`, `BatchGet`.
    Query,
    /// Exit streams: `WatchExits`.
    Watch,
    /// The node and the agent: `GetNode`, health, reflection.
    Node,
    /// The fields that `--redact` removes for other callers.
    Details,
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles(u8);

/// The text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; use query, watch, node or details")]
pub(crate) struct RoleError(String);

impl Role {
    /// All roles.
    const ALL: [Self; 4] = [Self::Query, Self::Watch, Self::Node, Self::Details];

    /// Returns the name in `--allow`.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Watch => "watch",
            Self::Node => "node",
            Self::Details => "details",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Roles {
    /// The roles of each caller where there are no rules. `details` is not one of them, because
    /// `--redact` is meant for callers without a rule.
    pub(crate) const DEFAULT: Self = Self(Role::Query.bit() | Role::Watch.bit() | Role::Node.bit());

    /// Returns whether the set has the role.
    #[must_use]
    pub(crate) const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Returns whether the set has no role.
    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the roles of both sets.
    #[must_use]
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| RoleError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each role has a distinct name and bit, and is parsed from its name.
    #[test]
    fn roles_are_distinct() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            let alone: Roles = [role].into_iter().collect();
            for other in Role::ALL {
                assert_eq!(alone.has(other), other == role, "{role} and {other}");
            }
        }
        assert_eq!("root".parse::<Role>(), Err(RoleError("root".to_owned())));
    }
}
