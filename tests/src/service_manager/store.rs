//! Descriptors that a service manager keeps for a service (`sd_notify(3)`, `FDSTORE=1`).

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The store of one service.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: Vec<Entry>,
}

/// A descriptor and its name.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) descriptor: OwnedFd,
    /// True if the manager removes it when poll(2) reports an error.
    polled: bool,
}

/// A notification of a service, and the descriptors in it.
#[derive(Debug)]
pub(super) struct Notification {
    pub(super) text: String,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Notification {
    /// Returns true if the notification has this line.
    pub(super) fn says(&self, line: &str) -> bool {
        self.text.lines().any(|other| other == line)
    }

    fn name(&self) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("FDNAME="))
    }
}

impl Store {
    /// Carries out a notification.
    ///
    /// # Errors
    ///
    /// The notification is invalid.
    pub(super) fn obey(&mut self, mut notification: Notification) -> Result<()> {
        let descriptors = std::mem::take(&mut notification.descriptors);
        if notification.says("FDSTOREREMOVE=1") {
            let name = notification.name().context("remove what?")?;
            self.entries.retain(|entry| entry.name != name);
        } else if notification.says("FDSTORE=1") {
            ensure!(!descriptors.is_empty(), "store what?");
            let name = notification.name().context("under which name?")?;
            let polled = !notification.says("FDPOLL=0");
            let entry = |descriptor| Entry { name: name.to_owned(), descriptor, polled };
            self.entries.extend(descriptors.into_iter().map(entry));
        }
        Ok(())
    }

    /// Returns the stored descriptors.
    ///
    /// # Errors
    ///
    /// The descriptors cannot be read.
    pub(super) fn entries(&mut self) -> Result<&[Entry]> {
        let mut kept = Vec::new();
        for entry in self.entries.drain(..) {
            if !entry.polled || !has_failed(&entry.descriptor)? {
                kept.push(entry);
            }
        }
        self.entries = kept;
        Ok(&self.entries)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// The events that make systemd remove a descriptor (`on_fd_store_io` in `src/core/service.c`).
fn has_failed(descriptor: &OwnedFd) -> Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default()))?;
    let [polled] = polled;
    Ok(polled.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}
