//! The file that goes with the stored sockets.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use prost::Message;

use super::format::{self, FormatError};
use crate::exits::HistorySnapshot;
use crate::regular_file;

/// The file holds statistics of all users' processes, so that only the agent may read it.
const MODE: u32 = 0o600;

/// The state that the next run needs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HandoverState {
    /// The boot that the sequences belong to.
    #[prost(string, tag = "1")]
    pub(crate) boot_id: String,
    /// The run that the cursors belong to.
    #[prost(string, tag = "2")]
    pub(crate) instance_id: String,
    /// When the sockets were last read, ns since 1970.
    #[prost(uint64, tag = "3")]
    pub(crate) read_at_ns: u64,
    /// The sockets that were stored.
    #[prost(message, repeated, tag = "4")]
    pub(crate) sockets: Vec<SocketRecord>,
    /// The history.
    #[prost(message, optional, tag = "5")]
    pub(crate) history: Option<HistorySnapshot>,
}

/// A stored socket.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SocketRecord {
    /// The CPU whose exits it receives.
    #[prost(uint32, tag = "1")]
    pub(crate) cpu: u32,
    /// Its drop counter when it was last read.
    #[prost(uint32, tag = "2")]
    pub(crate) drops: u32,
    /// The arrangement of its filter's memory, if that was stored.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) cgroups_layout: Option<u64>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The system refused.
    #[error("{operation} {path} failed: {source}", path = path.display())]
    System {
        /// The operation that failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another user wrote it.
    #[error("{path} belongs to user {owner}, not to the agent", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is longer than a history can be.
    #[error(
        "{path} has {bytes} bytes, and a history of --history-bytes has {longest} at most; an agent with a larger history wrote it, or another program",
        path = .path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length, in bytes.
        bytes: u64,
        /// The longest file that is read, in bytes.
        longest: u64,
    },
    /// Another version of the agent wrote it.
    #[error("{path} was left by another version of the agent, which writes it in another form", path = .0.display())]
    OtherVersion(PathBuf),
    /// The content was changed or is incomplete.
    #[error("{path} is damaged", path = .0.display())]
    Damaged(PathBuf),
}

impl HandoverState {
    /// Reads a file of at most `longest` bytes and removes it, so that it is taken up once, and one that
    /// cannot be read does not meet each run again; `None` when there is none.
    ///
    /// # Errors
    /// When it is foreign, too long, damaged, of another version, or cannot be read.
    pub(crate) fn take(path: &Path, longest: u64) -> Result<Option<Self>, FileError> {
        let opened = regular_file::open_without_link(OpenOptions::new().read(true), path);
        let link = fs::symlink_metadata(path);
        // Nothing can be done about a failure: what is read next is checked against its sockets.
        drop(fs::remove_file(path));
        match opened {
            Ok((mut file, _)) => Self::read(&mut file, path, longest).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => {
                // The owner is a better explanation than the mode.
                link.map_or(Ok(()), |link| check_owner(path, &link))?;
                Err(system("opening", path, source))
            }
        }
    }

    fn read(file: &mut File, path: &Path, longest: u64) -> Result<Self, FileError> {
        let metadata = file.metadata().map_err(|source| system("looking at", path, source))?;
        check_owner(path, &metadata)?;
        let bytes = metadata.len();
        if bytes > longest {
            return Err(FileError::TooLong { path: path.to_owned(), bytes, longest });
        }
        format::read(file).map_err(|error| match error {
            FormatError::System(source) => system("reading", path, source),
            FormatError::OtherVersion => FileError::OtherVersion(path.to_owned()),
            FormatError::Damaged => FileError::Damaged(path.to_owned()),
        })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn write(self, path: &Path) -> Result<(), FileError> {
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

fn write_new(path: &Path, state: HandoverState) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    format::write(&mut file, state)
}

/// A file that another user could have written is not evidence.
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
    use crate::exits::ItemSnapshot;

    const LONGEST: u64 = 1 << 20;

    fn state() -> HandoverState {
        let socket = SocketRecord { cpu: 3, drops: 7, cgroups_layout: Some(9) };
        let item =
            |first| ItemSnapshot { first, lost: 2, cpus: vec![1], ..ItemSnapshot::default() };
        let items = vec![item(1), item(3)];
        let history = Some(HistorySnapshot { next: 5, items, ..HistorySnapshot::default() });
        HandoverState {
            boot_id: "b".to_owned(),
            sockets: vec![socket],
            history,
            ..HandoverState::default()
        }
    }

    #[test]
    fn what_is_written_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        assert!(HandoverState::take(&path, LONGEST).unwrap().is_none());
        state().write(&path).unwrap();
        assert_eq!(HandoverState::take(&path, LONGEST).unwrap(), Some(state()));
        assert!(HandoverState::take(&path, LONGEST).unwrap().is_none());
    }

    /// A file of another program may have any size, and none of it is read.
    #[test]
    fn a_file_that_is_longer_than_a_history_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        let refused = HandoverState::take(&path, LONGEST).unwrap_err().to_string();
        assert!(
            refused.contains("1048577 bytes") && refused.contains("--history-bytes"),
            "{refused}"
        );
        assert!(!path.exists());
    }

    /// Each changed or missing byte is noticed, and the file is gone.
    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        state().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = HandoverState::take(&path, LONGEST).unwrap_err();
            assert!(!path.exists());
            error
        };
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            let error = refused(&changed);
            // The digit of the version.
            let is_version = matches!(error, FileError::OtherVersion(_)) && position == 7;
            assert!(is_version || matches!(error, FileError::Damaged(_)), "{position}: {error}");
            let error = refused(&whole[..position]);
            assert!(matches!(error, FileError::Damaged(_)), "cut at {position}: {error}");
        }
    }

    /// Issue 11, row 4: the start hung for ever.
    #[test]
    fn a_fifo_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refused = HandoverState::take(&path, LONGEST).unwrap_err().to_string();
        assert!(refused.contains("a FIFO"), "{refused}");
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) =
            (directory.path().join("handover"), directory.path().join("elsewhere"));
        state().write(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(HandoverState::take(&path, LONGEST), Err(FileError::System { .. })));
    }
}
