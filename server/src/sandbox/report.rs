//! What is in force, as the kernel says.

use std::fmt;
use std::fs;

use capctl::{Cap, CapSet};

use super::Inaccessible;
use crate::advice::{Cause, HasCause};

/// Where the kernel says what a thread may do; all threads of a confined agent are alike.
const STATUS: &str = "/proc/thread-self/status";
/// `SECCOMP_MODE_FILTER`.
const FILTERED: &str = "2";

/// A measure that should be in force and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingMeasure {
    /// It was turned off.
    NoSandbox,
    /// Root could not be left.
    StillRoot {
        /// The call that was refused.
        operation: &'static str,
    },
    /// A right that nothing uses could not be given up.
    Refused {
        /// The call that was refused.
        operation: &'static str,
    },
    /// A file was read as root, and cannot be read again; or a folder cannot be watched for it.
    Unreadable {
        /// The file or the folder.
        closed: Inaccessible,
    },
    /// The kernel knows some of the rules.
    OldLandlock {
        /// The version that it knows.
        abi: u32,
    },
    /// The kernel has no landlock, or it was not turned on at boot.
    NoLandlock,
    /// There is no list of system calls for this architecture.
    NoSeccomp,
}

/// What a process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Effective capabilities, as `capabilities(7)` names them, in small letters.
    pub capabilities: Vec<String>,
    /// Whether an exec can give no new rights.
    pub no_new_privs: bool,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Version of landlock whose rules are in force; 0 without any.
    pub landlock: u32,
    /// What should be in force and is not.
    pub missing: Vec<MissingMeasure>,
}

impl fmt::Display for MissingMeasure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSandbox => formatter.write_str("--no-sandbox: nothing was given up"),
            Self::StillRoot { operation } => write!(
                formatter,
                "still root by number, though without its rights: {operation} was refused"
            ),
            Self::Refused { operation } => write!(
                formatter,
                "{operation} was refused, by a filter of the service manager or container: \
                 capabilities that an exec would inherit are left"
            ),
            Self::Unreadable { closed: Inaccessible::File(file) } => write!(
                formatter,
                "{} cannot be read without root, so the agent does not use it after it changes",
                file.display()
            ),
            Self::Unreadable { closed: Inaccessible::Directory(folder) } => write!(
                formatter,
                "the directory {} cannot be read without root, so it cannot be watched, and the agent \
                 does not use certificates that change in it",
                folder.display()
            ),
            Self::OldLandlock { abi } => {
                write!(
                    formatter,
                    "this kernel enforces a part of the landlock rules (version {abi})"
                )
            }
            Self::NoLandlock => formatter.write_str(
                "this kernel has no landlock, or it is not in its lsm= list: files and ports are \
                 not restricted",
            ),
            Self::NoSeccomp => {
                formatter.write_str("system calls are not filtered on this architecture")
            }
        }
    }
}

impl HasCause for MissingMeasure {
    fn cause(&self) -> Option<Cause> {
        match self {
            Self::NoSandbox => Some(Cause::NoSandbox),
            Self::StillRoot { .. } => Some(Cause::StillRoot),
            Self::Unreadable { .. } => Some(Cause::UnreadableKeys),
            Self::OldLandlock { .. } | Self::NoLandlock => Some(Cause::Landlock),
            Self::Refused { .. } | Self::NoSeccomp => None,
        }
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |yes: bool, word: &'static str| if yes { word } else { "no" };
        let capabilities = match self.capabilities.len() {
            0 => "none".to_owned(),
            // A name for each would fill the line.
            1..=3 => self.capabilities.join("+"),
            count => format!("{count}"),
        };
        let landlock = match self.landlock {
            0 => "no".to_owned(),
            abi => format!("version {abi}"),
        };
        write!(
            formatter,
            "user {}:{}, capabilities {capabilities}, no_new_privs {}, seccomp {}, landlock {landlock}",
            self.uid,
            self.gid,
            or(self.no_new_privs, "yes"),
            or(self.seccomp, "filter"),
        )
    }
}

/// What the kernel says of the calling thread. Landlock is not told there.
#[must_use]
pub fn applied() -> Applied {
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    parse(&status)
}

fn parse(status: &str) -> Applied {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    };
    // Real, effective, saved and file system's.
    let effective = |name| field(name).split_whitespace().nth(1).and_then(|id| id.parse().ok());
    Applied {
        uid: effective("Uid").unwrap_or(nix::unistd::geteuid().as_raw()),
        gid: effective("Gid").unwrap_or(nix::unistd::getegid().as_raw()),
        capabilities: names(u64::from_str_radix(field("CapEff"), 16).unwrap_or(0)),
        no_new_privs: field("NoNewPrivs") == "1",
        seccomp: field("Seccomp") == FILTERED,
        landlock: 0,
        missing: Vec::new(),
    }
}

fn names(bits: u64) -> Vec<String> {
    let set: CapSet = Cap::iter().filter(|cap| bits >> (*cap as u8) & 1 == 1).collect();
    set.iter().map(|cap| cap.to_string().to_lowercase().replace("cap_", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\ttaskstatsd\nUid:\t0\t65534\t65534\t65534\nGid:\t1\t65533\t2\t3\n\
                          CapEff:\t0000000000001000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
                          Seccomp_filters:\t2\n";

    #[test]
    fn the_kernel_s_words_are_understood() {
        let applied = Applied { landlock: 7, ..parse(STATUS) };
        assert_eq!((applied.uid, applied.gid), (65534, 65533));
        assert_eq!(
            applied.to_string(),
            "user 65534:65533, capabilities net_admin, no_new_privs yes, seccomp filter, \
             landlock version 7"
        );
    }

    #[test]
    fn without_procfs_nothing_is_claimed() {
        let applied = parse("");
        assert!(!applied.seccomp && !applied.no_new_privs && applied.capabilities.is_empty());
    }
}
