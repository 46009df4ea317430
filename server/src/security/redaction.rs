//! What is kept from principals without role `details`.

use std::str::FromStr;

/// A part of an account that can be stripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The command name.
    Comm,
    /// The user and the group.
    Uid,
    /// Device and inode of the executable.
    Executable,
    /// Input and output.
    Io,
}

/// A text that is no such part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be redacted; use comm, uid (which is gid too), executable or io")]
pub struct FieldError(String);

/// The parts that are stripped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redaction(u8);

impl Redaction {
    /// Whether nothing is stripped.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this part is stripped.
    #[must_use]
    pub const fn strips(self, field: Field) -> bool {
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
