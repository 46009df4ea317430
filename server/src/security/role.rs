//! What a principal may do.

use std::fmt;
use std::str::FromStr;

/// A part of the service that is allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To ask for live tasks: `GetPid`, `GetTgid`, `BatchGet`.
    Query,
    /// To watch exits: `WatchExits`.
    Watch,
    /// To ask for the node and the agent: `GetNode`, health, reflection.
    Node,
    /// To see what `--redact` strips for everybody else.
    Details,
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

/// A text that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; use query, watch, node or details")]
pub struct RoleError(String);

impl Role {
    /// All of them.
    const ALL: [Self; 4] = [Self::Query, Self::Watch, Self::Node, Self::Details];

    /// Its name, as in `--allow`.
    #[must_use]
    pub const fn name(self) -> &'static str {
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
    /// What everybody has where nothing is said of who may do what. Not the details: whoever asks for
    /// redaction means it for those who were not allowed more.
    pub const DEFAULT: Self = Self(Role::Query.bit() | Role::Watch.bit() | Role::Node.bit());

    /// Whether the role is among them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Those of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
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

    /// Each role has a name of its own, a bit of its own, and is read back from its name.
    #[test]
    fn every_role_is_its_own() {
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
