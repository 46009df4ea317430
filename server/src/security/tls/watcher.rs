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
/// Links that still change after so many walks do it in folders that are watched by now: each change is
/// told, and walked after.
const MAX_WALKS: usize = 3;

/// Tells of changes of files.
#[derive(Debug)]
pub(super) struct Watcher {
    events: EventStream<Vec<u8>>,
    watches: WatchSet,
}

/// What is watched.
#[derive(Clone, Debug)]
pub(super) struct WatchSet {
    watches: Watches,
    /// By their numbers.
    places: HashMap<i32, Watch>,
}

/// A folder or a file.
#[derive(Clone, Debug)]
struct Watch {
    watch: WatchDescriptor,
    /// The names that matter; `None` where everything does.
    names: Option<BTreeSet<OsString>>,
}

impl Watcher {
    /// Watches nothing yet.
    pub(super) fn new() -> Result<Self, TlsError> {
        let open = || {
            let events = Inotify::init()?.into_event_stream(vec![0; BUFFER_BYTES])?;
            let watches = WatchSet { watches: events.watches(), places: HashMap::new() };
            Ok(Self { events, watches })
        };
        open().map_err(|source| TlsError::Watch { what: "files".to_owned(), source })
    }

    /// What is watched, to be changed and given back by [`Watcher::set_watched`].
    pub(super) fn watched(&self) -> WatchSet {
        self.watches.clone()
    }

    /// Takes back what is watched.
    pub(super) fn set_watched(&mut self, watched: WatchSet) {
        self.watches = watched;
    }

    /// Waits until something changed, and takes all that was told of it.
    ///
    /// # Errors
    /// What the system said.
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
    /// Watches the places where the files are now, and no others. It walks again until the links have
    /// stood still while they were being watched.
    pub(super) fn follow(&mut self, files: &TlsFiles) -> Result<(), TlsError> {
        let mut places = WatchPaths::of(files)?;
        for _ in 0..MAX_WALKS {
            self.watch(&places)?;
            let again = WatchPaths::of(files)?;
            if again == places {
                break;
            }
            places = again;
        }
        Ok(())
    }

    fn watch(&mut self, places: &WatchPaths) -> Result<(), TlsError> {
        let mut watched = HashMap::new();
        for path in &places.files {
            self.add(path, in_file(), None, &mut watched)?;
        }
        for (folder, names) in &places.folders {
            self.add(folder, in_folder(), Some(names.clone()), &mut watched)?;
        }
        let left = std::mem::replace(&mut self.places, watched);
        for (number, place) in left {
            if !self.places.contains_key(&number) {
                // Fails where the place is gone, and the watch with it.
                drop(self.watches.remove(place.watch));
            }
        }
        Ok(())
    }

    /// Watching a place again changes nothing, and gives the same number.
    fn add(
        &mut self,
        path: &Path,
        mask: WatchMask,
        names: Option<BTreeSet<OsString>>,
        watched: &mut HashMap<i32, Watch>,
    ) -> Result<(), TlsError> {
        match self.watches.add(path, mask) {
            Ok(watch) => {
                watched.insert(watch.get_watch_descriptor_id(), Watch { watch, names });
                Ok(())
            }
            // Gone since it was found, which is a change that its folder tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(TlsError::Watch { what: path.display().to_string(), source }),
        }
    }

    /// Other files of a folder do not matter, nor what is still told of a place that is no longer
    /// watched. That events were lost does.
    fn matters(&self, event: &EventOwned) -> bool {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return true;
        }
        let Some(place) = self.places.get(&event.wd.get_watch_descriptor_id()) else {
            return false;
        };
        match (&place.names, &event.name) {
            (Some(names), Some(name)) => names.contains(name),
            _ => true,
        }
    }
}

fn in_folder() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVE
        | WatchMask::ATTRIB
        | in_itself()
        | WatchMask::ONLYDIR
}

fn in_file() -> WatchMask {
    WatchMask::CLOSE_WRITE | WatchMask::ATTRIB | in_itself()
}

fn in_itself() -> WatchMask {
    WatchMask::MOVE_SELF | WatchMask::DELETE_SELF
}
