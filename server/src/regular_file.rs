//! Opens regular files, and nothing else in their place.
//!
//! A FIFO, a terminal or a device at the path of a file blocks the thread that opens or reads it, in a
//! way that only SIGKILL ends, or has an effect when it is opened. So the type is checked before, and
//! again on the descriptor, which is opened without blocking.

use std::fmt;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// No wait for the other end of a FIFO or for a device, and no controlling terminal (`open(2)`).
const FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// A file that is not a regular one, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRegular {
    Directory,
    Fifo,
    Socket,
    CharacterDevice,
    BlockDevice,
    SymbolicLink,
    Unknown,
}

impl std::error::Error for NotRegular {}

impl fmt::Display for NotRegular {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::SymbolicLink => "a symbolic link",
            Self::Unknown => "of an unknown type",
        };
        write!(formatter, "it is {kind}, not a regular file")
    }
}

impl NotRegular {
    /// Returns why a file is refused; `None` for a regular file.
    pub(crate) fn of(kind: FileType) -> Option<Self> {
        if kind.is_file() {
            return None;
        }
        Some(if kind.is_dir() {
            Self::Directory
        } else if kind.is_fifo() {
            Self::Fifo
        } else if kind.is_socket() {
            Self::Socket
        } else if kind.is_char_device() {
            Self::CharacterDevice
        } else if kind.is_block_device() {
            Self::BlockDevice
        } else if kind.is_symlink() {
            Self::SymbolicLink
        } else {
            Self::Unknown
        })
    }
}

/// Opens a regular file to read, and follows links to it.
///
/// # Errors
/// The error of the system call, or [`NotRegular`].
pub(crate) fn open_to_read(path: &Path) -> io::Result<(File, Metadata)> {
    check(&fs::metadata(path)?)?;
    open(OpenOptions::new().read(true).custom_flags(FLAGS), path)
}

/// Opens a regular file with these options, which do not follow a link in the last part of the path:
/// who may write in the directory could let it point at any file.
///
/// # Errors
/// The error of the system call, or [`NotRegular`].
pub(crate) fn open_without_link(
    options: &mut OpenOptions,
    path: &Path,
) -> io::Result<(File, Metadata)> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => check(&metadata)?,
        // The options say whether it is made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    open(options.custom_flags(FLAGS | libc::O_NOFOLLOW), path)
}

/// The path may have changed since it was checked, so the descriptor is checked too.
fn open(options: &OpenOptions, path: &Path) -> io::Result<(File, Metadata)> {
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    check(&metadata)?;
    Ok((file, metadata))
}

fn check(metadata: &Metadata) -> io::Result<()> {
    match NotRegular::of(metadata.file_type()) {
        None => Ok(()),
        Some(refused) => Err(io::Error::new(io::ErrorKind::InvalidInput, refused)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn refused(outcome: io::Result<(File, Metadata)>) -> String {
        outcome.unwrap_err().to_string()
    }

    /// With a blocking open, the FIFO would hang this test.
    #[test]
    fn what_is_not_a_regular_file_is_refused_by_its_type() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        symlink("fifo", path("link")).unwrap();
        for (path, kind) in [
            (path("fifo"), "a FIFO"),
            (path("link"), "a FIFO"),
            (path("socket"), "a socket"),
            (path("."), "a directory"),
            ("/dev/null".into(), "a character device"),
        ] {
            assert!(refused(open_to_read(&path)).contains(kind), "{}", path.display());
        }
        assert_eq!(open_to_read(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(path("file"), "x").unwrap();
        symlink("file", path("good")).unwrap();
        assert_eq!(open_to_read(&path("good")).unwrap().1.len(), 1);
    }

    /// A link that another user made must not create or open a file elsewhere.
    #[test]
    fn a_link_is_not_followed_where_a_file_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let (link, elsewhere) = (directory.path().join("link"), directory.path().join("elsewhere"));
        symlink(&elsewhere, &link).unwrap();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        assert!(refused(open_without_link(&mut options, &link)).contains("a symbolic link"));
        assert!(!elsewhere.exists());
        open_without_link(&mut options, &elsewhere).unwrap();
    }
}
