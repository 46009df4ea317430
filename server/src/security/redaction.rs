//! Fields that are removed for principals without role `details`.

use std::str::FromStr;

/// A group of fields that can be redacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The command name.
    Comm,
    /// The user id and the group id.
    Uid,
    /// Device and inode of the executable.
    Executable,
    /// The bytes that were read and written.
    Io,
}

/// The text is no such group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be redacted; use comm, uid (which is gid too), executable or io")]
pub(crate) struct FieldError(String);

/// The groups of fields that are redacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redaction(u8);

impl Redaction {
    /// Returns whether nothing is redacted.
    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether this group is redacted.
    #[must_use]
    pub(crate) const fn strips(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }
}

impl Field {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromIterator<Field> for Redaction {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        Self(fields.into_iter().fold(0, |bits, field| bits | field.bit()))
    }
}

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        match text {
            "comm" => Ok(Self::Comm),
            "uid" => Ok(Self::Uid),
            "executable" => Ok(Self::Executable),
            "io" => Ok(Self::Io),
            _ => Err(FieldError(text.to_owned())),
        }
    }
}
