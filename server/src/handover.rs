//! The handover from a run of the agent to the next one under a service manager: sockets in the manager's
//! descriptor store, and the history in a file.
//!
//! The file is used only together with the sockets. Without them the exits between the runs are
//! unknown, and the next run begins anew under another instance id.

mod file;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use sd_notify::NotifyState;

pub(crate) use file::{FileError, HandoverState, SocketRecord};

use crate::bpf::KeptSlots;
use crate::exits::Handoff;
use crate::inherit::Inherited;
use crate::notify;
use crate::taskstats::KeptSocket;

/// Names of stored sockets begin with this; the CPU follows.
const SOCKET_PREFIX: &str = "exits-cpu-";
/// Names of the memory of their filters begin with this; the CPU follows.
const CGROUPS_PREFIX: &str = "cgroups-cpu-";
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

/// A descriptor from the manager's store.
#[derive(Debug)]
pub(crate) struct StoredDescriptor {
    kind: StoredKind,
    cpu: u32,
    descriptor: OwnedFd,
}

/// The kinds of stored descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoredKind {
    /// A socket that receives the exits of a CPU.
    Socket,
    /// The memory of the socket's filter.
    Cgroups,
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
        stored: Vec<StoredDescriptor>,
    ) -> Result<Option<PreviousRun>, HandoverError> {
        let state = HandoverState::take(&self.path, self.longest);
        remove_from_store(stored.iter().map(StoredDescriptor::name));
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
            let names = sockets.iter().flat_map(|kept| {
                [StoredKind::Socket, StoredKind::Cgroups].map(|kind| kind.name(kept.cpu))
            });
            remove_from_store(names);
            drop(fs::remove_file(&self.path));
            HandoverError::Store(error)
        })
    }
}

impl StoredKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Socket => SOCKET_PREFIX,
            Self::Cgroups => CGROUPS_PREFIX,
        }
    }

    fn name(self, cpu: u32) -> String {
        format!("{}{cpu}", self.prefix())
    }
}

impl StoredDescriptor {
    /// Accepts a descriptor that was stored by [`Handover::leave`]; returns any other.
    ///
    /// # Errors
    /// The descriptor, if its name is not that of a stored one.
    pub(crate) fn try_from_inherited(inherited: Inherited) -> Result<Self, Inherited> {
        let named = [StoredKind::Socket, StoredKind::Cgroups].into_iter().find_map(|kind| {
            Some((kind, inherited.name.strip_prefix(kind.prefix())?.parse().ok()?))
        });
        match named {
            Some((kind, cpu)) => Ok(Self { kind, cpu, descriptor: inherited.descriptor }),
            None => Err(inherited),
        }
    }

    fn name(&self) -> String {
        self.kind.name(self.cpu)
    }
}

impl From<&KeptSocket> for SocketRecord {
    fn from(kept: &KeptSocket) -> Self {
        let cgroups_layout = kept.cgroups.as_ref().map(|cgroups| cgroups.layout);
        Self { cpu: kept.cpu, drops: kept.drops, cgroups_layout }
    }
}

/// Closes descriptors that are not used, and removes them from the manager's store.
pub(crate) fn discard(stored: Vec<StoredDescriptor>) {
    if !stored.is_empty() {
        tracing::warn!("ignored sockets of an earlier run, because --state-dir is not set");
    }
    remove_from_store(stored.into_iter().map(|stored| stored.name()));
}

/// Joins each stored socket with its record in the file, and with the memory of its filter if that was
/// stored. Returns `None` unless sockets and records match one to one.
fn match_sockets(stored: Vec<StoredDescriptor>, state: &HandoverState) -> Option<Vec<KeptSocket>> {
    let (sockets, maps): (Vec<_>, Vec<_>) =
        stored.into_iter().partition(|stored| stored.kind == StoredKind::Socket);
    if sockets.len() != state.sockets.len() {
        return None;
    }
    let mut maps: BTreeMap<u32, OwnedFd> =
        maps.into_iter().map(|stored| (stored.cpu, stored.descriptor)).collect();
    let join = |StoredDescriptor { cpu, descriptor: socket, .. }| {
        let saved = state.sockets.iter().find(|saved| saved.cpu == cpu)?;
        let map = maps.remove(&cpu).map(Arc::new);
        let cgroups = map.zip(saved.cgroups_layout).map(|(map, layout)| KeptSlots { map, layout });
        Some(KeptSocket { cpu, drops: saved.drops, socket, cgroups })
    };
    sockets.into_iter().map(join).collect()
}

/// Stores a socket, and the memory of its filter. Without the memory the next run attributes no exit that
/// is queued, but loses none.
fn store(kept: &KeptSocket) -> io::Result<()> {
    store_as(&StoredKind::Socket.name(kept.cpu), kept.socket.as_fd())?;
    match &kept.cgroups {
        Some(cgroups) => store_as(&StoredKind::Cgroups.name(kept.cpu), cgroups.map.as_fd()),
        None => Ok(()),
    }
}

fn store_as(name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let state = [NotifyState::FdStore, NotifyState::FdName(name), UNPOLLED];
    notify::send_with_fds(&state, &[descriptor])
}

/// Removes descriptors from the manager's store. A socket that stays there is refused at the next start,
/// because no file names it.
fn remove_from_store(names: impl Iterator<Item = String>) {
    for name in names {
        let state = [NotifyState::FdStoreRemove, NotifyState::FdName(&name)];
        if let Err(error) = notify::send(&state) {
            tracing::warn!(%error, name, "the service manager still stores a descriptor");
        }
    }
}
