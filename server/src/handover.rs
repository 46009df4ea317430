//! The handover from a run of the agent to the next one under a service manager: sockets in the manager's
//! descriptor store, and the history in a file.
//!
//! The file is used only together with the sockets. Without them the exits between the runs are
//! unknown, and the next run begins anew under another instance id.

mod file;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use sd_notify::NotifyState;

pub(crate) use file::{FileError, HandoverState, SocketRecord};

use crate::exits::Handoff;
use crate::inherit::Inherited;
use crate::notify;
use crate::taskstats::KeptSocket;

/// Names of stored descriptors begin with this; the CPU follows.
const STORED_PREFIX: &str = "exits-cpu-";
/// Keeps the manager from polling the stored sockets: an overflow is an error of a socket, after which
/// the manager would close it, and the exits in its buffer would be lost.
const UNPOLLED: NotifyState<'static> = NotifyState::Custom("FDPOLL=0");
/// The file's name in the state directory.
const FILE_NAME: &str = "handover";
/// A file may hold twice the history, so that one of a larger `--history-bytes` is read, too.
const HISTORIES: u64 = 2;
/// Bytes of the file beside the history.
const BESIDE_HISTORY: u64 = 1 << 20;

/// The path of the handover file, and the boot that it is valid for.
#[derive(Clone, Debug)]
pub(crate) struct Handover {
    path: PathBuf,
    boot_id: String,
    /// The longest file that is read, in bytes.
    longest: u64,
}

/// A socket from the manager's descriptor store.
#[derive(Debug)]
pub(crate) struct StoredSocket {
    cpu: u32,
    socket: OwnedFd,
}

/// The state of an earlier run.
#[derive(Debug)]
pub(crate) struct PreviousRun {
    /// Its instance id, which the next run continues with.
    pub(crate) instance_id: String,
    /// Its exits.
    pub(crate) exits: Handoff,
}

/// An error of the handover.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoverError {
    /// The file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The sockets do not belong to the file.
    #[error("the stored sockets are of other CPUs than the file says")]
    Sockets,
    /// The file is of another boot.
    #[error("the file is of another boot")]
    OtherBoot,
    /// The service manager did not store the sockets.
    #[error("the service manager did not store a socket: {0}")]
    Store(#[source] io::Error),
}

impl Handover {
    /// Hands over through `directory`, for an agent with a history of `history_bytes`.
    #[must_use]
    pub(crate) fn new(directory: &Path, boot_id: String, history_bytes: usize) -> Self {
        let history = u64::try_from(history_bytes).unwrap_or(u64::MAX);
        let longest = history.saturating_mul(HISTORIES).saturating_add(BESIDE_HISTORY);
        Self { path: directory.join(FILE_NAME), boot_id, longest }
    }

    /// Reads the state of the previous run, and removes the file, so that it is used once. Returns
    /// `None` if there is neither a file nor a socket.
    ///
    /// # Errors
    /// The reason that the state cannot be used. The sockets are closed then.
    pub(crate) fn take(
        &self,
        stored: Vec<StoredSocket>,
    ) -> Result<Option<PreviousRun>, HandoverError> {
        let state = HandoverState::take(&self.path, self.longest);
        remove_from_store(stored.iter().map(|socket| socket.cpu));
        let Some(state) = state? else {
            return if stored.is_empty() { Ok(None) } else { Err(HandoverError::Sockets) };
        };
        if state.boot_id != self.boot_id {
            return Err(HandoverError::OtherBoot);
        }
        let sockets = match_sockets(stored, &state).ok_or(HandoverError::Sockets)?;
        let exits = Handoff {
            sockets,
            history: state.history.unwrap_or_default(),
            read_at: Duration::from_nanos(state.read_at_ns),
        };
        Ok(Some(PreviousRun { instance_id: state.instance_id, exits }))
    }

    /// Writes the file and gives the sockets to the service manager.
    ///
    /// # Errors
    /// Fails if the file or a socket cannot be stored. Then neither is left behind, and the sockets are
    /// closed.
    pub(crate) fn leave(&self, instance_id: &str, handoff: Handoff) -> Result<(), HandoverError> {
        let Handoff { sockets, history, read_at } = handoff;
        let state = HandoverState {
            boot_id: self.boot_id.clone(),
            instance_id: instance_id.to_owned(),
            read_at_ns: u64::try_from(read_at.as_nanos()).unwrap_or(u64::MAX),
            sockets: sockets.iter().map(SocketRecord::from).collect(),
            history: Some(history),
        };
        state.write(&self.path)?;
        sockets.iter().try_for_each(store).map_err(|error| {
            remove_from_store(sockets.iter().map(|socket| socket.cpu));
            drop(fs::remove_file(&self.path));
            HandoverError::Store(error)
        })
    }
}

impl StoredSocket {
    /// Accepts a descriptor that was stored by [`Handover::leave`]; returns any other.
    ///
    /// # Errors
    /// The descriptor, if its name is not that of a stored socket.
    pub(crate) fn try_from_inherited(inherited: Inherited) -> Result<Self, Inherited> {
        let cpu = inherited.name.strip_prefix(STORED_PREFIX).and_then(|cpu| cpu.parse().ok());
        match cpu {
            Some(cpu) => Ok(Self { cpu, socket: inherited.descriptor }),
            None => Err(inherited),
        }
    }
}

impl From<&KeptSocket> for SocketRecord {
    fn from(kept: &KeptSocket) -> Self {
        Self { cpu: kept.cpu, drops: kept.drops }
    }
}

/// Closes sockets that are not used, and removes them from the manager's store.
pub(crate) fn discard(stored: Vec<StoredSocket>) {
    if !stored.is_empty() {
        tracing::warn!("ignored sockets of an earlier run, because --state-dir is not set");
    }
    remove_from_store(stored.into_iter().map(|socket| socket.cpu));
}

/// Joins each stored socket with its record in the file. Returns `None` unless they match one to one.
fn match_sockets(stored: Vec<StoredSocket>, state: &HandoverState) -> Option<Vec<KeptSocket>> {
    if stored.len() != state.sockets.len() {
        return None;
    }
    let join = |stored: StoredSocket| {
        let saved = state.sockets.iter().find(|saved| saved.cpu == stored.cpu)?;
        Some(KeptSocket { cpu: stored.cpu, drops: saved.drops, socket: stored.socket })
    };
    stored.into_iter().map(join).collect()
}

fn store(kept: &KeptSocket) -> io::Result<()> {
    let name = format!("{STORED_PREFIX}{}", kept.cpu);
    let state = [NotifyState::FdStore, NotifyState::FdName(&name), UNPOLLED];
    notify::send_with_fds(&state, &[kept.socket.as_fd()])
}

/// Removes sockets from the manager's store. One that stays there is refused at the next start,
/// because no file names it.
fn remove_from_store(cpus: impl Iterator<Item = u32>) {
    for cpu in cpus {
        let name = format!("{STORED_PREFIX}{cpu}");
        let state = [NotifyState::FdStoreRemove, NotifyState::FdName(&name)];
        if let Err(error) = notify::send(&state) {
            tracing::warn!(%error, cpu, "the service manager still stores a socket");
        }
    }
}
