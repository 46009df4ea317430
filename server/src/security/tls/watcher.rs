//! Waits for changes of files, by inotify(7).

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::Path;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use super::watch_paths::WatchPaths;
use super::{TlsError, TlsFiles};

/// Some dozen events with names of usual length.
const BUFFER_BYTES: usize = 4 << 10;
/// Links that still change after so many walks are in directories that are watched by now: each change
/// is reported, and followed by another walk.
const MAX_WALKS: usize = 3;

/// Reports changes of files.
#[derive(Debug)]
pub(super) struct Watcher {
    events: EventStream<Vec<u8>>,
    watches: WatchSet,
}

/// The directories and files that are watched.
#[derive(Clone, Debug)]
pub(super) struct WatchSet {
    watches: Watches,
    /// By the numbers of their watch descriptors.
    watched: HashMap<i32, Watch>,
}

/// A directory or a file that is watched.
#[derive(Clone, Debug)]
struct Watch {
    descriptor: WatchDescriptor,
    /// The names in the directory that matter; `None` where all events do.
    names: Option<BTreeSet<OsString>>,
}

impl Watcher {
    /// Opens an inotify instance that watches nothing yet.
    pub(super) fn new() -> Result<Self, TlsError> {
        let open = || {
            let events = Inotify::init()?.into_event_stream(vec![0; BUFFER_BYTES])?;
            let watches = WatchSet { watches: events.watches(), watched: HashMap::new() };
            Ok(Self { events, watches })
        };
        open().map_err(|source| TlsError::Watch { what: "files".to_owned(), source })
    }

    /// Watches these files from now on.
    pub(super) fn following(mut self, files: &TlsFiles) -> Result<Self, TlsError> {
        self.watches.follow(files)?;
        Ok(self)
    }

    /// Returns a copy of what is watched, to change on another thread and to give back by
    /// [`Watcher::set_watches`].
    pub(super) fn watches(&self) -> WatchSet {
        self.watches.clone()
    }

    /// Replaces what is watched.
    pub(super) fn set_watches(&mut self, watches: WatchSet) {
        self.watches = watches;
    }

    /// Waits until something changed, and reads all events that are there.
    ///
    /// # Errors
    /// The error of the system call.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut matters = false;
            let mut next = Some(self.events.next().await);
            while let Some(event) = next {
                let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
                matters |= self.watches.matters(&event.ok_or_else(ended)??);
                next = self.events.next().now_or_never();
            }
            if matters {
                return Ok(());
            }
        }
    }
}

impl WatchSet {
    /// Watches the paths on which a change of the files can happen now, and no others. Walks again
    /// until the links did not change while they were being watched.
    pub(super) fn follow(&mut self, files: &TlsFiles) -> Result<(), TlsError> {
        let mut paths = WatchPaths::of(files)?;
        for _ in 0..MAX_WALKS {
            self.watch(&paths)?;
            let again = WatchPaths::of(files)?;
            if again == paths {
                break;
            }
            paths = again;
        }
        Ok(())
    }

    fn watch(&mut self, paths: &WatchPaths) -> Result<(), TlsError> {
        let mut watched = HashMap::new();
        for path in &paths.files {
            self.add(path, file_mask(), None, &mut watched)?;
        }
        for (directory, names) in &paths.directories {
            self.add(directory, directory_mask(), Some(names.clone()), &mut watched)?;
        }
        let before = std::mem::replace(&mut self.watched, watched);
        for (number, watch) in before {
            if !self.watched.contains_key(&number) {
                // Fails where the directory is gone, and the watch with it.
                drop(self.watches.remove(watch.descriptor));
            }
        }
        Ok(())
    }

    /// Adds a watch. inotify gives the same number for a path that is watched already.
    fn add(
        &mut self,
        path: &Path,
        mask: WatchMask,
        names: Option<BTreeSet<OsString>>,
        watched: &mut HashMap<i32, Watch>,
    ) -> Result<(), TlsError> {
        match self.watches.add(path, mask) {
            Ok(descriptor) => {
                watched.insert(descriptor.get_watch_descriptor_id(), Watch { descriptor, names });
                Ok(())
            }
            // It was removed since it was found, a change that its directory reports.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(TlsError::Watch { what: path.display().to_string(), source }),
        }
    }

    /// Returns whether an event can be a change of the files: not one of another file in a directory,
    /// nor one that was queued before its watch was removed. Events that were lost can.
    fn matters(&self, event: &EventOwned) -> bool {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return true;
        }
        let Some(watch) = self.watched.get(&event.wd.get_watch_descriptor_id()) else {
            return false;
        };
        match (&watch.names, &event.name) {
            (Some(names), Some(name)) => names.contains(name),
            _ => true,
        }
    }
}

/// The events of a directory in which files are replaced.
fn directory_mask() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVE
        | WatchMask::ATTRIB
        | removal_mask()
        | WatchMask::ONLYDIR
}

/// The events of a file, which can be mounted alone and then changes without its directory.
fn file_mask() -> WatchMask {
    WatchMask::CLOSE_WRITE | WatchMask::ATTRIB | removal_mask()
}

fn removal_mask() -> WatchMask {
    WatchMask::MOVE_SELF | WatchMask::DELETE_SELF
}

/// Returns the masks that are passed to `inotify_add_watch(2)`, for the filter of system calls.
#[must_use]
pub(crate) fn inotify_masks() -> [u32; 2] {
    [directory_mask().bits(), file_mask().bits()]
}
