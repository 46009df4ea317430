//! The file that goes with the stored sockets.

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use prost::Message;

use super::format;
use crate::exits::SavedHistory;

/// The accounts of all users' processes: for the agent alone.
const MODE: u32 = 0o600;

/// What the next run needs to know.
#[derive(Clone, PartialEq, Message)]
pub struct State {
    /// The boot that the sequences belong to.
    #[prost(string, tag = "1")]
    pub boot_id: String,
    /// The run that the cursors belong to.
    #[prost(string, tag = "2")]
    pub instance_id: String,
    /// When the sockets were last read, ns since 1970.
    #[prost(uint64, tag = "3")]
    pub read_at_ns: u64,
    /// The sockets that were stored.
    #[prost(message, repeated, tag = "4")]
    pub sockets: Vec<SavedSocket>,
    /// What was remembered.
    #[prost(message, optional, tag = "5")]
    pub history: Option<SavedHistory>,
}

/// A stored socket.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SavedSocket {
    /// The CPU whose exits it is told.
    #[prost(uint32, tag = "1")]
    pub cpu: u32,
    /// Its drop counter when it was last read.
    #[prost(uint32, tag = "2")]
    pub drops: u32,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{operation} {path} failed: {source}", path = path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Someone else wrote it.
    #[error("{path} belongs to user {owner}, not to the agent", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is not what was written.
    #[error("{path} is damaged", path = .0.display())]
    Damaged(PathBuf),
}

impl State {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// When it is foreign, damaged, or cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let failed = |operation, source| system(operation, path, source);
        let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                // Who it belongs to says more than that it is closed.
                fs::symlink_metadata(path).map_or(Ok(()), |it| check_owner(path, &it))?;
                return Err(failed("opening", source));
            }
            Ok(file) => file,
        };
        let metadata = file.metadata().map_err(|source| failed("looking at", source))?;
        check_owner(path, &metadata)?;
        let state = format::read(&mut file, metadata.len());
        state.map(Some).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                FileError::Damaged(path.to_owned())
            }
            _ => failed("reading", error),
        })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(self, path: &Path) -> Result<(), FileError> {
        let new = path.with_extension("new");
        // One that was left by a crash may be anybody's.
        drop(fs::remove_file(&new));
        let written = write_new(&new, self);
        written.and_then(|()| fs::rename(&new, path)).map_err(|source| {
            drop(fs::remove_file(&new));
            system("writing", path, source)
        })
    }
}

fn write_new(path: &Path, state: State) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    format::write(&mut file, state)
}

/// A file that another user could have written says nothing.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let owner = metadata.uid();
    if owner == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    Err(FileError::Foreign { path: path.to_owned(), owner })
}

fn system(operation: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::System { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let socket = SavedSocket { cpu: 3, drops: 7 };
        State { boot_id: "b".to_owned(), sockets: vec![socket], ..State::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        assert!(State::read(&path).unwrap().is_none());
        state().write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(state()));
    }

    /// Each changed or missing byte is noticed.
    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        state().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(matches!(State::read(&path), Err(FileError::Damaged(_))), "byte {position}");
            fs::write(&path, &whole[..position]).unwrap();
            assert!(matches!(State::read(&path), Err(FileError::Damaged(_))), "cut at {position}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("handover"), folder.path().join("elsewhere"));
        state().write(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(State::read(&path), Err(FileError::System { .. })));
    }
}
