//! Reports the privileges of the process, as the kernel shows them.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use capctl::{Cap, CapSet};

use super::Inaccessible;
use crate::advice::{Cause, HasCause};

/// The privileges of a thread; all threads of a confined agent have the same.
const STATUS: &str = "/proc/thread-self/status";
/// `SECCOMP_MODE_FILTER`.
const FILTERED: &str = "2";

/// A measure that should be in force and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MissingMeasure {
    /// The sandbox was turned off.
    NoSandbox,
    /// The user root was asked for.
    RootWanted,
    /// The user could not be changed.
    StillRoot {
        /// The call that was refused.
        operation: &'static str,
    },
    /// A privilege that nothing uses could not be dropped.
    Refused {
        /// The call that was refused.
        operation: &'static str,
    },
    /// A file was read as root, and cannot be read again; or a directory cannot be watched for it.
    Unreadable {
        /// The file or the directory.
        closed: Inaccessible,
    },
    /// A directory of certificates has other directories, whose files can be read too.
    WideDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The kernel knows a part of the landlock rules.
    OldLandlock {
        /// The version that it knows.
        abi: u32,
    },
    /// The kernel has no landlock, or it was not turned on at boot.
    NoLandlock,
    /// There is no list of system calls for this architecture.
    NoSeccomp,
}

/// The privileges of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Effective user id.
    pub(crate) uid: u32,
    /// Effective group id.
    pub(crate) gid: u32,
    /// Effective capabilities, as `capabilities(7)` names them, in lower case without `CAP_`.
    pub(crate) capabilities: Vec<String>,
    /// Set if an exec can give no new privileges.
    pub(crate) no_new_privs: bool,
    /// Set if system calls are filtered.
    pub(crate) seccomp: bool,
    /// Version of landlock whose rules are enforced; 0 without any.
    pub(crate) landlock: u32,
    /// Measures that should be in force and are not.
    pub(crate) missing: Vec<MissingMeasure>,
}

impl fmt::Display for MissingMeasure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSandbox => formatter.write_str("--no-sandbox: no privilege was dropped"),
            Self::RootWanted => formatter.write_str(
                "--user is root: the agent can change every file that root owns, as far as landlock does \
                 not restrict it",
            ),
            Self::StillRoot { operation } => write!(
                formatter,
                "still root by number, though without its capabilities: {operation} was refused"
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
            Self::Unreadable { closed: Inaccessible::Directory(directory) } => write!(
                formatter,
                "the directory {} cannot be read without root, so it cannot be watched, and the agent \
                 does not use certificates that change in it",
                directory.display()
            ),
            Self::WideDirectory { directory } => write!(
                formatter,
                "files in all directories below {} can be read, because certificates are replaced in it",
                directory.display()
            ),
            Self::OldLandlock { abi } => {
                let open: Vec<_> = unrestricted(*abi).collect();
                write!(
                    formatter,
                    "this kernel enforces a part of the landlock rules (version {abi}), and does not \
                     restrict {}",
                    open.join(", ")
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

/// Returns what a version of landlock does not restrict (`landlock(7)`, VERSIONS).
fn unrestricted(abi: u32) -> impl Iterator<Item = &'static str> {
    const SINCE: [(u32, &str); 4] = [
        (3, "the truncation of files"),
        (4, "TCP connections by accepted sockets"),
        (5, "ioctl on devices"),
        (6, "signals and abstract sockets of other processes"),
    ];
    SINCE.into_iter().filter(move |(version, _)| abi < *version).map(|(_, what)| what)
}

impl HasCause for MissingMeasure {
    fn cause(&self) -> Option<Cause> {
        match self {
            Self::NoSandbox => Some(Cause::NoSandbox),
            Self::RootWanted => Some(Cause::RootWanted),
            Self::WideDirectory { .. } => Some(Cause::WideDirectory),
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
            // More names would fill the line.
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

/// Returns the privileges of the calling thread, without landlock, which the kernel does not show.
#[must_use]
pub(crate) fn applied() -> Applied {
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    parse(&status)
}

fn parse(status: &str) -> Applied {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    };
    // Each line has the real, effective, saved and file system's id.
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
    fn the_status_of_a_thread_is_parsed() {
        let applied = Applied { landlock: 7, ..parse(STATUS) };
        assert_eq!((applied.uid, applied.gid), (65534, 65533));
        assert_eq!(
            applied.to_string(),
            "user 65534:65533, capabilities net_admin, no_new_privs yes, seccomp filter, \
             landlock version 7"
        );
    }

    #[test]
    fn what_an_old_landlock_leaves_open_is_named() {
        let text = |abi| MissingMeasure::OldLandlock { abi }.to_string();
        assert!(text(3).contains("TCP connections") && !text(3).contains("truncation"));
        assert!(text(5).ends_with("restrict signals and abstract sockets of other processes"));
    }

    #[test]
    fn without_procfs_no_measure_is_claimed() {
        let applied = parse("");
        assert!(!applied.seccomp && !applied.no_new_privs && applied.capabilities.is_empty());
    }
}
