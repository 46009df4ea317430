//! The user that the agent becomes.

use std::fs;
use std::path::Path;
use std::str::FromStr;

/// The database of users. Others would need plug-ins of the C library, which an image from scratch does not
/// have, and which a process with privileges should not load.
const PASSWD: &str = "/etc/passwd";
/// The user of the package, as `deploy/systemd/taskstatsd.sysusers` makes it.
const PACKAGE_USER: &str = "taskstatsd";
/// The user of an agent without a package, such as that of the image. No distribution and no service
/// manager gives this number to a user: it is below those of systemd's dynamic users, and above those of
/// people (systemd, "Users, Groups, UIDs and GIDs").
const OWN: User = User { uid: 61_000, gid: 61_000 };
/// The kernel's user without privileges (`/proc/sys/fs/overflowuid`), which many programs share.
const NOBODY: u32 = 65_534;

/// A user as an operator specifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSpec {
    /// By name, with that user's own group.
    Name(String),
    /// By number; the group is the user's own, or else has the same number.
    Ids {
        /// User id.
        uid: u32,
        /// Group id, if it was given.
        gid: Option<u32>,
    },
}

/// A user, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
}

/// An error in the specification of a user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UserError {
    /// The text has none of the forms.
    #[error("`{0}` is no user; use a name, UID, or UID:GID")]
    Malformed(String),
    /// No user has this name.
    #[error("there is no user `{0}` in /etc/passwd; make it, or use UID:GID")]
    Unknown(String),
}

impl FromStr for UserSpec {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        let malformed = || UserError::Malformed(text.to_owned());
        // For the kernel, the largest number means no change (setresuid(2)).
        let id = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX).ok_or_else(malformed);
        match text.split_once(':') {
            Some((uid, gid)) => Ok(Self::Ids { uid: id(uid)?, gid: Some(id(gid)?) }),
            None if text.starts_with(|first: char| first.is_ascii_digit()) => {
                Ok(Self::Ids { uid: id(text)?, gid: None })
            }
            None if text.is_empty() => Err(malformed()),
            None => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl User {
    /// Returns whether other programs usually run as this user, too.
    #[must_use]
    pub(super) const fn is_shared(self) -> bool {
        self.uid == NOBODY
    }

    /// Returns the user of this process.
    #[must_use]
    pub(crate) fn current() -> Self {
        Self { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    /// Finds a user: by default that of the package, or else [`OWN`].
    ///
    /// # Errors
    /// When a name is unknown.
    pub(crate) fn find(wanted: Option<&UserSpec>) -> Result<Self, UserError> {
        Self::find_in(wanted, &Passwd::read(Path::new(PASSWD)))
    }

    fn find_in(wanted: Option<&UserSpec>, users: &Passwd) -> Result<Self, UserError> {
        match wanted {
            None => Ok(users.named(PACKAGE_USER).unwrap_or(OWN)),
            Some(UserSpec::Name(name)) => {
                users.named(name).ok_or_else(|| UserError::Unknown(name.clone()))
            }
            Some(UserSpec::Ids { uid, gid }) => {
                let own = || users.group_of(*uid).unwrap_or(*uid);
                Ok(Self { uid: *uid, gid: gid.unwrap_or_else(own) })
            }
        }
    }
}

/// The lines of `passwd(5)`; none if the file does not exist.
struct Passwd(String);

impl Passwd {
    fn read(path: &Path) -> Self {
        Self(fs::read_to_string(path).unwrap_or_default())
    }

    fn named(&self, name: &str) -> Option<User> {
        self.users().find(|(other, _)| *other == name).map(|(_, user)| user)
    }

    fn group_of(&self, uid: u32) -> Option<u32> {
        self.users().find(|(_, user)| user.uid == uid).map(|(_, user)| user.gid)
    }

    /// Returns the name and the ids of each well-formed line: name, password, uid, gid, …
    fn users(&self) -> impl Iterator<Item = (&str, User)> {
        self.0.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some((name, User { uid, gid }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\
                         broken line\n\
                         alone:x:7:8::/:/bin/false\n";
    const PACKAGE: &str = "taskstatsd:!:990:989::/run/taskstatsd:/usr/sbin/nologin\n";

    fn find(wanted: Option<&str>, users: &str) -> Result<User, UserError> {
        let wanted = wanted.map(str::parse).transpose()?;
        User::find_in(wanted.as_ref(), &Passwd(users.to_owned()))
    }

    #[test]
    fn users_are_given_by_name_or_number() {
        assert_eq!(find(Some("alone"), USERS), Ok(User { uid: 7, gid: 8 }));
        assert_eq!(find(Some("7"), USERS), Ok(User { uid: 7, gid: 8 }));
        assert_eq!(find(Some("9"), USERS), Ok(User { uid: 9, gid: 9 }));
        assert_eq!(find(Some("7:1"), USERS), Ok(User { uid: 7, gid: 1 }));
        assert_eq!(find(Some("root"), USERS), Ok(User { uid: 0, gid: 0 }));
    }

    #[test]
    fn the_default_is_the_package_s_user_or_a_user_of_its_own() {
        assert_eq!(find(None, USERS), Ok(OWN));
        assert_eq!(find(None, ""), Ok(OWN));
        assert_eq!(find(None, &format!("{USERS}{PACKAGE}")), Ok(User { uid: 990, gid: 989 }));
    }

    #[test]
    fn a_malformed_user_is_refused() {
        assert_eq!(find(Some("ghost"), USERS), Err(UserError::Unknown("ghost".to_owned())));
        for text in ["", "1x", "1:", ":1", "alone:8", "4294967295", "1:4294967295", "-1:2"] {
            let error = find(Some(text), USERS).unwrap_err();
            assert_eq!(error, UserError::Malformed(text.to_owned()), "{text}");
        }
    }
}
