//! What a watcher process wrote down before it was killed, one exit a line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use taskstats_proto::v1::{Cursor, Lost, LostStage};

use crate::slim::{Event, Events, Identity, Kind, Task};
use crate::trail::{Gap, Trace, Trail};

/// A file that is written at once, line by line: a killed writer leaves at most its last line torn.
#[derive(Debug)]
pub struct Journal {
    file: File,
    trail: Option<Trail>,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Began {
        instance: String,
        sequence: u64,
    },
    Exit {
        sequence: u64,
        cpu: u32,
        kernel_sequence: u32,
        tgid: u32,
        pid: u32,
        ends_process: Option<bool>,
    },
    Lost {
        upto: u64,
        count: Option<u64>,
    },
}

impl Journal {
    /// Opens a journal, reads what is in it, and removes a torn line at its end.
    ///
    /// # Errors
    ///
    /// It is no journal, or it contradicts itself.
    pub fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).read(true).write(true).open(path)?;
        let mut lines = BufReader::new(&file);
        let (mut trail, mut line, mut good) = (None, String::new(), 0);
        loop {
            line.clear();
            let length = lines.read_line(&mut line)?;
            if !line.ends_with('\n') {
                break;
            }
            follow(&mut trail, serde_json::from_str(&line)?)?;
            good += u64::try_from(length)?;
        }
        file.set_len(good)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, trail })
    }

    /// Returns what was written; `None` of an empty journal.
    #[must_use]
    pub fn trail(&self) -> Option<&Trail> {
        self.trail.as_ref()
    }

    /// Writes where the first stream begins.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn begin(&mut self, cursor: Cursor) -> Result<()> {
        let Cursor { instance_id: instance, sequence } = cursor;
        self.write(&Entry::Began { instance, sequence })
    }

    /// Writes an exit.
    ///
    /// # Errors
    ///
    /// As in [`Journal::begin`].
    pub fn exit(&mut self, exit: &Trace) -> Result<()> {
        let Trace { sequence, cpu, kernel_sequence, tgid, pid, ends_process } = *exit;
        self.write(&Entry::Exit { sequence, cpu, kernel_sequence, tgid, pid, ends_process })
    }

    /// Writes a gap.
    ///
    /// # Errors
    ///
    /// As in [`Journal::begin`].
    pub fn gap(&mut self, gap: &Gap) -> Result<()> {
        self.write(&Entry::Lost { upto: gap.upto, count: gap.count })
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        Ok(self.file.write_all(&line)?)
    }
}

fn follow(trail: &mut Option<Trail>, entry: Entry) -> Result<()> {
    let trail = match entry {
        Entry::Began { instance, sequence } => {
            *trail = Some(Trail::begin(Cursor { instance_id: instance, sequence }));
            return Ok(());
        }
        Entry::Exit { .. } | Entry::Lost { .. } => trail.as_mut().context("no beginning")?,
    };
    let instance_id = trail.cursor().instance_id;
    let cursor = |sequence| Some(Cursor { instance_id, sequence });
    trail.continued();
    match entry {
        Entry::Began { .. } => Ok(()),
        Entry::Exit {
            sequence,
            cpu,
            kernel_sequence,
            tgid,
            pid,
            ends_process: last_in_process,
        } => {
            let identity = Some(Identity { pid: Some(pid), tgid: Some(tgid) });
            let task = Some(Task { identity });
            let events = vec![Event { sequence, cpu, kernel_sequence, task, last_in_process }];
            trail.follow(&Kind::Events(Events { events, cursor: cursor(sequence) }))
        }
        Entry::Lost { upto, count } => {
            let (stage, total) = (LostStage::History.into(), count.unwrap_or_default());
            let cursor = cursor(upto);
            trail.follow(&Kind::Lost(Lost { stage, count, total, cursor, ..Lost::default() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let exit = |sequence| Trace {
            sequence,
            cpu: 1,
            kernel_sequence: 9,
            tgid: 7,
            pid: 8,
            ends_process: None,
        };
        let mut journal = Journal::open(&path).unwrap();
        assert!(journal.trail().is_none());
        journal.begin(Cursor { instance_id: "run".to_owned(), sequence: 4 }).unwrap();
        journal.exit(&exit(5)).unwrap();
        journal.file.write_all(b"{\"Exit\":{\"seq").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.trail().unwrap().exits(), [exit(5)]);
        journal.exit(&exit(6)).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.trail().unwrap().exits(), [exit(5), exit(6)]);
    }
}
